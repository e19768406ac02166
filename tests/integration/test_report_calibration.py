"""The report's sections on recalibration, and on errors that have no PDF."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.calibrating import judged
from pipeline.report.errors import errors
from pipeline.report.facts import ReportFacts, SampleFacts
from pipeline.report.recalibration import recalibration
from schemas.config import RunFile
from schemas.flags import Part

SQL = "SELECT specobjid, ra, dec, z FROM SpecObj"
RUN_FILE = RunFile.model_validate({"schema": 1, "name": "demo", "samples": {"spectro": {"sql": SQL}}})


def _evidence(scale, rows=400):
    random = np.random.default_rng(0)
    truth = random.uniform(0.1, 0.4, rows)
    return np.stack([truth, truth + random.normal(0, 0.02 * scale, rows), np.full(rows, 0.02)], axis=1)


def _part(path: Path, error: float, pdf: bool = False) -> SampleFacts:
    """2,000 test galaxies whose true error is 0.02, and as many others that must not count."""
    rows = 4000
    truth = np.linspace(0.1, 0.4, rows).astype("f4")
    split = np.where(np.arange(rows) % 2, Part.TEST, Part.CALIBRATION).astype("u1")
    estimate = truth + np.where(split == Part.TEST, 1, 50) * np.random.default_rng(1).normal(0, 0.02, rows)
    columns = {"z_spec": truth, "z_phot": estimate, "z_phot_err": np.full(rows, error), "split": split}
    columns["z_phot_err"][1] = np.nan
    table = pa.table(columns)
    if pdf:
        table = table.append_column("pdf", pa.array([[1.0]] * rows))
    pq.write_table(table, path)
    return SampleFacts("spectro", asked=rows, fetched=rows, predicted=rows, parts=(path,))


def _words(page: str) -> str:
    return re.sub(r"<svg.*?</svg>|<[^>]+>", " ", page)


def test_a_recalibration_is_shown_before_and_after_and_why_it_was_applied_or_not():
    assert recalibration(ReportFacts(RUN_FILE, Path("/nowhere"), ())) == ""
    for scale, applied in ((1.6, True), (1.0, False)):
        found = {"left_out": 3, **judged(_evidence(scale), "alpha", least=200)}
        assert found["applied"] is applied
        page = recalibration(ReportFacts(RUN_FILE, Path("/nowhere"), (), calibration=found))
        words = _words(page)
        assert found["why"].split("(")[0] in words and f"{found['fitted']['alpha']:.3f}" in words
        assert ("not applied" in words) is not applied and "3 without a finite prediction" in words
        place = found["coverage"]["levels"].index(0.68)
        for when in ("before", "after"):
            assert f"{found['coverage'][when][place]:.3f}" in words
        assert page.count("<svg") == 2


def test_errors_without_a_pdf_are_measured_by_their_coverage_of_the_test_part(tmp_path):
    right = errors(ReportFacts(RUN_FILE, tmp_path, [_part(tmp_path / "right.parquet", 0.02)]))
    small = errors(ReportFacts(RUN_FILE, tmp_path, [_part(tmp_path / "small.parquet", 0.01)]))
    found = [[float(x) for x in re.findall(r"0\.\d{3}\b", _words(page))[-2:]] for page in (right, small)]
    assert np.abs(np.array(found[0]) - [0.68, 0.95]).max() < 0.03
    assert np.abs(np.array(found[1]) - [0.38, 0.67]).max() < 0.03  # within 0.994 and 1.96 half deviations
    assert "1\u202f999" in right


def test_predictions_with_a_pdf_have_no_section_on_errors(tmp_path):
    assert errors(ReportFacts(RUN_FILE, tmp_path, [_part(tmp_path / "pdf.parquet", 0.02, pdf=True)])) == ""
    assert errors(ReportFacts(RUN_FILE, tmp_path, [])) == ""
