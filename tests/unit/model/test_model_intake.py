import numpy as np
import pytest

from model.cubes import Cube
from model.geometry import Geometry
from model.intake import Intake, check_contract, intake_of
from model.presets import load_preset
from model.vectors import vector_of
from schemas.errors import ModelError

ELG = load_preset("elg")
IMAGES = Geometry((64, 64), tuple(ELG["input"]["bands"]), 0.262, "float32", "nanomaggy")


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("light", ("image", "draw")),
        ("csst-mlp", ("vector", "draw")),
        ("csst-cnn", ("image", "draw")),
        ("csst-hybrid", ("image", "vector", "draw")),
        ("elg-image", ("image", "vector", "draw")),  # E(B-V) goes into the image branches
        ("emri", ("image", "draw")),
    ],
)
def test_a_network_takes_what_the_branches_it_is_made_of_take(name, names):
    assert intake_of(load_preset(name)).names == names


def test_images_as_the_preset_wants_them_are_accepted_and_a_network_of_vectors_takes_any():
    check_contract(ELG, IMAGES)
    check_contract(load_preset("csst-mlp"), Geometry((8, 8), ("x",), 1.0))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bands": (*IMAGES.bands[1:], IMAGES.bands[0])}, "bands: expected"),
        ({"bands": IMAGES.bands[:7]}, "bands: expected"),
        ({"unit": "level"}, "unit: expected 'nanomaggy', found 'level'"),
        ({"shape": (65, 65)}, "pixels: expected 64, found 65"),
    ],
)
def test_images_of_other_bands_order_size_or_unit_are_refused(change, words):
    with pytest.raises(ModelError, match=words):
        check_contract(ELG, Geometry(**{**vars(IMAGES), **change}))


def test_every_difference_is_named_and_the_smallest_size_is_kept():
    with pytest.raises(ModelError, match=r"bands: .*unit: "):
        check_contract(ELG, Geometry((64, 64), ("g", "r"), 0.262))
    with pytest.raises(ModelError, match="at least 16 pixels, found 8"):
        check_contract(load_preset("light"), Geometry((8, 8), ("i", "r", "g"), 0.4))


def test_what_is_not_taken_is_neither_read_nor_kept():
    vector = vector_of({"kind": "columns", "features": ["g - r"]})
    group = {"feature_G": np.arange(6.0), "feature_r": np.ones(6)}  # no image
    cube = Cube("memory", group, Geometry((2, 2), ("r",), 0.4), 6, 3, 3)
    images, vectors = Intake(image=False, vector=vector).read(cube, 2, 5)
    assert images.shape == (3, 0) and vectors.tolist() == [[1.0], [2.0], [3.0]]
    images, vectors = Intake().room(cube, 4)
    assert images.shape == (4, 2, 2, 1) and vectors.shape == (4, 0)
    with pytest.raises(ModelError, match="no column z"):
        cube.vectors(vector_of({"kind": "columns", "features": ["g - z"]}))
