"""A run with blocks that kill every worker that touches them: the rest is published, and the lost ones are named."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from mill_run import MillRun

POISON = """
import multiprocessing, os, sys

def look(event, arguments):
    if event == "os.mkdir" and any(block in str(arguments[0]) for block in {blocks}):
        if multiprocessing.parent_process():  # a worker, not the driver
            os._exit(9)

sys.addaudithook(look)
"""
BLOCK, GALAXIES = 20, 80
LOST = (("fetch", "targets/00000"), ("infer", "spectro/00003"))
PUBLISHED = "SELECT sample, count(*) FROM catalogue.mill WHERE z_phot IS NOT NULL GROUP BY 1 ORDER BY 1"
NAMED = "SELECT sample, count(*) FROM skymill.object_failure WHERE reason = 'block lost' GROUP BY 1"


def test_blocks_that_kill_are_named_the_rest_is_published_and_a_retry_wins_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = MillRun(tmp_path, rows_per_block=BLOCK, latency_s=0.0)
    sizes = (f"samples.spectro.limit={GALAXIES}", f"samples.targets.limit={2 * BLOCK}")
    words = (*sizes, "training.epochs=1", "cluster.workers=1", "cluster.attempts=2")
    deadly = [f"/{stage}/{key.replace('/', '-')}-a" for stage, key in LOST]  # where an attempt at one works
    (tmp_path / "sitecustomize.py").write_text(POISON.format(blocks=deadly))
    try:
        with monkeypatch.context() as poisoned:
            poisoned.setenv("PYTHONPATH", str(tmp_path))
            done = run.command("run", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        said = run.command("status").stdout
        for stage, key in LOST:
            assert f"lost      {stage} {key}: " in said, said
        assert run.query(PUBLISHED) == [("spectro", GALAXIES - BLOCK), ("targets", BLOCK)]
        assert run.query(NAMED) == [("targets", BLOCK)]

        done = run.command("retry", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert run.query(PUBLISHED) == [("spectro", GALAXIES), ("targets", 2 * BLOCK)]
        assert run.query(NAMED) == []
        assert "lost " not in run.command("status").stdout
    finally:
        run.stop_database()
