"""Pixels with classes from windows to sources: fetched, learnt, voted tile by tile, and published."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from astropy.io import fits

sys.path.insert(0, str(Path(__file__).parent))

from trainers import SHARED, small_job

from cluster.desk import Manners
from model.batches import training_epochs
from model.bundles import load_bundle
from model.classifying import network_of
from model.cubes import LabelledRows, open_cube
from model.intake import Intake
from model.order import apply_symmetry
from model.predictor import predictor_for
from model.training import train
from model.votes import classify_tile
from pipeline.fields.completeness import completeness
from pipeline.fields.labelled_windows import window_table
from pipeline.fields.layout import Finding, Layout
from pipeline.fields.opening import open_field, open_labels, windows_over
from pipeline.fields.results import create_results
from pipeline.ledger import Ledger
from pipeline.report.facts import FieldFacts, ReportFacts
from pipeline.report.page import render
from pipeline.sources.choice import source_of
from pipeline.sources.field_server import open_field_server
from pipeline.stages.classify import classify
from pipeline.stages.fetch import fetch_block
from pipeline.stages.find_sources import find_sources
from pipeline.stages.lost import lost_cutouts
from pipeline.stages.scenes import draw_scene
from pipeline.stores import catalogue
from pipeline.stores.catalogue_export import export_version
from pipeline.stores.catalogue_rows import CataloguePart
from pipeline.stores.catalogue_sources import source_columns
from pipeline.stores.catalogue_versions import show
from pipeline.stores.cube import content_digest, create_cube, read_block
from pipeline.stores.cube_spec import CubeSpec
from pipeline.stores.staging import Staging, place, verify
from schemas.config import RunFile
from schemas.errors import ModelError
from schemas.flags import Status
from schemas.records import Block, Unit

SMALL = {
    "network": {"down": [3, 3], "bottleneck": 3, "up": [3, 3], "operations": [1, 1, 1], "dropout": 0.1},
}
ROWS = 20
BLOCK = Block("windows", 0, 0, ROWS)
CLASSES = ("spheroid", "disk", "irregular", "point_source", "background")


def a_run(folder: Path, **changed: object) -> RunFile:
    data = {
        "schema": 1,
        "name": "fields",
        "output": str(folder),
        "samples": {
            "windows": {"sql": "SELECT windowid, ra, dec, number, kind FROM SceneWindows", "key": "windowid"}
        },
        "training": {"sample": "windows"},
        "target": {"column": "kind", "definition": "pixels"},
        "images": {
            "source": "scenes",
            "bands": ["H", "V"],
            "pixels": 16,
            "arcsec_per_pixel": 0.06,
        },
        "cube": {"rows_per_block": 32, "rows_per_chunk": 8},
        "model": {"preset": "morpheus", "overrides": SMALL},
        "fields": {"sky": {"scene": "field", "shape": [50, 45]}},
        "maps": {"stride": 4, "margin": 2, "tile": 20, "batch": 6, "votes": ["rank", "mean"]},
    }
    return RunFile.model_validate({**data, **changed})


def a_cube(run: RunFile, folder: Path, columns: dict[str, np.ndarray]) -> Path:
    rows = len(columns["id"])
    table = {
        "row": np.arange(rows),
        "ra": np.linspace(1, 2, rows),
        "dec": np.zeros(rows),
        "label": (np.arange(rows) % 4).astype("f4"),
        "split": np.array([0, 0, 0, 1, 2], "u1")[np.arange(rows) % 5],
        **columns,
    }
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(table), folder / "rows.parquet")
    create_cube(folder / "windows.zarr", folder / "rows.parquet", CubeSpec.of(run, "windows"))
    return folder / "windows.zarr"


def fetch(cube: Path, run: RunFile, block: Block):
    staging = Staging(str(cube.parent / "staging"), "fetch", block.key)
    receipt = fetch_block(
        cube=str(cube), block=block, source=source_of(run, ""), manners=Manners(""), staging=staging
    )
    place(receipt)
    return receipt


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunFile:
    return a_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def cube(run, tmp_path_factory) -> Path:
    number = np.arange(ROWS)
    columns = {"id": number.astype("u8"), "feature_number": number.astype("f8")}
    path = a_cube(run, tmp_path_factory.mktemp("cube"), columns)
    fetch(path, run, BLOCK)
    return path


@pytest.fixture(scope="module")
def bundle(cube, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("trained")
    job = small_job(
        folder,
        str(cube),
        preset="morpheus",
        overrides=SMALL,
        epochs=2,
        batch=6,
        target="kind",
        definition="pixels",
        export=True,
    )
    return train(job, report=lambda event: None).bundle


def test_windows_are_fetched_with_their_labels_and_only_what_is_missing_is_fetched_again(cube, run):
    held = read_block(cube, BLOCK, columns=("number",))
    assert (held.status == Status.OK).all() and held.image.shape == (ROWS, 16, 16, 2)
    assert held.target is not None and held.target.shape == (ROWS, 16, 16, len(CLASSES))
    assert np.abs(held.target.sum(axis=-1) - 1).max() < 1e-5
    again = fetch(cube, run, BLOCK)
    assert again.digest == content_digest(held.status, held.digest, held.image, held.target)
    assert again.digest != content_digest(held.status, held.digest, held.image)
    assert not verify(again.products) and "target" in again.products[0].final
    group = zarr.open_group(cube, mode="r")
    assert [str(name) for name in group["class"][:]] == list(CLASSES)


def test_a_block_whose_target_is_lost_is_fetched_anew(cube, run, tmp_path):
    number = np.arange(ROWS)
    path = a_cube(run, tmp_path / "c", {"id": number.astype("u8"), "feature_number": number.astype("f8")})
    first = fetch(path, run, BLOCK)
    next(found for found in (path / "target" / "c").rglob("0") if found.is_file()).unlink()
    assert (read_block(path, BLOCK).status == Status.PENDING).all()
    assert fetch(path, run, BLOCK).digest == first.digest
    staging = Staging(str(tmp_path / "staging"), "fetch", BLOCK.key)
    kept = lost_cutouts(
        Unit("fetch", BLOCK.key, "i", {"block": BLOCK}), why="x", cube=str(path), staging=staging
    )
    assert len(kept.products) == 4 and kept.facts["ok"] == ROWS


def test_training_counts_the_classes_and_keeps_what_pixels_weigh_in_the_bundle(bundle, cube):
    found = load_bundle(bundle)
    train_rows = np.flatnonzero(np.array([0, 0, 0, 1, 2])[np.arange(ROWS) % 5] == 0)
    labels = open_cube(str(cube)).read("target")[train_rows]
    dominant = np.where(labels == labels.max(axis=-1, keepdims=True), labels, 0).mean(axis=(0, 1, 2))
    assert found.preset["loss"]["masses"] == pytest.approx(dominant.tolist(), rel=1e-5)
    measured = found.metrics["test"]
    assert np.array(measured["confusion"]).sum() == 4 * 16 * 16 and 0 <= measured["accuracy"] <= 1
    assert {"val_accuracy", "val_loss"} <= set(found.history[0])


def test_a_class_without_an_example_and_a_cube_without_labels_are_refused(cube, tmp_path, write_cube):
    target = np.zeros((ROWS, 16, 16, 5), "f4")
    target[..., 4] = 1
    attributes = {"bands": ["H", "V"], "unit": "count", "classes": list(CLASSES)}
    image = np.ones((ROWS, 16, 16, 2), "f4")
    one = write_cube(tmp_path / "one.zarr", image, attributes, target=target)
    none = write_cube(tmp_path / "none.zarr", image, attributes)
    for path, words in ((one, "'spheroid' has no example"), (none, "no labels of pixels")):
        job = small_job(
            tmp_path / "job", path, preset="morpheus", overrides=SMALL, batch=4, definition="pixels"
        )
        with pytest.raises(ModelError, match=words):
            train(job, report=lambda event: None)


@pytest.fixture(scope="module")
def scene(run):
    folder = run.folder / "fields" / "sky" / "scene"
    receipt = draw_scene(
        scene="lattice",
        shape=(50, 45),
        seed=3,
        spacing_pixels=15,
        bands=run.images.bands,
        arcsec_per_pixel=0.06,
        final=str(folder),
        staging=Staging(str(run.folder / "staging"), "scene", "sky"),
    )
    place(receipt)
    return folder


def classified(run, bundle, folder, *, order=1, votes=("mean", "rank")):
    """The maps of the field, each tile by a task of its own, in one order or the other."""
    mosaic = open_field(run, "sky")
    windows = windows_over(run, mosaic.shape[:2])
    layout = Layout(windows, run.maps.tile, CLASSES, votes)
    maps = folder / "maps.zarr"
    create_results(maps, windows, classes=CLASSES, kinds=layout.votes, tile=layout.tile)
    for number, tile in list(enumerate(windows.tiles(layout.tile)))[::order]:
        staging = Staging(str(folder / "staging"), "classify", f"sky/{number}")
        receipt = classify(
            mosaic=mosaic,
            layout=layout,
            tile=tile,
            bundles=[bundle],
            passes=0,
            engine="auto",
            maps=str(maps),
            staging=staging,
        )
        place(receipt)
        assert not verify(receipt.products)
    return zarr.open_group(maps, mode="r")


def test_tiles_by_any_worker_in_any_order_hold_what_one_pass_over_the_field_does(
    run, bundle, scene, tmp_path
):
    maps = classified(run, bundle, tmp_path / "a")
    others = classified(run, bundle, tmp_path / "b", order=-1)
    mosaic = open_field(run, "sky")
    windows = windows_over(run, mosaic.shape[:2])
    network = network_of(predictor_for((bundle,), batch=windows.batch))
    pixels = mosaic[:, :]
    whole = classify_tile(
        pixels, network, windows=windows, tile=windows.whole, classes=5, kinds=("mean", "rank")
    )
    assert set(whole) == {"n", "rank", "mean", "variance"} and whole["n"].max() >= 9
    for name, values in whole.items():
        for found in (maps, others):
            assert np.asarray(found[name][:]).tobytes() == values.tobytes(), name


def test_a_field_becomes_a_catalogue_in_postgres_with_pictures_and_what_was_found(
    run, bundle, scene, tmp_path, database_dsn
):
    classified(run, bundle, tmp_path)
    finding = Finding(CLASSES, "background", "mean", "H", 0.19, 0.21, 5, 3)
    receipt = find_sources(
        mosaic=open_field(run, "sky"),
        maps=str(tmp_path / "maps.zarr"),
        finding=finding,
        truth=str(scene / "truth.parquet"),
        final=str(tmp_path / "sources"),
        staging=Staging(str(tmp_path / "staging"), "sources", "sky/sources"),
    )
    place(receipt)
    folder = tmp_path / "sources"
    with fits.open(folder / "segmap.fits") as hdus:
        segmap = hdus[0].data
        assert segmap.shape == (50, 45) and hdus[0].header["CTYPE1"] == "RA---TAN"
    sources = pq.read_table(folder / "sources.parquet")
    assert sources.num_rows == receipt.rows == segmap.max() > 0
    assert sources.column_names == [n for n, (_, kind) in source_columns(finding.sources).items() if kind]
    assert np.abs(sources["ra"].to_numpy() - 53.1228).max() < 0.01
    matched = pq.read_table(folder / "matched.parquet")
    assert completeness(matched, {"magnitude": [19, 23, 27]})["injected"].to_pylist() != [0, 0]
    assert {"picture.png", "n.fits", "disk.fits", "disk_mean.fits"} <= {
        path.name for path in folder.iterdir()
    }
    check_published(database_dsn, folder / "sources.parquet", sources, finding.sources)
    shown = FieldFacts(
        "sky", "lattice", receipt.rows, receipt.facts, folder / "picture.png", folder / "matched.parquet"
    )
    empty = replace(shown, name="nothing", scene="noise", matched=None)
    measured = load_bundle(bundle).metrics["test"]
    page = render(ReportFacts(run, run.folder, samples=[], metrics=measured, fields=[shown, empty]))
    assert all(
        words in page for words in ("Completeness: sky", "False positives", "data:image/png", "#fields")
    )
    assert "Completeness: nothing" not in page and "#pdfs" not in page


def check_published(dsn, path, sources, classes):
    with Ledger.open(dsn) as ledger:
        made_from = {"classes": list(classes)}
        version = catalogue.begin_version(
            ledger.connection, "field_sources", digest="d" * 32, run="r", provenance=made_from
        )
        part = CataloguePart("sky/sources", path, "sky", "digest")
        with ledger.connection, ledger.connection.cursor() as cursor:
            assert (
                catalogue.load_part(cursor, version, part, provenance="0123456789abcdef") == sources.num_rows
            )
        version = catalogue.finish_version(ledger.connection, version, parts={"sky/sources": "digest"})
        with ledger.connection, ledger.connection.cursor() as cursor:
            cursor.execute("select id, disk, class, flags from catalogue.field_sources order by id")
            rows = cursor.fetchall()
        assert [int(row[0]) for row in rows] == sources["id"].to_pylist()
        numbers = sources["class_number"].to_pylist()
        assert [row[2] for row in rows] == [classes[one] if one >= 0 else None for one in numbers]
        columns = {name: comment for name, _, comment in show(ledger.connection, "field_sources").columns}
        assert "disk" in columns["disk"] and all(columns.values())
        folder = path.parent / "export"
        folder.mkdir()
        (exported,) = export_version(ledger.connection, version, folder)
        again = pq.read_table(exported)
        assert again["flux"].to_pylist() == pytest.approx(sources["flux"].to_pylist())


def own_field(folder: Path, *, shape=(40, 48), values: np.ndarray | None = None) -> dict[str, object]:
    """A field of one's own without sky coordinates, in two bands, with numbers of classes."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(5)
    labels = np.arange(shape[0] * shape[1]).reshape(shape) % 5 if values is None else values
    for band in ("H", "V"):
        fits.PrimaryHDU(random.normal(0, 1, shape).astype("f4")).writeto(folder / f"{band}.fits")
    fits.PrimaryHDU(labels.astype("i2")).writeto(folder / "classes.fits")
    return {
        "bands": {band: str(folder / f"{band}.fits") for band in ("H", "V")},
        "labels": str(folder / "classes.fits"),
        "arcsec_per_pixel": 0.06,
    }


