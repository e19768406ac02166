import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from small_networks import menko_branches

from model.bundles import load_bundle, write_bundle
from model.estimates import estimate
from model.export import export_bundle
from model.geometry import Geometry
from model.networks import build_network
from model.prediction import predict_block
from model.predictor import Predictor, predictor_for
from model.presets import load_preset
from schemas.errors import ModelError, StoreError

ROWS, PIXELS = 300, 32
GEOMETRY = Geometry((PIXELS, PIXELS), ("i", "r", "g"), 0.4)
SMALL = {"network.hidden": [16], "network.members": 2, "network.rings": 6, "head.bins": 40}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 200, (ROWS, PIXELS, PIXELS, 3)).astype("u1")


@pytest.fixture(scope="module")
def cube(tmp_path_factory, images, write_cube):
    status = np.ones(ROWS, "u1")
    status[[3, 64, 65, 250]] = 33
    label = np.where(np.arange(ROWS) % 2, 0.1, np.nan).astype("f4")
    split = (np.arange(ROWS) % 3).astype("u1")
    folder = tmp_path_factory.mktemp("toy")
    return write_cube(folder / "cube.zarr", images, status=status, split=split, label=label)


def _bundle(folder, preset="light", geometry=GEOMETRY, seed=3, target="z", **overrides):
    chosen = load_preset(preset, {**SMALL, **overrides} if preset == "light" else overrides)
    weights = build_network(chosen, geometry, seed=seed).get_weights()
    facts = {"target": target, "metrics": {}, "history": [], "run": {}}
    write_bundle(Path(folder), weights, chosen, geometry, facts)
    return str(folder)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return _bundle(tmp_path_factory.mktemp("model") / "bundle")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return _bundle(tmp_path_factory.mktemp("other") / "bundle", seed=4)


def _predict(cube, bundle, out, start=0, stop=ROWS, **changed):
    bundles = [bundle] if isinstance(bundle, str) else bundle
    receipt = predict_block(cube=cube, bundles=bundles, start=start, stop=stop, out=str(out), **changed)
    return receipt, pq.read_table(out)


def _pdfs(table):
    return np.array(table["pdf"].to_pylist(), "f8")


def test_a_part_holds_every_good_row_of_the_block_and_no_other(tmp_path, cube, bundle):
    receipt, table = _predict(cube, bundle, tmp_path / "part", 64, 256)
    rows = table["row"].to_numpy()
    assert rows.tolist() == [r for r in range(64, 256) if r not in (64, 65, 250)]
    assert table["id"].to_pylist() == [r + 2**63 for r in rows.tolist()]
    assert np.allclose(table["ra"].to_numpy(), np.linspace(0, 359, ROWS)[rows])
    assert np.array_equal(table["split"].to_numpy(), rows % 3)
    assert np.array_equal(np.isnan(table["z_spec"].to_numpy()), rows % 2 == 0)
    types = {field.name: str(field.type) for field in table.schema}
    assert types == {
        "row": "int64",
        "id": "uint64",
        "ra": "double",
        "dec": "double",
        "z_spec": "float",
        "z_phot": "float",
        "z_phot_err": "float",
        "flags": "int32",
        "split": "uint8",
        "pdf": "fixed_size_list<element: halffloat>[40]",
    }
    facts = json.loads(pq.read_schema(tmp_path / "part").metadata[b"skymill"])
    assert facts["pdf_edges"] == pytest.approx(np.linspace(0, 0.4, 41).tolist())
    assert facts["pdf_dtype"] == "float16"
    assert facts["bundle"] == load_bundle(bundle).digest
    assert (facts["bundles"], facts["engines"], facts["passes"]) == ([facts["bundle"]], ["tensorflow"], 0)
    assert receipt["rows"] == len(rows)


def test_the_same_block_is_written_in_the_same_bytes(tmp_path, cube, bundle):
    first, _ = _predict(cube, bundle, tmp_path / "a", 0, 128)
    second, _ = _predict(cube, bundle, tmp_path / "b", 0, 128)
    assert first == second
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    other, _ = _predict(cube, bundle, tmp_path / "c", 128, 256)
    assert other["digest"] != first["digest"]


def test_a_pdf_and_its_estimate_agree(tmp_path, cube, bundle):
    _, table = _predict(cube, bundle, tmp_path / "part")
    pdf = np.array(table["pdf"].to_pylist(), "f8")
    middle = (np.linspace(0, 0.4, 41)[1:] + np.linspace(0, 0.4, 41)[:-1]) / 2
    assert pdf.sum(1) == pytest.approx(1, abs=5e-3)
    assert table["z_phot"].to_numpy() == pytest.approx((pdf * middle).sum(1), abs=1e-3)


