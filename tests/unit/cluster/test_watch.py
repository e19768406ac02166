import pytest

from cluster.watch import NO_ROOM, Watch, no_worker_for
from schemas.errors import WorkerError


def a_watch() -> tuple[Watch, list[str], list[float]]:
    said: list[str] = []
    now = [0.0]
    return Watch(said.append, warn_after_s=30.0, give_up_after_s=600.0, clock=lambda: now[0]), said, now


def test_a_spell_without_workers_is_told_once_and_a_new_spell_again():
    watch, said, now = a_watch()
    for now[0], workers in ((5.0, 0), (20.0, 0), (36.0, 0), (60.0, 0), (61.0, 2), (80.0, 0), (111.0, 0)):
        watch.see(workers)
    assert [text.split(":")[0] for text in said] == ["no Dask worker for 31 s", "no Dask worker for 31 s"]


def test_a_spell_without_workers_ends_the_run_after_the_time_allowed():
    watch, _, now = a_watch()
    watch.see(0)
    now[0] = 599.0
    watch.see(0)
    now[0] = 600.0
    with pytest.raises(WorkerError, match="no Dask worker was there for 600 s"):
        watch.see(0)


def test_a_lack_of_room_is_told_in_other_words():
    said: list[str] = []
    now = [0.0]
    watch = Watch(said.append, NO_ROOM, clock=lambda: now[0])
    for now[0] in (0.0, 31.0, 40.0):
        watch.see(0)
    assert len(said) == 1 and said[0].startswith("no worker has room for a trainer for 31 s")
    now[0] = 600.0
    with pytest.raises(WorkerError, match="no worker had room for a trainer for 600 s"):
        watch.see(0)


def test_what_takes_long_between_two_looks_is_no_spell_without_workers():
    watch, said, now = a_watch()
    watch.see(1)
    now[0] = 5_000.0
    watch.see(0)
    assert said == []


def test_a_lack_of_workers_for_a_stage_names_the_stage():
    said: list[str] = []
    now = [0.0]
    watch = Watch(said.append, no_worker_for("fetch"), clock=lambda: now[0])
    for now[0] in (0.0, 30.0):
        watch.see(0)
    assert said == ["no Dask worker for fetch for 30 s: waiting for one to join"]
    now[0] = 600.0
    with pytest.raises(WorkerError, match="no Dask worker for fetch was there for 600 s") as caught:
        watch.see(0)
    assert "resource 'fetch'" in caught.value.remedy