def test_windows_of_one_s_own_mosaic_are_cut_with_their_labels(tmp_path):
    labels = np.arange(40 * 48).reshape(40, 48) % 5
    labels[20, 40] = -1
    own = own_field(tmp_path / "own", values=labels)
    sample = {"sql": "SELECT windowid, ra, dec, field, y, x, kind FROM FieldWindows", "key": "windowid"}
    images = {"source": "mosaic", "bands": ["V", "H"], "pixels": 16, "arcsec_per_pixel": 0.06}
    run = a_run(tmp_path / "runs", samples={"windows": sample}, images=images, fields={"own": own})
    table = window_table(run)
    assert [(y, x) for y, x in zip(table["y"].to_pylist(), table["x"].to_pylist(), strict=True)] == [
        *((0, 0), (0, 16), (0, 32), (16, 0), (16, 16))
    ]
    server = open_field_server(run)
    found = server.query("SELECT COUNT(*) AS n, MAX(windowid) AS high FROM FieldWindows", ["n", "high"])
    assert found.to_pylist() == [{"n": 5, "high": 4}]
    columns = {f"feature_{name}": table[name].to_numpy().astype("f8") for name in ("field", "y", "x")}
    cube = a_cube(run, tmp_path / "cube", {"id": table["windowid"].to_numpy().astype("u8"), **columns})
    block = Block("windows", 0, 0, 5)
    fetch(cube, run, block)
    held = read_block(cube, block)
    mosaic, truth = open_field(run, "own"), open_labels(run, "own")
    assert (held.status == Status.OK).all() and mosaic.bands == ("V", "H")
    assert (held.image[4] == mosaic[16:32, 16:32]).all()
    assert (held.target[4] == truth[16:32, 16:32]).all()
    assert (held.target[4].argmax(-1) == labels[16:32, 16:32]).all()


