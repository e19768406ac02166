"""Whole reports of runs that learnt no redshift, and of redshifts against columns of the sample."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

from model.definitions import measure_by
from pipeline.report.facts import ReportFacts, SampleFacts
from pipeline.report.page import write_report
from schemas.config import RunFile
from schemas.flags import Part, Status

ROWS = 900
SQL = "SELECT specobjid, ra, dec FROM SpecObj"
RANDOM = np.random.default_rng(8)
SPLIT = np.array([Part.TRAIN, Part.VALIDATION, Part.TEST, Part.TEST], np.uint8)[np.arange(ROWS) % 4]
TEST = SPLIT == Part.TEST
SNR = np.where(np.arange(ROWS) % 3 == 0, RANDOM.choice([20.0, 50.0, 100.0], ROWS), np.nan)
SIGNAL = np.isfinite(SNR).astype(np.float32)
SCORE = 1 / (1 + np.exp(-(RANDOM.normal(size=ROWS) + np.nan_to_num(SNR, nan=-60) / 30)))
SPIN = RANDOM.beta(3, 3, ROWS)
PREDICTED = 0.7 * SPIN + 0.15 + 0.06 * RANDOM.normal(size=ROWS)
Z = RANDOM.uniform(0.02, 0.3, ROWS)
PHOTO = Z + 0.02 * (1 + Z) * RANDOM.normal(size=ROWS)
RADIUS = RANDOM.lognormal(0, 1, ROWS)
MAGNITUDE = np.where(np.arange(ROWS) % 50 == 0, -9999.0, 15 + 10 * Z)
TYPE = RANDOM.integers(0, 3, ROWS).astype(float)


class _Words(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.words, self.open = "", list[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open += [tag] if tag not in ("meta", "img", "link", "br") else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def _page(folder: Path, label: Any, predicted: Any, **target: Any) -> str:
    """Write the report of one sample whose labels and predictions these are, and return it."""
    group = zarr.open_group(folder / "spectro.zarr", mode="w")
    image = np.random.default_rng(1).integers(0, 255, (ROWS, 8, 8, 3)).astype(np.uint8)
    columns = {"image": image, "status": np.full(ROWS, int(Status.OK), np.uint8)}
    columns |= {"ra": np.linspace(150, 160, ROWS), "dec": np.linspace(-5, 5, ROWS)}
    features = {"snr": SNR, "radius": RADIUS, "petroMag_r": MAGNITUDE, "kind": TYPE}
    columns |= {f"feature_{name}": values for name, values in features.items()}
    for name, values in columns.items():
        group.create_array(name, data=values, chunks=(300, *values.shape[1:]))
    part = {
        "row": np.arange(ROWS),
        "id": np.arange(ROWS, dtype=np.uint64),
        "z_spec": np.asarray(label, np.float32),
        "z_phot": np.asarray(predicted, np.float32),
        "z_phot_err": np.full(ROWS, np.nan, np.float32),
        "flags": np.zeros(ROWS, np.int32),
        "split": SPLIT,
    }
    path = folder / "part.parquet"
    pq.write_table(pa.table(part), path)
    run_file = RunFile.model_validate(
        {"schema": 1, "name": "demo", "samples": {"spectro": {"sql": SQL}}, "target": target}
    )
    sample = SampleFacts("spectro", ROWS, ROWS, ROWS, cube=folder / "spectro.zarr", parts=(path,))
    metrics = measure_by(target["definition"], part["z_spec"][TEST], part["z_phot"][TEST])
    facts = ReportFacts(run_file, folder, (sample,), metrics=metrics)
    return write_report(facts, folder / "report.html").read_text(encoding="utf-8")


def _rows(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the table after a heading."""
    body = page.split(f"<h3>{heading}</h3>")[1].split("<tbody>")[1].split("</tbody>")[0]
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in body.split("</tr>")[:-1]]


@pytest.fixture(scope="module")
def spin(tmp_path_factory: pytest.TempPathFactory) -> str:
    target = {"column": "lambda_r", "definition": "regression", "against": ["radius", "kind", "nothing"]}
    return _page(tmp_path_factory.mktemp("spin"), SPIN, PREDICTED, **target)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> str:
    target = {"column": "signal", "definition": "detection", "against": ["snr"]}
    return _page(tmp_path_factory.mktemp("detector"), SIGNAL, SCORE, **target)


