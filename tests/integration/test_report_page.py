"""Whole reports of small synthetic runs, read back as a browser would."""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

from model.metrics import photoz_metrics
from model.pdfs import pdf_metrics, pdf_scores
from pipeline.report import cubes, predictions, work
from pipeline.report.facts import FailureCount, ReportFacts, SampleFacts, Trial
from pipeline.report.page import write_report
from pipeline.report.summary import summary
from schemas.config import RunFile
from schemas.flags import Part, Status
from schemas.ledger_rows import LedgerFailure, TimelinePoint

ROWS = 240
EDGES = np.linspace(0, 0.4, 61)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SQL = "SELECT *\nFROM SpecObj\nWHERE class = 'GALAXY'"
RUN_FILE = {"schema": 1, "name": "demo-run", "samples": {"spectro": {"sql": SQL}}}
BIG_ID = 2**63 + 4096
HISTORY = tuple({"epoch": e, "loss": 1 / e, "val_loss": 1.2 / e} for e in range(1, 9))


class _Page(HTMLParser):
    """Collects what a browser would fetch, the ids, and tags that were left open."""

    VOID = frozenset({"meta", "img", "link", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.count: Counter[str] = Counter()
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] += 1
        if tag not in self.VOID:
            self.open.append(tag)
        self._look(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] += 1
        self._look(attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data

    def _look(self, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in {"src", "href", "xlink:href", "srcset"}:
                (self.links if str(value).startswith("#") else self.fetched).append(str(value))
            if name == "id":
                self.ids.append(str(value))


def _truths() -> dict[str, Any]:
    generator = np.random.default_rng(5)
    z = generator.uniform(0.02, 0.3, ROWS).astype(np.float32)
    part = np.where(np.arange(ROWS) % 3 == 0, int(Part.TEST), int(Part.TRAIN)).astype(np.uint8)
    status = np.full(ROWS, int(Status.OK), np.uint8)
    status[1::40] = Status.OUTSIDE_FOOTPRINT
    estimate = (z + 0.02 * generator.normal(size=ROWS)).clip(0.001, 0.39).astype(np.float32)
    centres = (EDGES[1:] + EDGES[:-1]) / 2
    pdf = np.exp(-0.5 * ((centres - estimate[:, None]) / 0.02) ** 2)
    return {
        "z": z,
        "z_phot": estimate,
        "pdf": (pdf / pdf.sum(1, keepdims=True)).astype(np.float16),
        "split": part,
        "status": status,
        "ra": (355 + 10 * generator.random(ROWS)) % 360,
        "dec": generator.uniform(-2, 2, ROWS),
        "id": np.arange(ROWS, dtype=np.uint64) + np.uint64(BIG_ID),
    }


def _write_cube(path: Path, truth: dict[str, Any], *, magnitude: bool = True) -> None:
    group = zarr.open_group(path, mode="w")
    y, x = np.mgrid[-12:12, -12:12]
    size = 2 + 5 * np.random.default_rng(1).random(ROWS)[:, None, None]
    glow = 230 * np.exp(-np.hypot(x, 1.4 * y) / size)
    image = np.stack([glow, 0.8 * glow, 0.6 * glow], axis=-1).astype(np.uint8)
    image[truth["status"] != Status.OK] = 0
    arrays = {name: truth[name] for name in ("id", "ra", "dec", "status", "split")}
    arrays |= {"label": truth["z"], "image": image}
    if magnitude:
        arrays["feature_modelMag_r"] = np.where(np.arange(ROWS) % 9 == 0, -9999.0, 15 + 8 * truth["z"])
    for name, values in arrays.items():
        group.create_array(name, data=values, chunks=(80, *values.shape[1:]))


def _write_parts(folder: Path, truth: dict[str, Any], *, pdf: bool = True, labels: bool = True) -> list[Path]:
    folder.mkdir(parents=True)
    paths = []
    for number, start in enumerate(range(0, ROWS, 80)):
        rows = np.arange(start, start + 80)
        rows = rows[truth["status"][rows] == Status.OK]
        columns: dict[str, Any] = {
            "row": rows.astype(np.int64),
            "id": truth["id"][rows],
            "ra": truth["ra"][rows],
            "dec": truth["dec"][rows],
            "z_spec": truth["z"][rows] if labels else np.full(len(rows), np.nan, np.float32),
            "z_phot": truth["z_phot"][rows],
            "z_phot_err": np.full(len(rows), 0.02, np.float32),
            "flags": np.zeros(len(rows), np.int32),
            "split": truth["split"][rows] if labels else np.full(len(rows), int(Part.UNLABELLED), np.uint8),
        }
        metadata = {}
        if pdf:
            flat = pa.array(truth["pdf"][rows].ravel())
            columns["pdf"] = pa.FixedSizeListArray.from_arrays(flat, len(EDGES) - 1)
            metadata = {b"skymill": json.dumps({"pdf_edges": EDGES.tolist()}).encode()}
        paths.append(folder / f"part-{number:05d}.parquet")
        pq.write_table(pa.table(columns).replace_schema_metadata(metadata), paths[-1])
    return paths


def _facts(folder: Path, *, pdf: bool = True, labels: bool = True, magnitude: bool = True) -> ReportFacts:
    truth = _truths()
    _write_cube(folder / "spectro.zarr", truth, magnitude=magnitude)
    parts = _write_parts(folder / "predictions", truth, pdf=pdf, labels=labels)
    failed = int((truth["status"] != Status.OK).sum())
    sample = SampleFacts(
        "spectro", ROWS, ROWS - failed, ROWS - failed, 3, folder / "spectro.zarr", tuple(parts)
    )
    fetch = [TimelinePoint(NOON + timedelta(seconds=10 * i), 80, 1, 9.0, f"host:{i % 2}") for i in range(3)]
    tested = _tested()
    return ReportFacts(
        RunFile.model_validate(RUN_FILE),
        folder,
        (sample,),
        catalogue="photoz",
        version=7,
        published_rows=ROWS - failed,
        newest=7,
        psql='psql "host=db dbname=sky" -c "SELECT * FROM photoz"',
        failures=(
            LedgerFailure(
                *("fetch", "spectro/00000", 1, "spectro", 1, BIG_ID + 1, int(Status.OUTSIDE_FOOTPRINT)),
                *("outside footprint", True, "<html>404 & so on</html>"),
            ),
        ),
        failure_counts=(FailureCount("spectro", "outside footprint", True, failed),),
        metrics=photoz_metrics(tested["z"], tested["z_phot"]).as_dict() if labels else {},
        histories={"model": HISTORY},
        timeline={
            "fetch": fetch,
            "train": [TimelinePoint(NOON + timedelta(seconds=50), 160, 1, 16.0, "host:1")],
            "publish": [TimelinePoint(NOON + timedelta(seconds=60), 234, 0, 1.0, "host:9")],
        },
        provenance={"code": "0.1.0+gabc", "packages": {"numpy": "2.0"}},
        made=NOON,
    )


def _summary(facts: ReportFacts) -> str:
    return summary(facts, {})


def _tested() -> dict[str, Any]:
    truth = _truths()
    keep = (truth["split"] == Part.TEST) & (truth["status"] == Status.OK)
    return {name: values[keep] for name, values in truth.items()}


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> ReportFacts:
    return _facts(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def html(facts: ReportFacts, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(facts, tmp_path_factory.mktemp("out") / "report.html").read_text(encoding="utf-8")


def test_the_page_fetches_nothing_and_is_small(html: str) -> None:
    page = _Page(html)
    assert page.fetched and all(uri.startswith("data:image/") for uri in page.fetched)
    assert "<script" not in html and "@import" not in html
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))
    assert len(html) < 6_000_000


def test_the_page_is_well_formed_and_its_links_lead_somewhere(html: str) -> None:
    page = _Page(html)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)


def test_the_numbers_are_those_of_the_test_part(html: str) -> None:
    tested = _tested()
    expected = photoz_metrics(tested["z"], tested["z_phot"])
    words = _Page(html).words
    assert f"{expected.sigma_nmad:.4f}" in words
    assert f"{expected.rmse:.4f}" in words
    assert expected.text in words
    assert f"N = {len(tested['z'])}" in words


def test_how_good_the_pdfs_are_is_that_of_those_on_disk(html: str) -> None:
    tested = _tested()
    expected = pdf_metrics(
        pdf_scores(tested["pdf"].astype(np.float64), EDGES, tested["z"].astype(np.float64))
    )
    said = re.search(r"inside 95 %(.*?)Means of", _Page(html).words)
    numbers = "".join(f"{expected[name]:.5f}" for name in ("crps", "cde_loss", "pit_ks")).replace("-", "−")
    shares = "".join(f"{100 * expected[name]:.2f} %" for name in ("coverage_68", "coverage_95"))
    assert said and said[1].replace("\u202f", " ") == f"{len(tested['z'])}{numbers}{shares}"


@pytest.mark.parametrize(
    "name",
    [
        "estimates",
        "by-z",
        "by-mag",
        "nz-spectro",
        "pit",
        "coverage",
        "pdf-0",
        "sky",
        "close",
        "training",
        "rate-fetch",
    ],
)
def test_every_kind_of_plot_is_there(html: str, name: str) -> None:
    assert f'id="{name}-figure_1"' in html


def test_three_mosaics_of_twelve_are_there(html: str) -> None:
    assert _Page(html).count["img"] == 36


def test_ids_past_two_to_the_63_are_exact(html: str) -> None:
    shown = {int(text) for text in re.findall(r'class="id">(\d+)<', html)}
    assert shown <= {int(i) for i in _tested()["id"]}
    assert len(shown) > 20


def test_the_worst_galaxy_leads_its_mosaic(html: str) -> None:
    tested = _tested()
    delta = np.abs(tested["z_phot"] - tested["z"]) / (1 + tested["z"])
    worst = html.split("<h3>Worst</h3>")[1]
    first = re.search(r'class="id">(\d+)<', worst)
    assert first is not None and int(first[1]) == int(tested["id"][delta.argmax()])


def test_the_time_of_the_training_is_that_of_its_receipt(html: str) -> None:
    assert "8 epochs. The attempt that finished them took 16.0\u202fs." in _Page(html).words


def test_every_network_of_an_ensemble_has_its_curve_and_every_trial_its_line(facts: ReportFacts) -> None:
    worse = tuple({**entry, "val_loss": entry["val_loss"] + 1} for entry in HISTORY)
    trials = [
        Trial("trial/000", {"optimizer.learning_rate": 0.01}, None),
        Trial("trial/001", {"optimizer.learning_rate": 0.002, "head.bins": 90}, 0.25, 4),
    ]
    both = {"model/00": HISTORY, "model/01": worse}
    html = work.training(replace(facts, histories=both, trials=trials))
    words = _Page(html).words
    assert (
        "2 networks. Lowest validation losses (ringed): model/00 0.1500 in epoch 8, model/01 1.1500" in words
    )
    assert html.count("fill: none; stroke: var(--orange)") == 3  # two curves, and one in the legend
    assert "trial/001 (chosen)" in words and "0.25000" in words and "90" in words
    assert "trial/000 (chosen)" not in words and "A trial without a loss failed" in words


def test_a_page_of_a_run_under_way_says_so_and_shows_the_epochs_there_are(
    facts: ReportFacts, tmp_path: Path
) -> None:
    so_far = ReportFacts(
        facts.run_file, tmp_path, (), histories={"model": HISTORY[:2]}, under_way=["train 0/1 units"]
    )
    page = _Page(write_report(so_far, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "This run is not finished" in page.words and "train 0/1 units" in page.words
    assert "2 epochs." in page.words and page.open == []
    waiting = work.training(replace(so_far, histories={}))
    assert "No epoch is finished yet" in _Page(waiting).words


def test_duplicates_are_counted_apart_from_failures(html: str) -> None:
    cells = re.findall(r"<td>spectro</td>((?:<td class=number>[^<]*</td>)+)", html)[0]
    failed = int((_truths()["status"] != Status.OK).sum())
    counts = [int(n) for n in re.findall(r">(\d+)<", cells)]
    assert counts == [ROWS, ROWS - failed, failed, failed, 0, ROWS - failed, 3]


def test_the_run_file_shown_can_be_run_again(html: str, facts: ReportFacts) -> None:
    shown = html.split("Resolved run file")[1].split("<pre>")[1].split("</pre>")[0]
    assert RunFile.model_validate(tomllib.loads(unescape(shown))) == facts.run_file


def test_a_servers_error_page_is_shown_as_text(html: str) -> None:
    assert "&lt;html&gt;404 &amp; so on&lt;/html&gt;" in html


def test_the_page_appears_whole_and_nothing_else_is_left(
    facts: ReportFacts, html: str, tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "report.html"
    out.parent.mkdir()
    out.write_text("an earlier report")
    assert write_report(facts, out).read_text(encoding="utf-8") == html
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]


def test_a_cap_is_told_and_is_kept(
    facts: ReportFacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "MAX_POINTS", 50)
    monkeypatch.setattr(predictions, "MAX_PDFS", 20)
    words = _Page(write_report(facts, tmp_path / "r.html").read_text(encoding="utf-8")).words
    assert f"show 50 of {len(_tested()['z'])} test galaxies" in words


def test_the_sky_shows_failures_in_proportion_but_never_hides_rare_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cubes, "MAX_SKY_POINTS", 40)
    monkeypatch.setattr(cubes, "MIN_FAILED", 3)
    truth = _truths()
    truth["status"][:80] = Status.TIMEOUT
    _write_cube(tmp_path / "many.zarr", truth)
    found = cubes.sky_positions([tmp_path / "many.zarr", None], seed=1)
    fetched, failed = found["fetched"], found["failed"]
    assert fetched.total + failed.total == ROWS
    assert len(fetched.ra) == 40
    assert len(failed.ra) == round(40 / fetched.total * failed.total) > 3
    truth["status"][:80] = Status.OK
    truth["status"][80:] = Status.OK
    truth["status"][:2] = Status.TIMEOUT
    _write_cube(tmp_path / "few.zarr", truth)
    assert len(cubes.sky_positions([tmp_path / "few.zarr"], seed=1)["failed"].ra) == 2


@pytest.mark.parametrize(
    ("without", "sentences"),
    [
        (
            {"pdf": False, "magnitude": False},
            ["The predictions hold no PDF", "No column of the sample looks like a magnitude"],
        ),
        ({"labels": False}, ["nothing to compare", "there is nothing to measure"]),
    ],
)
def test_what_the_products_lack_is_said(
    tmp_path: Path, without: dict[str, bool], sentences: list[str]
) -> None:
    page = _Page(write_report(_facts(tmp_path, **without), tmp_path / "r.html").read_text(encoding="utf-8"))
    assert all(sentence in page.words for sentence in sentences)
    assert page.open == []


@pytest.mark.parametrize(
    ("write", "change", "sentence"),
    [
        (work.training, {"histories": {}}, "No network was trained"),
        (work.sky, {"failures": (), "failure_counts": ()}, "Every cutout that was asked for was had"),
        (work.sky, {"samples": (SampleFacts("spectro", 10, 0, 0),)}, "nothing to show on the sky"),
        (work.throughput, {"timeline": {}}, "No stage has finished a unit"),
        (_summary, {"published_rows": 0}, "No catalogue version has been published"),
        (_summary, {"version": 6}, "shows version 6 (rolled back; the newest is version 7)"),
    ],
)
def test_what_the_ledger_lacks_is_said(
    facts: ReportFacts, write: Callable[[ReportFacts], str], change: dict[str, Any], sentence: str
) -> None:
    assert sentence in _Page(write(replace(facts, **change))).words


def test_a_run_of_which_nothing_is_known_has_a_page(tmp_path: Path) -> None:
    nothing = ReportFacts(RunFile.model_validate(RUN_FILE), tmp_path, ())
    page = _Page(write_report(nothing, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "No predictions have been written" in page.words
    assert page.open == []


def test_products_that_were_deleted_are_said_to_be_gone(facts: ReportFacts, tmp_path: Path) -> None:
    sample = facts.samples[0]
    gone = replace(sample, cube=tmp_path / "gone.zarr", parts=(*sample.parts, tmp_path / "part-9.parquet"))
    text = write_report(replace(facts, samples=(gone,)), tmp_path / "r.html").read_text(encoding="utf-8")
    words = _Page(text).words
    assert "The cube with the cutouts is not there any more" in words
    assert "1 prediction parts of the ledger are not on disk" in words


@pytest.mark.parametrize("rows", [1, 2])
def test_very_few_test_galaxies_are_no_error(facts: ReportFacts, tmp_path: Path, rows: int) -> None:
    table = pq.read_table(facts.samples[0].parts[0])
    test = np.flatnonzero(table.column("split").to_numpy() == Part.TEST)[:rows]
    few = tmp_path / "few.parquet"
    pq.write_table(table.take(pa.array(test)), few)
    sample = replace(facts.samples[0], parts=(few,))
    text = write_report(replace(facts, samples=(sample,)), tmp_path / "r.html").read_text(encoding="utf-8")
    assert f"N = {rows}" in _Page(text).words