@pytest.mark.parametrize("preset", ["light", "menko"])
def test_predictions_do_not_depend_on_batch_or_block(tmp_path, cube, bundle, preset):
    if preset == "menko":
        bundle = _bundle(tmp_path / "bundle", "menko", **menko_branches())
    _, whole = _predict(cube, bundle, tmp_path / "whole")
    for batch in (7, 500):
        _, other = _predict(cube, bundle, tmp_path / f"b{batch}", batch=batch)
        assert np.abs(other["z_phot"].to_numpy() - whole["z_phot"].to_numpy()).max() < 1e-5
    pieces = [
        _predict(cube, bundle, tmp_path / f"p{start}", start, min(start + 64, ROWS))[1]
        for start in range(0, ROWS, 64)
    ]
    rows = np.concatenate([piece["row"].to_numpy() for piece in pieces])
    z = np.concatenate([piece["z_phot"].to_numpy() for piece in pieces])
    assert np.array_equal(rows, whole["row"].to_numpy())
    assert np.abs(z - whole["z_phot"].to_numpy()).max() < 1e-6


def test_an_image_s_prediction_does_not_depend_on_the_others_in_its_batch(bundle, images):
    predictor = Predictor([load_bundle(bundle)], batch=16)
    whole = predictor(images[:40])
    for start in (0, 3, 39):
        assert np.array_equal(predictor(images[start : start + 1]), whole[:, start : start + 1])
    turned = predictor(images[:40][::-1])
    assert np.abs(turned[:, ::-1] - whole).max() < 1e-6


def test_a_bundle_is_loaded_once_a_process_and_again_when_it_changed(tmp_path):
    path = _bundle(tmp_path / "b")
    first = predictor_for((path,))
    assert predictor_for((path,)) is first
    assert predictor_for((path,), passes=2) is not first
    _bundle(tmp_path / "b", **{"head.bins": 20})
    assert predictor_for((path,)) is not first


def test_dropout_that_never_rests_is_of_the_row_whatever_batch_block_or_engine_it_is_in(tmp_path, write_cube):
    layers = [
        {"kind": "conv", "kernel": 3, "filters": 8, "activation": "relu"},
        {"kind": "global_average"},
        {"kind": "dropout", "rate": 0.5, "faithful": {"always": True}},
    ]
    branches = {"network.branches": [{"name": "cnn", "input": "image", "layers": layers}]}
    still = _bundle(tmp_path / "still", "menko", **branches)
    restless = _bundle(tmp_path / "restless", "menko", **branches, **{"network.faithful": True})
    export_bundle(Path(restless))
    alike = write_cube(tmp_path / "alike.zarr", np.full((40, PIXELS, PIXELS, 3), 90, "u1"))

    def said(bundle, name, *where, **settings):
        return _predict(alike, bundle, tmp_path / name, *where, **settings)[1]["z_phot"].to_numpy()

    assert np.ptp(said(still, "still.parquet", 0, 40)) == 0
    whole = said(restless, "whole", 0, 40)
    assert len(np.unique(whole)) > 20
    pieces = [said(restless, f"p{start}", start, start + 8, batch=3) for start in range(0, 40, 8)]
    assert np.concatenate(pieces) == pytest.approx(whole, abs=1e-6)
    assert said(restless, "other", 0, 40, engine="tensorflow") == pytest.approx(whole, abs=1e-5)
    passes = said(restless, "passes", 0, 40, passes=3)
    assert not np.allclose(passes, whole, atol=1e-4)


def test_averaging_over_symmetries_gives_the_same_answer_for_every_symmetry(tmp_path, images):
    path = _bundle(tmp_path / "b", "menko", **menko_branches(), **{"input.average_symmetries": True})
    image = images[:1]
    predictor = Predictor([load_bundle(path)], batch=2)
    found = predictor(np.concatenate([image, image[:, ::-1]]))
    assert found[0, 0] == pytest.approx(found[0, 1], abs=1e-6)
    said = estimate(found[0], predictor.head)
    assert said.pdf is None and np.isnan(said.error).all()


def test_several_bundles_are_averaged_and_their_spread_is_part_of_the_error(tmp_path, cube, bundle, other):
    one, two, both = (
        _predict(cube, chosen, tmp_path / f"{number}")[1]
        for number, chosen in enumerate((bundle, other, [bundle, other]))
    )
    assert _pdfs(both) == pytest.approx((_pdfs(one) + _pdfs(two)) / 2, abs=2e-4)
    z, errors, sigma = (
        np.stack([table[name].to_numpy().astype("f8") for table in (one, two, both)])
        for name in ("z_phot", "z_phot_err", "z_phot_err")
    )
    assert z[2] == pytest.approx(z[:2].mean(0), abs=1e-6)
    assert sigma[2] ** 2 == pytest.approx((errors[:2] ** 2).mean(0) + z[:2].var(0), rel=1e-4)
    assert z[:2].var(0).max() > 1e-6