def test_a_table_of_windows_is_of_its_classes_background_and_order_of_fields(tmp_path):
    labels = np.broadcast_to(np.where(np.arange(48) % 2, 4, 0), (40, 48))
    own = own_field(tmp_path / "own", values=labels)
    images = {"source": "mosaic", "bands": ["V", "H"], "pixels": 16, "arcsec_per_pixel": 0.06}

    def windows(overrides, **fields):
        model = {"preset": "morpheus", "overrides": {**SMALL, "head": overrides}}
        run = a_run(tmp_path / "runs", images=images, model=model, fields=fields)
        found = open_field_server(run).query("SELECT field, kind FROM FieldWindows", ["field", "kind"])
        return {(row["field"], row["kind"]) for row in found.to_pylist()}

    assert windows({}, own=own) == {(0, 0)}  # class 4 is the background
    assert windows({"classes": list(CLASSES[::-1])}, own=own) == {(0, 4)}  # class 0 is
    assert windows({"background": CLASSES[0]}, own=own) == {(0, 4)}
    assert windows({}, unlabelled={"bands": own["bands"]}, own=own) == {(1, 0)}


def test_a_row_beside_the_mosaic_is_a_failure_and_no_image(tmp_path):
    run = a_run(tmp_path / "runs", fields={"own": own_field(tmp_path / "own")})
    run = run.model_copy(update={"images": run.images.model_copy(update={"source": "mosaic"})})
    source = replace(source_of(run, ""))
    for place_of, words in (
        ({"field": 0, "y": 30, "x": 0}, "no window"),
        ({"field": 7, "y": 0, "x": 0}, "no field"),
    ):
        verdict = source.judge(place_of, ())
        assert verdict.status is Status.BAD_POSITION and words in verdict.detail and verdict.pixels is None