def test_a_number_has_its_plots_and_no_word_of_redshifts(spin: str) -> None:
    names = ("estimates", "relation", "residuals", "against-0", "against-1")
    assert all(f'id="{name}-figure_1"' in spin for name in names)
    words = _Words(spin)
    assert words.open == []
    assert not re.search("NMAD|zspec|zphot|outlier", words.words)
    assert "No cube holds nothing as a column of numbers" in words.words


def test_the_numbers_of_a_number_are_those_of_each_part(spin: str) -> None:
    rows = _rows(spin, "By part of the split")
    assert [row[0] for row in rows] == ["train", "validation", "test"]
    for row, part in zip(rows, (Part.TRAIN, Part.VALIDATION, Part.TEST), strict=True):
        mine = part == SPLIT
        expected = measure_by("regression", SPIN[mine].astype("f4"), PREDICTED[mine].astype("f4"))
        assert row[1:3] == [str(mine.sum()), f"{expected['pearson']:.3f}"]
        assert row[5] == f"{expected['mae']:.4g}"


def test_classes_and_intervals_of_a_column_hold_all_test_objects(spin: str) -> None:
    classes, intervals = _rows(spin, "By kind"), _rows(spin, "By radius")
    assert [row[0] for row in classes] == ["kind = 0", "kind = 1", "kind = 2", "all"]
    for rows in (classes, intervals):
        counts = [int(row[1]) for row in rows]
        assert sum(counts[:-1]) == counts[-1] == TEST.sum()
    assert len(intervals) == 9


def test_a_detector_has_its_plots_and_true_alarms(detector: str) -> None:
    assert all(f'id="{name}-figure_1"' in detector for name in ("roc", "scores", "against-0"))
    words = _Words(detector)
    assert words.open == [] and "NMAD" not in words.words and "Residual" not in words.words
    expected = measure_by("detection", SIGNAL[TEST], SCORE[TEST].astype("f4"))
    one, five = expected["alarms"]
    rows = _rows(detector, "True alarms")
    for row, alarm in zip(rows, (one, five), strict=True):
        assert row[3].startswith(f"{100 * alarm['true_alarm']:.2f} ± {100 * alarm['true_alarm_sigma']:.2f}")
        assert [int(row[4]), int(row[5])] == [SIGNAL[TEST].sum(), (1 - SIGNAL[TEST]).sum()]
    assert f"{expected['area']:.4f}" in words.words and "10\u202f000 samples without a signal" in words.words


def test_true_alarms_by_a_column_are_those_of_the_signals_in_each_class(detector: str) -> None:
    rows = _rows(detector, "By snr")
    assert [row[0] for row in rows] == ["snr = 20", "snr = 50", "snr = 100", "all"]
    score, noise = SCORE.astype("f4"), np.sort(SCORE[TEST & (SIGNAL == 0)].astype("f4"))
    threshold = noise[len(noise) - 1 - int(0.05 * len(noise))]
    for row, snr in zip(rows, (20, 50, 100), strict=False):
        mine = TEST & (snr == SNR)
        assert int(row[1]) == mine.sum()
        assert row[3].startswith(f"{100 * (score[mine] > threshold).mean():.2f} ±")


def test_redshifts_by_magnitude_and_type_have_their_numbers_uncertainties_and_definition(
    tmp_path: Path,
) -> None:
    target = {"column": "z", "definition": "beck2016", "against": ["petroMag_r", "kind"]}
    page = _page(tmp_path, Z, PHOTO, **target)
    rows = _rows(page, "By petroMag_r")
    assert rows[-2][0] == "petroMag_r not known" and int(rows[-2][1]) > 0
    assert sum(int(row[1]) for row in rows[:-1]) == int(rows[-1][1]) == TEST.sum()
    found = measure_by("beck2016", Z[TEST].astype("f4"), PHOTO[TEST].astype("f4"))
    assert rows[-1][2].startswith(f"{found['sigma']:.4f} ± 0.00")  # its own σ comes before the NMAD
    assert all(" ± " in cell for cell in rows[-1][2:])
    words = _Words(page).words
    assert f">\u00a0{found['outlier_threshold']:.3g}" in words  # 3 σ of its own, not 3
    assert len(re.findall("Definition: beck2016", words)) == 3
    assert all(f'id="{name}-figure_1"' in page for name in ("by-mag", "against-1"))  # no plot twice


def test_a_test_part_without_one_of_the_two_classes_is_no_error(tmp_path: Path) -> None:
    page = _page(tmp_path, np.where(TEST, 0, SIGNAL), SCORE, column="signal", definition="detection")
    assert f"0 labelled rows with a signal and {TEST.sum()} without" in _Words(page).words
