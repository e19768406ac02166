"""What `make systems` runs, and how its pages are written."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import systems
from benchmarks.table import ROOT
from model.presets import preset_names
from schemas.flags import Part
from schemas.runfile import load_run_file

PLAN = systems.plan()


@pytest.mark.parametrize("name", PLAN)
def test_every_system_has_run_files_that_load_presets_that_exist_and_a_page_with_marks(name):
    assert set(PLAN[name].get("pooled", ())) <= set(PLAN[name]["set"])
    for run in PLAN[name]["set"]:
        words = systems.words_of(name, run, 1, PLAN[name])
        run_file = load_run_file(ROOT / PLAN[name]["survey"], words=words)
        assert run_file.model.preset in preset_names()
        assert run_file.name == f"{run}-1"
    page = (systems.PAGES / f"{name}.md").read_text(encoding="utf-8")
    written = systems.with_results(page, "| a table |")
    assert "<!-- results -->\n| a table |\n<!-- end of results -->" in written
    assert systems.with_results(written, "| a table |") == written
    assert "may not be compared" in page


def test_every_preset_is_in_a_system():
    runs = [
        load_run_file(ROOT / planned["survey"], words=systems.words_of(name, run, 1, planned))
        for name, planned in PLAN.items()
        for run in planned["set"]
    ]
    assert {run_file.model.preset for run_file in runs} == set(preset_names())


def test_a_page_without_marks_is_refused():
    with pytest.raises(SystemExit, match="no marks"):
        systems.with_results("# A page", "text")


def test_numbers_of_several_seeds_are_told_with_their_deviation_and_each_with_its_n():
    def one(value: float) -> dict[str, object]:
        return {"definition": "skymill", "text": "", "n": 30, "sigma_nmad": value}

    table = systems.table_of({"first": [one(0.02), one(0.04)], "second": [one(0.03)]})
    assert "| `first` | 0.0300 ± 0.0141 (0.0200, 0.0400) | 30, 30 | 2 |" in table
    assert "| `second` | 0.0300 | 30 | 1 |" in table
    alarms = [{"false_alarm": 0.01, "true_alarm": 0.225, "threshold": 0.8}]
    detector = {"text": "", "n": 20, "n_noise": 10, "area": 0.9, "alarms": alarms}
    assert "| preset | area | true at 1% | N | seeds |" in systems.table_of({"one": [detector]})


def test_the_test_parts_of_two_runs_are_measured_as_one(tmp_path):
    run_file = load_run_file(ROOT / "surveys" / "elg.toml")
    for run, z_spec, z_phot in (("bright", [0.1, 0.2], [0.1, 0.2]), ("faint", [0.3, 0.3], [0.43, 0.9])):
        folder = tmp_path / run / "predictions" / run_file.training.sample
        folder.mkdir(parents=True)
        parts = [Part.TEST, Part.TEST if run == "bright" else Part.TRAIN]
        pq.write_table(
            pa.table({"z_spec": z_spec, "z_phot": z_phot, "split": parts}), folder / "00000.parquet"
        )
    found = systems.measure_together(run_file, [tmp_path / "bright", tmp_path / "faint"])
    assert (found["definition"], found["n"], found["bias"]) == ("wei2025", 3, 0.0)
    assert found["mae"] == pytest.approx(0.13 / 3)


def test_tables_of_the_estimates_are_copied_as_markdown_and_no_others(tmp_path):
    report = tmp_path / "report.html"
    head = "<thead><tr><th scope=col>z</th><th class=number>N</th></tr></thead>"
    cells = f"{head}<tbody><tr><td>0 &lt; z</td><td>3|4</td></tr>"
    other = '<section id="work"><table><tr><td>stage</td></tr></table></section>'
    titles = "<h2>Group 1</h2><h3>By <i>z</i>, all</h3><p>told</p>"
    section = f'<section id="estimates">{titles}<table>{cells}</tbody></table></section>'
    without = '<section id="pdfs"><h2>PDFs</h2><p>There are none.</p></section>'
    report.write_text(f"{other}{section}{without}{other}")
    assert systems.tables_of(report) == [
        "**Group 1**",
        "By z, all:",
        "| z | N |\n| --- | --- |\n| 0 < z | 3\\|4 |",
    ]


def test_a_figure_of_the_report_stands_alone_with_its_colours(tmp_path, monkeypatch):
    monkeypatch.setattr(systems, "PAGES", tmp_path)
    report = tmp_path / "report.html"
    report.write_text(
        '<p><svg aria-hidden="true"><g id="nz-a"/></svg><svg viewBox="0"><g id="estimates-figure_1"/></svg></p>'
    )
    (path,) = systems.figures_of(report, "csst-mlp")
    assert path.name == "csst-mlp-estimates.svg"
    drawn = path.read_text()
    assert "nz-a" not in drawn and "--ink:#101112" in drawn
