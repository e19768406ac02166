"""The stage that learns a recalibration, on networks that have learnt nothing, and predictions that it mends."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from model.bundles import write_bundle
from model.geometry import Geometry
from model.networks import build_network
from model.pdfs import pdf_metrics, pdf_scores
from model.prediction import predict_block
from model.presets import load_preset
from model.vectors import vector_of
from pipeline.stages.calibrate import calibrate_predictions
from pipeline.stores.staging import Staging
from schemas.digests import file_sha256
from schemas.errors import ModelError
from schemas.flags import Part, Status

ROWS, PIXELS, LEAST = 600, 16, 100
BANDS = ("i", "r", "g")


def _bundle(folder, preset, geometry):
    weights = build_network(preset, geometry, seed=3).get_weights()
    write_bundle(
        Path(folder), weights, preset, geometry, {"target": "z", "metrics": {}, "history": [], "run": {}}
    )
    return str(folder)


@pytest.fixture(scope="module")
def columns():
    """Two rows in five are of the calibration part, some of them without cutout or label."""
    random = np.random.default_rng(1)
    split = np.array([3, 0, 3, 1, 2], "u1")[np.arange(ROWS) % 5]
    status, label = np.ones(ROWS, "u1"), random.uniform(0.05, 0.3, ROWS).astype("f4")
    status[[0, 5]], label[[2, 7]] = Status.TIMEOUT, np.nan
    return {"split": split, "status": status, "label": label}


@pytest.fixture(scope="module")
def of_bins(tmp_path_factory, write_cube, columns):
    """A cube, and a network that says PDFs."""
    folder = tmp_path_factory.mktemp("bins")
    images = np.random.default_rng(0).integers(0, 200, (ROWS, PIXELS, PIXELS, 3)).astype("u1")
    cube = write_cube(folder / "cube.zarr", images, **columns)
    small = {"network.hidden": [8], "network.members": 1, "network.rings": 4, "head.bins": 40}
    geometry = Geometry((PIXELS, PIXELS), BANDS, 0.4)
    return cube, _bundle(folder / "bundle", load_preset("light", small), geometry)


@pytest.fixture(scope="module")
def of_gaussians(tmp_path_factory, write_cube, columns):
    """A cube, and a Bayesian network of fluxes that says means and errors."""
    folder, random = tmp_path_factory.mktemp("gaussians"), np.random.default_rng(2)
    preset = load_preset("csst-mlp-bayesian")
    names = vector_of(preset["vector"]).columns
    fluxes = {f"feature_{name}": 1e-28 * random.uniform(0.9, 1.1, ROWS) for name in names}
    images = np.zeros((ROWS, 4, 4, 7), "f4")
    bands = preset["input"]["bands"]
    cube = write_cube(folder / "cube.zarr", images, {"bands": bands, "unit": "electron"}, **columns, **fluxes)
    geometry = Geometry((4, 4), tuple(bands), 0.4, "float32", "electron")
    return cube, _bundle(folder / "bundle", preset, geometry)


def _calibrated(folder, made, kind, **settings):
    cube, bundle = made
    return calibrate_predictions(
        cube=cube,
        bundles=[bundle],
        settings={"kind": kind, "least": LEAST, "passes": 0, "engine": "auto", **settings},
        made_from={"sample": "spectro"},
        staging=Staging(str(folder / "staging"), "calibrate", "calibration"),
        final=str(folder / "calibration.json"),
    )


def _predicted(out, made, part, **settings):
    cube, bundle = made
    predict_block(cube=cube, bundles=[bundle], start=0, stop=ROWS, out=str(out), **settings)
    table = pq.read_table(out)
    known = np.isfinite(table["z_spec"].to_numpy()) & (table["split"].to_numpy() == part)
    return table.filter(known)


def test_pdfs_of_the_calibration_part_alone_decide_and_every_row_is_mended(tmp_path, of_bins):
    found = _calibrated(tmp_path, of_bins, "pit")
    (product,) = found.products
    said = json.loads(Path(product.staged).read_text())
    assert said == found.facts and file_sha256(Path(product.staged)) == product.sha256
    assert said["applied"] and said["rows"] == found.rows == ROWS * 2 // 5 - 4
    assert said["made_from"] == {"sample": "spectro"}
    again = _calibrated(tmp_path, of_bins, "pit")
    assert (again.digest, again.products[0].sha256) == (found.digest, product.sha256)

    plain, mended = (
        _predicted(tmp_path / f"{bool(fitted)}.parquet", of_bins, Part.TEST, recalibration=fitted)
        for fitted in (None, said["fitted"])
    )
    facts = json.loads(mended.schema.metadata[b"skymill"])
    assert facts["recalibration"] == said["fitted"]
    assert "recalibration" not in json.loads(plain.schema.metadata[b"skymill"])
    edges, ks = np.array(facts["pdf_edges"]), []
    for table in (plain, mended):
        pdf, z = np.array(table["pdf"].to_pylist(), "f8"), table["z_spec"].to_numpy()
        ks.append(pdf_metrics(pdf_scores(pdf, edges, z))["pit_ks"])
        middle = (edges[1:] + edges[:-1]) / 2
        assert table["z_phot"].to_numpy() == pytest.approx((pdf * middle).sum(1), abs=2e-3)
    assert ks[1] < 0.15 < ks[0]
    assert plain.column_names == mended.column_names and plain["row"] == mended["row"]


def test_errors_of_passes_are_scaled_to_what_they_should_cover(tmp_path, of_gaussians):
    found = _calibrated(tmp_path, of_gaussians, "alpha", passes=2)
    said = found.facts
    assert said["applied"] and said["fitted"]["alpha"] < 0.6
    one, other = (
        _predicted(
            tmp_path / f"{bool(fitted)}.parquet", of_gaussians, Part.TEST, passes=2, recalibration=fitted
        )
        for fitted in (None, said["fitted"])
    )
    assert one["z_phot"] == other["z_phot"]
    scaled = one["z_phot_err"].to_numpy() * said["fitted"]["alpha"]
    assert other["z_phot_err"].to_numpy() == pytest.approx(scaled, rel=1e-6)


def test_too_few_rows_that_were_fetched_well_are_told_with_how_many_are_needed(tmp_path, of_bins):
    with pytest.raises(ModelError, match="at least 237 labelled rows, found 236") as caught:
        _calibrated(tmp_path, of_bins, "pit", least=237)
    assert "split.calibration" in caught.value.remedy
    assert not list(tmp_path.glob("staging/*/*"))
