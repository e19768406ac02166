import numpy as np
import pytest
from PIL import Image

from pipeline.sandbox.picture_folder import is_picture_folder, read_pictures
from pipeline.sandbox.recorded_sky import RecordedSky
from schemas.errors import StoreError


@pytest.fixture
def folder(tmp_path):
    """Three pictures with a label each."""
    (tmp_path / "jpeg").mkdir()
    rows = ["objID,label,file"]
    for number, label in enumerate(("early", "late", "late")):
        grey = np.full((12, 10, 3), 60 * number, np.uint8)
        Image.fromarray(grey).save(tmp_path / "jpeg" / f"{number}.jpg")
        rows.append(f"58801112464909931{number},{label},{number}.jpg")
    (tmp_path / "catalog.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_labelled_pictures_are_a_sky_with_positions_that_were_made_up(folder):
    assert is_picture_folder(folder)
    photo, cutouts = read_pictures(folder)
    assert (
        photo.column_names == ["objID", "label", "ra", "dec"]
        and photo["objID"][2].as_py() == 588011124649099312
    )
    assert cutouts.to_pylist()[1] == {
        "ra": 0.5,
        "dec": 0.0,
        "scale": 0.396,
        "width": 10,
        "height": 12,
        "file": "1.jpg",
    }
    sky = RecordedSky(folder)
    assert sky.jpeg(1.0, 0.0, 0.396, 10, 12) == (folder / "jpeg" / "2.jpg").read_bytes()
    assert sky.jpeg(0.25, 0.0, 0.396, 10, 12) is None
    assert sky.tables["SpecObjAll"].num_rows == 0 and sky.tables["PhotoObjAll"]["mode"].to_pylist() == [
        1,
        1,
        1,
    ]


def test_a_folder_with_cutouts_of_its_own_is_none_of_these(folder):
    (folder / "cutouts.csv").write_text("ra,dec\n")
    assert not is_picture_folder(folder)


def test_a_missing_picture_or_column_is_named(folder):
    (folder / "jpeg" / "1.jpg").write_bytes(b"no picture")
    with pytest.raises(StoreError, match=r"1\.jpg cannot be read"):
        read_pictures(folder)
    (folder / "catalog.csv").write_text("objID,label\n1,late\n")
    with pytest.raises(StoreError, match=r"lacks the column\(s\) file"):
        read_pictures(folder)
