"""The two skies: what the default one looks like, and a recorded one byte for byte."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.sandbox.answers import as_csv, black_tile
from pipeline.sandbox.database import SkyDatabase
from pipeline.sandbox.recorded_sky import RecordedSky
from pipeline.sandbox.sky import WrongGeometryError
from pipeline.sandbox.tsql import SqlRejectedError
from schemas.errors import StoreError

pytest.importorskip("kcorrect", reason="the default sky is made of the galaxies in the kcorrect package")
from pipeline.sandbox.default_sky import DefaultSky

SHARED = Path(os.environ.get("SKYMILL_SHARED", Path(__file__).parents[3] / "shared"))
RECORDED = SHARED / "real" / "sdss-photoz"
PROTOCOL = SHARED / "real" / "protocol"
SDSS_TYPES = {
    "bigint": {pa.int64(), pa.uint64()},
    "int": {pa.int32()},
    "smallint": {pa.int16()},
    "tinyint": {pa.int16()},
    "real": {pa.float32()},
    "float": {pa.float64()},
    "varchar": {pa.string()},
}


@pytest.fixture(scope="module")
def sky() -> DefaultSky:
    return DefaultSky(seed=1998)


@pytest.fixture(scope="module")
def pictures(sky: DefaultSky) -> np.ndarray:
    """The first 800 objects, ``(800, y, x, band)``."""
    return np.array([drawn(sky, i) for i in range(800)], np.float32)


def needs(folder: Path) -> Path:
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there; set SKYMILL_SHARED to the folder that holds real/")
    return folder


def picture(body: bytes | None) -> np.ndarray:
    assert body is not None
    return np.asarray(Image.open(io.BytesIO(body))).astype(float)


def drawn(sky: DefaultSky, index: int, scale: float = 0.396, size: int = 64) -> np.ndarray:
    return picture(sky.jpeg(float(sky.objects.ra[index]), float(sky.objects.dec[index]), scale, size, size))


def nmad(error: np.ndarray) -> float:
    return float(1.4826 * np.median(np.abs(error - np.median(error))))


def test_bright_galaxies_are_drawn_bright_and_red_ones_red(sky: DefaultSky, pictures: np.ndarray) -> None:
    flux = sky.objects.flux[:400]
    core = pictures[:400, 28:36, 28:36].mean(axis=(1, 2))
    i_minus_g = np.log(flux[:, 3] / flux[:, 1])
    assert np.corrcoef(core.sum(axis=1), np.log(flux[:, 2]))[0, 1] > 0.5
    assert np.corrcoef(np.log(core[:, 0] / core[:, 2]), i_minus_g)[0, 1] > 0.9


def test_the_redshift_shows_in_the_pictures(sky: DefaultSky, pictures: np.ndarray) -> None:
    y, x = np.mgrid[:64, :64] - 31.5
    rings = [
        (np.hypot(x, y) >= a) & (np.hypot(x, y) < b) for a, b in ((0, 2), (2, 4), (4, 8), (8, 14), (14, 24))
    ]
    means = np.stack([pictures[:, ring].mean(axis=1) for ring in rings], axis=1)
    level = np.log(means.sum(axis=2) + 9)
    colours = means[:, :3] / means[:, :3].sum(axis=2, keepdims=True)
    features = np.concatenate([level, colours[:, :, 0], colours[:, :, 2]], axis=1)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    z = sky.objects.z[:800]
    # the median redshift of the ten nearest in level and colour
    apart = np.linalg.norm(features[600:, None] - features[None, :600], axis=2)
    guess = np.median(z[:600][np.argsort(apart, axis=1)[:, :10]], axis=1)
    error = (guess - z[600:]) / (1 + z[600:])
    by_chance = (np.median(z[:600]) - z[600:]) / (1 + z[600:])
    assert nmad(error) < 0.025 < 0.6 * nmad(by_chance)


def test_the_same_request_gives_the_same_bytes_and_another_seed_others(sky: DefaultSky) -> None:
    at = (float(sky.objects.ra[7]), float(sky.objects.dec[7]), 0.3, 96, 80)
    assert sky.jpeg(*at) == DefaultSky(seed=1998).jpeg(*at) != DefaultSky(seed=1999).jpeg(*at)
    assert picture(sky.jpeg(*at)).shape == (80, 96, 3)


def test_a_neighbouring_pointing_sees_the_same_sources_moved(sky: DefaultSky) -> None:
    ra, dec = float(sky.objects.ra[11]), float(sky.objects.dec[11])
    east_arcsec = 4.0
    here = picture(sky.jpeg(ra, dec, 0.4, 128, 128))
    there = picture(sky.jpeg(ra + east_arcsec / 3600 / np.cos(np.radians(dec)), dec, 0.4, 128, 128))
    moved = np.roll(there, -10, axis=1)
    assert np.corrcoef(here[:, 20:100].ravel(), moved[:, 20:100].ravel())[0, 1] > 0.9


def test_stars_are_points(sky: DefaultSky) -> None:
    star = int(np.flatnonzero(sky.objects.kind == 1)[0])
    image = drawn(sky, star).sum(axis=2)
    assert image[29:35, 29:35].mean() > 4 * image[12:20, 28:36].mean()


def test_columns_are_spelled_and_typed_as_in_sdss(sky: DefaultSky) -> None:
    for name in ("SpecObjAll", "PhotoObjAll"):
        [listing] = json.loads((needs(PROTOCOL) / f"{name}_dr12.json").read_text())
        types = {row["name"]: row["type"] for row in listing["Rows"]}
        for field in sky.tables[name].schema:
            assert field.name in types, f"{name} of SDSS has no {field.name}"
            assert field.type in SDSS_TYPES[types[field.name]], field


def test_both_tables_hold_each_id_once(sky: DefaultSky) -> None:
    for name, key in (("SpecObjAll", "specObjID"), ("PhotoObjAll", "objID")):
        ids = sky.tables[name][key].to_numpy()
        assert len(np.unique(ids)) == len(ids) > 7000
    assert sky.tables["SpecObjAll"].schema.field("specObjID").type == pa.uint64()


def test_some_warnings_and_late_plates_are_there(sky: DefaultSky) -> None:
    spectra = sky.tables["SpecObjAll"]
    assert 0.01 < (spectra["zWarning"].to_numpy() != 0).mean() < 0.05
    late = spectra["plate"].to_numpy() >= 8192
    assert 0.03 < late.mean() < 0.08
    assert ((spectra["specObjID"].to_numpy() >= np.uint64(2**63)) == late).all()


def test_recorded_answers_are_spelled_as_ours(sky: DefaultSky) -> None:
    lines = (needs(PROTOCOL) / "xid_sp.txt").read_text().splitlines()
    answer = SkyDatabase(sky.tables, 10).query(
        "SELECT TOP 1 p.ra, p.dec, p.objID AS objid, p.run, p.rerun, p.camcol, p.field, s.z, s.plate, s.mjd, "
        "s.fiberID, s.specObjID AS specobjid, s.run2d, s.instrument "
        "FROM PhotoObjAll AS p JOIN SpecObjAll AS s ON p.objID = s.bestObjID"
    )
    ours = as_csv(answer).splitlines()
    assert ours[:2] == lines[:2]
    assert len(ours[2].split(",")) == len(lines[2].split(","))


def test_numbers_of_a_recorded_answer_survive_our_tables_digit_by_digit() -> None:
    lines = (needs(PROTOCOL) / "sqlsearch_radial.csv").read_text().splitlines()
    header = lines[1].split(",")
    reals = ("r0", "petroRad_r", "z", "zErr")
    taken = [dict(zip(header, line.split(","), strict=True)) for line in lines[2:300]]
    taken = [row for row in taken if all(row[name] for name in ("specObjID", *reals))]
    table = pa.table(
        {"specObjID": pa.array([int(row["specObjID"]) for row in taken], pa.uint64())}
        | {name: pa.array([float(row[name]) for row in taken], pa.float64()) for name in ("ra", "dec")}
        | {name: pa.array([float(row[name]) for row in taken], pa.float32()) for name in reals}
        | {"sciencePrimary": [1] * len(taken), "mode": [1] * len(taken), "type": [3] * len(taken)}
        | {name: pa.array([0] * len(taken)) for name in ("objID", "run", "camcol", "field", "rerun")}
    )
    database = SkyDatabase({"SpecObjAll": table, "PhotoObjAll": table}, 1000)
    ours = as_csv(database.query(f"SELECT specObjID, ra, dec, {', '.join(reals)} FROM SpecObj")).splitlines()[
        2:
    ]
    theirs = [
        ",".join([row["specObjID"], row["ra"], row["dec"], *(row[name] for name in reals)]) for row in taken
    ]
    assert len(ours) > 50
    assert ours == theirs


def test_empty_sky_looks_as_in_recorded_cutouts(sky: DefaultSky) -> None:
    def rim(image: np.ndarray) -> np.ndarray:
        return np.concatenate([image[:12].reshape(-1, 3), image[-12:].reshape(-1, 3)])

    def level_and_noise(images: list[np.ndarray]) -> np.ndarray:
        rims = [rim(image) for image in images]
        return np.median(
            [(np.median(r, axis=0), np.median(np.abs(r - np.median(r, axis=0)), axis=0)) for r in rims], 0
        )

    files = sorted((needs(RECORDED) / "jpeg").iterdir())[::60]
    real = level_and_noise([picture(path.read_bytes()) for path in files])
    ours = level_and_noise([drawn(sky, i, scale=0.2, size=120) for i in range(60)])
    assert np.abs(ours - real).max() <= 2.0


def test_our_jpegs_are_encoded_as_skyservers(sky: DefaultSky) -> None:
    path = sorted((needs(RECORDED) / "jpeg").iterdir())[0]
    real = Image.open(io.BytesIO(path.read_bytes()))
    ours = Image.open(io.BytesIO(sky.jpeg(150.0, 20.0, 0.2, 120, 120) or black_tile(120, 120)))
    assert ours.quantization == real.quantization
    assert ours.layer == real.layer and ours.info["jfif_density"] == real.info["jfif_density"]


def test_a_recorded_sky_is_served_byte_for_byte() -> None:
    folder = needs(RECORDED)
    sky = RecordedSky(folder)
    lines = (folder / "cutouts.csv").read_text().splitlines()[1:]
    assert len(lines) == 4363
    for line in lines[::97]:
        ra, dec, scale, width, height, name = line.split(",")
        asked = (float(ra), float(dec), float(scale), int(width), int(height))
        assert sky.jpeg(*asked) == (folder / "jpeg" / name).read_bytes()
        near = (asked[0] + 0.09 / 3600 / np.cos(np.radians(asked[1])), *asked[1:])
        assert sky.jpeg(*near) == sky.jpeg(*asked)
    late = SkyDatabase(sky.tables, 10).query("SELECT COUNT(*) FROM SpecObj WHERE plate >= 8192").rows
    assert late == [(280,)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recorded sky of two cutouts."""
    (tmp_path / "jpeg").mkdir()
    (tmp_path / "cutouts.csv").write_text(
        "ra,dec,scale,width,height,file\n10.0,0.0,0.2,64,64,a.jpg\n359.9999,-89.0,0.2,64,64,b.jpg\n"
    )
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "jpeg" / name).write_bytes(black_tile(64, 64, name))
    (tmp_path / "photoobj.csv").write_text("objid,ra,dec,shape_note\n1237653651835781245,10.0,0.0,round\n")
    (tmp_path / "specobj.csv").write_text(
        "specobjid,bestObjID,ra,dec,z,zErr,class,tag\n"
        "9740162413127555072,1237653651835781245,10.0,0.0,0.1,1e-5,GALAXY,7\n"
    )
    return tmp_path