def real_field(name, bands, scale, **names):
    folder = SHARED / "real" / "fields" / name
    if not folder.is_dir():
        pytest.skip(f"the real field {name} is not here")
    return {"bands": {band: str(folder / names[band]) for band in bands}, "arcsec_per_pixel": scale}


def cut_out(path, out, side=400):
    """A corner of a field, with its sky coordinates: enough to see that all turns."""
    with fits.open(path) as hdus:
        fits.PrimaryHDU(hdus[0].data[:side, :side], hdus[0].header).writeto(out)
    return str(out)


@pytest.mark.parametrize(
    ("name", "bands", "scale", "names"),
    [
        (
            "hsc",
            ("g", "r", "i"),
            0.168,
            {band: f"{band.upper()}-10054-0,2-c1_scarlet_img.fits" for band in "gri"},
        ),
        ("decam", ("g", "r", "z"), 0.26303, {band: f"img_{band}.fits" for band in "grz"}),
    ],
)
def test_a_real_field_in_other_bands_is_classified_and_measured(
    name, bands, scale, names, tmp_path, write_cube
):
    field = real_field(name, bands, scale, **names)
    images = {"source": "mosaic", "bands": bands, "pixels": 32, "arcsec_per_pixel": scale}
    maps = {"stride": 24, "margin": 4, "tile": 600, "votes": ["mean"]}
    run = a_run(tmp_path, images=images, maps=maps, fields={"sky": {**field, "blank": "skip"}})
    assert open_field(run, "sky", look=True).arcsec_per_pixel == pytest.approx(scale, rel=1e-3)
    cut = {band: cut_out(path, tmp_path / f"{band}.fits") for band, path in field["bands"].items()}
    run = a_run(tmp_path, images=images, maps=maps, fields={"sky": {**field, "bands": cut}})
    mosaic = open_field(run, "sky")
    random = np.random.default_rng(1)
    target = np.eye(5, dtype="f4")[random.integers(0, 5, (ROWS, 32, 32))]
    attributes = {"bands": list(bands), "unit": "count", "classes": list(CLASSES), "arcsec_per_pixel": scale}
    path = write_cube(
        tmp_path / "c.zarr", random.normal(0, 1, (ROWS, 32, 32, 3)).astype("f4"), attributes, target=target
    )
    job = small_job(
        tmp_path, path, preset="morpheus", overrides=SMALL, epochs=1, batch=6, definition="pixels"
    )
    network = train(job, report=lambda event: None).bundle
    found = classified(run, network, tmp_path, votes=("mean",))
    n = np.asarray(found["n"][:])
    assert n.shape == mosaic.shape[:2] and (n[32:-32, 32:-32] > 0).mean() > 0.9
    background = np.asarray(found["mean"][:])[n > 0][:, 4]
    low, high = np.quantile(background, [0.02, 0.5]).tolist()
    finding = Finding(CLASSES, "background", "mean", bands[1], low, high, 20, 20)
    staging = Staging(str(tmp_path / "staging"), "sources", "sky/sources")
    sources = find_sources(
        mosaic=mosaic,
        maps=str(tmp_path / "maps.zarr"),
        finding=finding,
        truth=None,
        final=str(tmp_path / "s"),
        staging=staging,
    )
    assert sources.rows > 0 and sources.facts["classified"] == int((n > 0).sum())
    place(sources)
    ra = pq.read_table(tmp_path / "s" / "sources.parquet")["ra"].to_numpy()
    assert np.isfinite(ra).all() if name == "decam" else np.isnan(ra).all(), "hsc has no sky coordinates"


def test_windows_and_their_labels_are_turned_together(cube):
    opened = open_cube(str(cube))
    rows = LabelledRows(np.arange(ROWS), np.zeros(ROWS, "f4"))
    whole = opened.read("image"), opened.read("target")
    intake = Intake(target=True)
    turned = 0
    with training_epochs(opened, rows, batch=7, seed=1, epochs=[0], turn=True, intake=intake) as epochs:
        for batch in next(epochs):
            for place_, row in enumerate(batch.rows):
                image, labels = whole[0][row], whole[1][row]
                both = [
                    code
                    for code in range(8)
                    if (apply_symmetry(image[None], code)[0] == batch.images[place_]).all()
                    and (apply_symmetry(labels[None], code)[0] == batch.labels[place_]).all()
                ]
                assert both
                turned += both[0] != 0
    assert turned > ROWS // 2