def test_the_passes_of_a_row_do_not_depend_on_the_block_it_is_in(tmp_path, cube, bundle):
    _, whole = _predict(cube, bundle, tmp_path / "whole", 0, 256, passes=3)
    _, plain = _predict(cube, bundle, tmp_path / "plain", 0, 256)
    _, again = _predict(cube, bundle, tmp_path / "again", 128, 256, passes=3, batch=50)
    chosen = whole["row"].to_numpy() >= 128
    for name in ("z_phot", "z_phot_err"):
        assert whole[name].to_numpy()[chosen] == pytest.approx(again[name].to_numpy(), abs=1e-6)
    assert np.abs(whole["z_phot"].to_numpy() - plain["z_phot"].to_numpy()).max() > 1e-4


def test_passes_of_two_bundles_are_all_different(bundle, other, images):
    predictor = Predictor([load_bundle(bundle), load_bundle(other)], passes=3, batch=8)
    found = predictor(images[:8], np.arange(8) + 100)
    assert found.shape == (6, 8, 40)
    distance = np.abs(found[:, None] - found[None]).max((2, 3))
    assert (distance[~np.eye(6, dtype=bool)] > 1e-4).all()
    assert np.abs(predictor(images[4:8], np.arange(4) + 104) - found[:, 4:]).max() < 1e-6


def test_a_head_without_a_pdf_takes_its_error_from_the_spread(tmp_path, cube):
    paths = [_bundle(tmp_path / f"{seed}", "menko", seed=seed, **menko_branches()) for seed in (1, 2, 3)]
    single = [_predict(cube, path, tmp_path / "one")[1]["z_phot"].to_numpy() for path in paths]
    _, table = _predict(cube, paths, tmp_path / "all")
    assert table["z_phot"].to_numpy() == pytest.approx(np.mean(single, 0), abs=1e-6)
    assert table["z_phot_err"].to_numpy() == pytest.approx(np.std(single, 0), abs=1e-6)
    assert "pdf" not in table.column_names


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"geometry": Geometry((PIXELS, PIXELS), ("i", "r", "g"), 0.2)}, "same images"),
        ({"head.bins": 20}, "same head"),
        ({"target": "mass"}, "same target"),
    ],
)
def test_bundles_that_do_not_belong_together_are_refused(tmp_path, cube, bundle, changed, words):
    with pytest.raises(ModelError, match=words) as caught:
        _predict(cube, [bundle, _bundle(tmp_path / "b", **changed)], tmp_path / "part")
    assert caught.value.remedy


def test_passes_of_a_network_without_dropout_are_refused(tmp_path, cube):
    path = _bundle(tmp_path / "b", **{"network.dropout": 0.0})
    with pytest.raises(ModelError, match="has no dropout"):
        _predict(cube, path, tmp_path / "part", passes=2)


def test_what_float16_takes_from_a_pdf_is_below_its_estimate_s_error(bundle, images):
    predictor = Predictor([load_bundle(bundle)])
    answers = predictor(images)[0].astype("f8")
    sharp = answers ** np.linspace(1, 60, len(answers))[:, None]  # as narrow as trained ones, and narrower
    sharp = (sharp / sharp.sum(1, keepdims=True)).astype("f4")
    stored = sharp.astype("f2").astype("f8")
    exact, found = estimate(sharp, predictor.head), estimate(stored.astype("f4"), predictor.head)
    assert np.abs(found.z - exact.z).max() < 1e-4
    assert np.abs(np.cumsum(stored - sharp, axis=1)).max() < 5e-4
    assert np.abs(found.error - exact.error).max() < 1e-4


def test_a_cube_of_another_geometry_is_refused(tmp_path, cube):
    other = _bundle(tmp_path / "b", geometry=Geometry((PIXELS, PIXELS), ("i", "r", "g"), 0.2))
    with pytest.raises(ModelError, match=r"arcsec_per_pixel=0\.2") as caught:
        predict_block(cube=cube, bundles=[other], start=0, stop=64, out=str(tmp_path / "part"))
    assert "same images settings" in caught.value.remedy
    assert not (tmp_path / "part").exists()


def test_a_block_without_a_good_row_gives_an_empty_part(tmp_path, bundle, images, write_cube):
    path = write_cube(tmp_path / "empty.zarr", images[:64], status=np.full(64, 33, "u1"))
    receipt, table = _predict(path, bundle, tmp_path / "part", 0, 64)
    assert receipt["rows"] == table.num_rows == 0
    assert "pdf" in table.column_names


def test_a_folder_that_cannot_be_written_is_named(tmp_path, cube, bundle):
    with pytest.raises(StoreError, match="cannot write"):
        predict_block(cube=cube, bundles=[bundle], start=0, stop=64, out=str(tmp_path / "no" / "part"))


def test_images_of_another_shape_are_refused(bundle):
    with pytest.raises(ModelError, match="wants uint8 images"):
        Predictor([load_bundle(bundle)], batch=4)(np.zeros((2, 8, 8, 3), "u1"))
