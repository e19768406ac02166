"""The same training by 1, 2, 3 and 4 processes: the same losses and weights.

They differ only in the order in which float32 numbers are added. The settings use plain gradient descent with a
small rate for few steps, so that this stays as small as it is. Adam divides a gradient by its own size, and so makes
a whole step of the rounding in one that is zero, as that of a bias before batch normalisation is; and with ten
times the rate a change of 1e-7 in the weights one begins with grows to 1e-2 in the loss of the 12th step.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

sys.path.insert(0, str(Path(__file__).parent))

from small_networks import menko_branches
from trainers import SKY, real_sky, toy, train_in_groups

LOSS, WEIGHTS = 2e-5, 2e-5
"""Largest relative difference of a loss, and largest difference of a weight; the weights are of the order of 1."""

SHIPPED = 1e-4
"""Largest relative difference of a loss of the preset `light` as it is shipped, with AdamW; 1e-6 is usual."""

DESCENT = {"optimizer.kind": "sgd", "optimizer.momentum": 0.0, "optimizer.schedule": "constant"}
CONVOLUTIONAL = {
    **DESCENT,
    **menko_branches(first=4),
    "network.l2": 0.1,
    "network.dropout": 0.3,
    "input.symmetries": True,
    "optimizer.learning_rate": 0.005,
}
RADIAL = {
    **DESCENT,
    "optimizer.learning_rate": 0.02,
    "network.hidden": [16],
    "network.members": 2,
    "network.rings": 6,
    "head.bins": 40,
}
GROUPS = [
    ("convolutional", 2),
    ("convolutional", 4),
    ("small blocks", 2),
    ("radial", 3),
    ("in pieces", 2),
]
WRONG = {
    "the loss divided by half the batch": {"optimizer.learning_rate": 0.01, "network.l2": 0.05},
    "penalties added once a member": {"network.l2": 0.2},
    "another dropout": {"network.dropout": 0.31},
}


@pytest.fixture(scope="module")
def said(tmp_path_factory, write_cube):
    """What each member of each group says of each case. Of 180 training rows the last batch of 59 has 3."""
    folder = tmp_path_factory.mktemp("groups")
    image, z = toy(pixels=32)
    cube = write_cube(folder / "cube.zarr", image, label=z)
    small_blocks = write_cube(folder / "small.zarr", image, label=z)
    zarr.open_group(small_blocks, mode="r+").attrs["rows_per_block"] = 16
    huge = z.copy()
    huge[[7, 11]] = 1e25
    bad = write_cube(folder / "bad.zarr", image, label=huge)
    plain = {"cube": cube, "preset": "menko", "overrides": CONVOLUTIONAL, "epochs": 2, "batch": 59}
    cases = {
        "convolutional": {**plain, "sizes": (1, 2, 4)},
        "small blocks": {**plain, "cube": small_blocks, "sizes": (1, 2)},
        "radial": {**plain, "preset": "light", "overrides": RADIAL, "epochs": 2, "sizes": (1, 3)},
        "clipped": {**plain, "overrides": {**CONVOLUTIONAL, "optimizer.clip_norm": 0.01}, "sizes": (1, 2)},
        "not finite": {**plain, "cube": bad, "sizes": (2,)},
    }
    for precision in ("mixed_bfloat16", "mixed_float16"):
        mixed = {**CONVOLUTIONAL, "training.precision": precision}
        cases[precision] = {**plain, "overrides": mixed, "sizes": (2,)}
    pieces = {**CONVOLUTIONAL, "training.accumulate": 3}
    cases["in pieces"] = {**plain, "overrides": pieces, "sizes": (1, 2)}
    if SKY.is_dir():
        images, z = real_sky(250)
        sky = {"cube": write_cube(folder / "sky.zarr", images, label=z), "epochs": 2, "batch": None}
        cases["real sky"] = {**sky, "overrides": {}, "sizes": (1, 2, 3, 4)}
        twice = {"optimizer.learning_rate": 4e-3}
        cases["real sky, twice the gradient"] = {**sky, "overrides": twice, "sizes": (1,)}
    for name, changed in WRONG.items():
        cases[name] = {**plain, "overrides": {**CONVOLUTIONAL, **changed}, "sizes": (1,)}
    return train_in_groups(folder, cases, (4, 1, 3, 2))


def curves(said):
    return np.array([[entry["loss"], entry["val_loss"]] for entry in said["history"]])


def difference(one, other):
    """Return how far apart two trainings are: their losses, and their weights."""
    losses = np.abs(curves(one) / curves(other) - 1).max()
    pairs = zip(one["weights"], other["weights"], strict=True)
    return losses, max(np.abs(a - b).max() for a, b in pairs)


@pytest.mark.parametrize(("case", "size"), GROUPS)
def test_a_group_of_any_size_learns_what_one_process_learns(said, case, size):
    losses, weights = difference(said[case, size][0], said[case, 1][0])
    assert losses < LOSS and weights < WEIGHTS
    assert curves(said[case, 1][0])[-1, 0] < curves(said[case, 1][0])[0, 0]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_a_group_might_do_wrong_would_be_seen(said, wrong):
    losses, weights = difference(said[wrong, 1][0], said["convolutional", 1][0])
    assert losses > 10 * LOSS and weights > 10 * WEIGHTS


@pytest.mark.parametrize(("case", "size"), GROUPS)
def test_all_members_end_with_the_same_bits_and_the_same_history(said, case, size):
    first, *others = said[case, size]
    for other in others:
        assert other["history"] == first["history"]
        assert all(np.array_equal(a, b) for a, b in zip(first["weights"], other["weights"], strict=True))


@pytest.mark.skipif(not SKY.is_dir(), reason=f"{SKY} is not there; SKYMILL_SHARED names what holds real/")
@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_group_of_any_size_learns_the_real_sky_as_one_process_does(said, size):
    one, many = (curves(said["real sky", count][0]) for count in (1, size))
    assert np.abs(many / one - 1).max() < SHIPPED
    assert one[-1, 0] < one[0, 0]
    histories = [each["history"] for each in said["real sky", size]]
    assert all(history == histories[0] for history in histories)
    wrong = curves(said["real sky, twice the gradient", 1][0])
    assert np.abs(wrong / one - 1).max() > 10 * SHIPPED


def test_another_block_size_is_another_order(said):
    losses, _ = difference(said["small blocks", 1][0], said["convolutional", 1][0])
    assert losses > 10 * LOSS


def test_the_length_of_the_gradient_of_the_whole_batch_is_what_is_clipped(said):
    losses, weights = difference(said["clipped", 2][0], said["clipped", 1][0])
    assert losses < LOSS and weights < WEIGHTS
    losses, _ = difference(said["clipped", 1][0], said["convolutional", 1][0])
    assert losses > 10 * LOSS


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_learns_in_a_group_too(said, precision):
    whole, half = (curves(said[name, 2][0])[:, 0] for name in ("convolutional", precision))
    assert 1e-6 < np.abs(half / whole - 1).max() < 0.02
    assert half[-1] < half[0]


def test_the_metrics_are_of_all_rows_whoever_measured_them(said):
    one, three = (said["radial", size][0]["metrics"]["test"] for size in (1, 3))
    assert three["n"] == one["n"] == 60
    assert three["sigma_nmad"] == pytest.approx(one["sigma_nmad"], rel=1e-3)
    assert three["pdf"]["crps"] == pytest.approx(one["pdf"]["crps"], rel=1e-4)


def test_rows_whose_loss_is_not_finite_are_named_by_all_members(said):
    errors = {each["error"] for each in said["not finite", 2]}
    assert len(errors) == 1
    (error,) = errors
    assert "the loss became inf in epoch 1, batch " in error and " of 4" in error
    assert f"7 (id {2**63 + 7})" in error or f"11 (id {2**63 + 11})" in error
    assert "training.learning_rate" in error