def test_columns_that_ids_hold_are_derived_and_extra_ones_served(folder: Path) -> None:
    database = SkyDatabase(RecordedSky(folder).tables, 10)
    [spectrum] = database.query(
        "SELECT specObjID, plate, zWarning, zOffset, sciencePrimary, tag FROM SpecObj"
    ).rows
    assert spectrum == (9740162413127555072, 9740162413127555072 >> 50, 0, 0.0, 1, 7)
    [photo] = database.query("SELECT run, rerun, camcol, field, obj, type, shape_note FROM Galaxy").rows
    assert photo == (1904, 301, 3, 163, 125, 3, "round")


def test_a_cutout_is_matched_within_half_a_pixel_also_at_the_pole(folder: Path) -> None:
    sky = RecordedSky(folder)
    assert sky.jpeg(10.0 + 0.09 / 3600, 0.0, 0.2, 64, 64) == (folder / "jpeg" / "a.jpg").read_bytes()
    assert sky.jpeg(10.0 + 0.11 / 3600, 0.0, 0.2, 64, 64) is None
    assert sky.jpeg(0.0005, -89.0, 0.2, 64, 64) == (folder / "jpeg" / "b.jpg").read_bytes()


def test_another_geometry_is_refused_by_name(folder: Path) -> None:
    with pytest.raises(WrongGeometryError, match=r"scale=0.2, width=64, height=64; asked for scale=0.4"):
        RecordedSky(folder).jpeg(10.0, 0.0, 0.4, 64, 64)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("specobj.csv", None, "specobj.csv cannot be read"),
        ("specobj.csv", "ra,dec\n1,2\n", "lacks the column.*specObjID"),
        ("specobj.csv", "specObjID,ra,dec\nxyz,1,2\n", "specobj.csv cannot be read"),
        ("specobj.csv", "", "specobj.csv"),
        ("photoobj.csv", "objID,ra,dec\n1,2\n", "photoobj.csv cannot be read"),
        ("cutouts.csv", "ra,dec,scale,width,height,file\n", "no rows"),
        (
            "cutouts.csv",
            "ra,dec,scale,width,height,file\n1,2,0.2,64,64,lost.jpg\n",
            "1 of the 1 cutouts.*lost.jpg",
        ),
    ],
)
def test_a_faulty_folder_is_explained(folder: Path, name: str, text: str | None, said: str) -> None:
    (folder / name).unlink()
    if text is not None:
        (folder / name).write_text(text)
    with pytest.raises(StoreError, match=said) as caught:
        RecordedSky(folder)
    assert caught.value.remedy


def test_a_folder_that_is_not_there_is_explained(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a folder"):
        RecordedSky(tmp_path / "nowhere")


def test_a_query_that_fails_while_it_runs_is_rejected_and_the_next_one_works(folder: Path) -> None:
    database = SkyDatabase(RecordedSky(folder).tables, 10)
    with pytest.raises(SqlRejectedError):
        database.query("SELECT CAST(class AS int) FROM SpecObj")
    assert database.query("SELECT COUNT(*) FROM SpecObj").rows == [(1,)]
