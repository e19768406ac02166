"""A run that searches first and trains two networks which predict together."""

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))

from mill_run import MillRun

SEARCH = """
[search]
kind = "grid"
epochs = 1
[search.fields]
"head.bins" = [40, 60]
"""
WORDS = (
    "samples.spectro.limit=60",
    "samples.targets.limit=20",
    "training.epochs=1",
    "training.batch=16",
    "training.ensemble=2",
    "training.tensorboard=true",
)


def test_a_search_and_an_ensemble_end_in_a_catalogue_that_names_both_networks(tmp_path: Path):
    run = MillRun(tmp_path, latency_s=0.0)
    run.run_file.write_text(run.run_file.read_text() + SEARCH)
    try:
        done = run.command("run", *WORDS)
        assert done.returncode == 0, done.stdout + done.stderr
        assert run.query("SELECT count(*) FROM catalogue.mill") == [(80,)]

        trials = run.query("SELECT facts FROM skymill.receipt WHERE stage = 'search' ORDER BY key")
        losses = {facts["trial"]["head.bins"]: facts["val_loss"] for (facts,) in trials}
        assert list(losses) == [40, 60]
        trained = run.query("SELECT digest, facts FROM skymill.receipt WHERE stage = 'train'")
        digests = {digest for digest, _ in trained}
        assert len(digests) == 2
        best = {"head.bins": min(losses, key=losses.__getitem__)}
        assert all(facts["overrides"].items() >= best.items() for _, facts in trained)

        folder = tmp_path / "runs" / "mill"
        assert len(list(folder.glob("model/*/manifest.json"))) == 2
        assert len(list(folder.glob("training/*/tensorboard/*tfevents*"))) == 2
        assert "trial/001" in (folder / "report.html").read_text()
        parts = list(folder.glob("predictions/*/*.parquet"))
        named = [json.loads(pq.read_schema(part).metadata[b"skymill"])["bundles"] for part in parts]
        assert len(parts) == 3 and all(set(bundles) == digests for bundles in named)

        before = run.attempts()
        again = run.command("run", *WORDS)
        assert (again.returncode, "nothing to do" in again.stdout) == (0, True), again.stdout + again.stderr
        assert run.attempts() == before
    finally:
        run.stop_database()
