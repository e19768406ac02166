"""The preset `light` as it is shipped, on real SDSS cutouts, by 1, 2, 3 and 4 processes: the same training."""

import csv
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

from trainers import train_in_groups

SHARED = Path(os.environ.get("SKYMILL_SHARED", Path(__file__).parents[3] / "shared"))
SKY = SHARED / "real" / "sdss-photoz"
ROWS, EPOCHS = 250, 2
"""Of the first galaxies with a redshift 150 are learnt from: 3 batches an epoch, the last of 22 rows."""

LOSS = 1e-4
"""Largest relative difference of a loss; 1e-6 is usual. As shipped, the preset learns with AdamW, which may turn
the rounding in a gradient that is nearly zero into a step (see `test_training_group.py`)."""


@pytest.fixture(scope="module")
def said(tmp_path_factory, write_cube):
    if not SKY.is_dir():
        pytest.skip(f"{SKY} is not there; set SKYMILL_SHARED to the folder that holds real/")
    folder = tmp_path_factory.mktemp("sky")
    images, z = cutouts()
    cube = write_cube(folder / "cube.zarr", images, label=z)
    case = {"cube": cube, "overrides": {}, "epochs": EPOCHS, "batch": None}
    wrong = {**case, "overrides": {"optimizer.learning_rate": 4e-3}}
    cases = {"light": {**case, "sizes": (1, 2, 3, 4)}, "twice the gradient": {**wrong, "sizes": (1,)}}
    return train_in_groups(folder, cases, (4, 1, 3, 2))


def cutouts():
    """Return images, brought to 64 pixels, and redshifts."""
    places = {(row["ra"], row["dec"]): row["file"] for row in rows("cutouts")}
    labelled = [row for row in rows("specobj") if (row["ra"], row["dec"]) in places][:ROWS]
    assert len(labelled) == ROWS
    files = (SKY / "jpeg" / places[row["ra"], row["dec"]] for row in labelled)
    images = np.stack([np.asarray(Image.open(file).convert("RGB").resize((64, 64))) for file in files])
    return images.astype("u1"), np.array([float(row["z"]) for row in labelled], "f4")


def rows(name):
    with (SKY / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def curves(said):
    return np.array([[entry["loss"], entry["val_loss"]] for entry in said["history"]])


@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_group_of_any_size_learns_the_real_sky_as_one_process_does(said, size):
    one, many = (curves(said["light", count][0]) for count in (1, size))
    assert np.abs(many / one - 1).max() < LOSS
    assert one[-1, 0] < one[0, 0]
    histories = [each["history"] for each in said["light", size]]
    assert all(history == histories[0] for history in histories)


def test_a_loss_of_the_wrong_size_would_be_seen(said):
    one, wrong = (curves(said[name, 1][0]) for name in ("light", "twice the gradient"))
    assert np.abs(wrong / one - 1).max() > 10 * LOSS
