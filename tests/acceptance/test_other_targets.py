"""One run learns a size, then yes or no, from the same cutouts: metrics, catalogue and report follow the target."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from mill_run import SPECTRO, MillRun

SAMPLE = '''[samples.spectro]
sql = """
SELECT s.specobjid, s.ra, s.dec, p.petroMag_r, p.petroR50_r, s.class,
  CASE WHEN p.petroR50_r > 2.2 THEN 1 ELSE 0 END AS is_large
FROM SpecObj AS s JOIN PhotoObj AS p ON p.objID = s.bestObjID
WHERE s.class = 'GALAXY' AND s.zWarning = 0 AND s.z BETWEEN 0.01 AND 0.35
"""
key = "specobjid"
partition_by = "s.plate"
rows_per_partition = 60
'''
SHORT = ("samples.spectro.limit=120", "samples.targets.limit=20", "training.epochs=1", "training.batch=16")
SIZE = (
    "target.column=petroR50_r",
    "target.definition=regression",
    'target.against=["petroMag_r", "class"]',
    "model.overrides.head.kind=scalar",
    "model.overrides.loss.kind=squared",
)
LARGE = (
    "target.column=is_large",
    "target.definition=detection",
    'target.against=["petroMag_r"]',
    "model.overrides.head.kind=binary",
    "model.overrides.loss.kind=cross_entropy",
)
COLUMNS = (
    "SELECT attname FROM pg_attribute WHERE attrelid = 'catalogue.mill'::regclass AND attnum BETWEEN 6 AND 8"
)


def test_what_is_learnt_decides_metrics_names_and_the_page(tmp_path: Path):
    run = MillRun(tmp_path, latency_s=0.0, workers=1, rows_per_block=80)
    run.run_file.write_text(run.run_file.read_text().replace(SPECTRO, SAMPLE))
    page = tmp_path / "runs" / "mill" / "report.html"
    try:
        refused = run.command("plan", *SHORT, *SIZE, "target.definition=detection")
        assert refused.returncode == 3 and "head 'scalar' answers with another number" in refused.stderr

        done = run.command("run", *SHORT, *SIZE)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "quality    r " in done.stdout and "(regression: Pearson r" in done.stdout
        assert [name for (name,) in run.query(COLUMNS)] == [
            "petror50_r_label",
            "petror50_r_predicted",
            "petror50_r_error",
        ]
        counts = "SELECT count(petror50_r_label), count(petror50_r_predicted) FROM catalogue.mill"
        assert run.query(counts) == [(120, 140)]
        assert 'id="relation-figure_1"' in page.read_text() and 'id="against-0-figure_1"' in page.read_text()
        assert "No cube holds class as a column of numbers" in page.read_text()
        fetched = run.attempts()["fetch", "accepted"]

        done = run.command("run", *SHORT, *LARGE)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "quality    area under ROC" in done.stdout
        assert run.attempts()["fetch", "accepted"] == fetched
        assert [name for (name,) in run.query(COLUMNS)] == [
            "is_large_label",
            "probability",
            "probability_error",
        ]
        ((lowest, highest, kinds),) = run.query(
            "SELECT min(probability), max(probability), count(DISTINCT is_large_label) FROM catalogue.mill"
        )
        assert 0 <= lowest < highest <= 1 and kinds == 2
        assert 'id="roc-figure_1"' in page.read_text() and "By petroMag_r" in page.read_text()

        again = run.command("run", *SHORT, *LARGE)
        assert (again.returncode, "nothing to do" in again.stdout) == (0, True), again.stdout + again.stderr
        back = run.catalog("rollback")
        assert back.returncode == 0, back.stderr
        assert run.query(counts) == [(120, 140)]
    finally:
        run.stop_database()
