"""The lines of a run's progress."""

from types import SimpleNamespace

import pytest

from pipeline import summary


def test_all_words_of_progress_begin_at_the_same_letter(monkeypatch: pytest.MonkeyPatch):
    lost = SimpleNamespace(stage="infer", key="spectro/00001", why="its workers died")
    monkeypatch.setattr(summary, "lost_blocks", lambda ledger: [lost])
    ledger = SimpleNamespace(
        progress=lambda: [SimpleNamespace(stage="calibrate", state="done", count=1, rows=200)],
        failure_counts=lambda: {("spectro", "timeout", False): 3},
        receipts=lambda stage: {},
        errors=lambda: [("fetch", "spectro/00000", 2, "a server that is down")],
    )
    found = summary.progress_lines(ledger)
    assert (
        "calibrate 1/1 units, 200 rows" in found
        and "lost      infer spectro/00001: its workers died" in found
    )
    assert {len(line) - len(line.partition(" ")[2].lstrip()) for line in found} == {len("calibrate ")}
