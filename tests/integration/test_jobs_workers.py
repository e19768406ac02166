"""Workers' jobs of a submission: they come, lose nothing when they leave, and are gone when the run is done."""

import sys
import threading
from collections import Counter
from pathlib import Path

from distributed import LocalCluster

sys.path.insert(0, str(Path(__file__).parent))
from job_field import field, program

from cluster.jobs.topup import TopUp
from cluster.session import DaskSession
from cluster.sites.batch import batch_of
from cluster.submission import End, write_json
from cluster.work import Outcome, Task
from schemas.config import Cluster


def test_a_run_loses_nothing_though_workers_live_for_seconds_and_scheduler_and_worker_are_killed(
    tmp_path: Path,
):
    count = 14
    with field(
        tmp_path, program(tmp_path, count, 0.5), pools={"w": {"threads": 2, "memory_gib": 1.0}}
    ) as jobs:
        driver = jobs.start("driver")
        worker = jobs.start("worker", "w", SKYMILL_LIFETIME_S="2.0")
        jobs.wait(lambda: len(jobs.lines("received")) >= 2)
        jobs.wait(lambda: jobs.child(worker, "spawn_main")).kill()
        jobs.wait(lambda: len(jobs.lines("received")) >= 4)
        jobs.child(driver, "cluster.jobs.scheduler").kill()
        assert jobs.code(driver) == 0
        assert jobs.code(worker) == 0
        assert jobs.submission.end.state == "done"
        assert sorted(map(int, jobs.lines("received"))) == list(range(count))
        assert "its lifetime is over" in jobs.log(1)
        again = Counter(jobs.lines("begun")).total() - count
        assert again <= 8  # two tasks ran at each kill, and two receipts may have been on their way
        assert not jobs.processes()


def test_a_worker_that_has_to_leave_gives_what_runs_to_another_and_no_start_is_counted_for_it(tmp_path: Path):
    """One thread a worker: of three tasks one runs, and the others wait, when the first worker is told to leave."""
    with (
        field(tmp_path, ["true"]) as jobs,
        LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", silence_logs=50) as cluster,
    ):
        write_json(jobs.submission.scheduler_file, {"id": "1", "address": cluster.scheduler_address})
        first = jobs.start("worker", "w", index=0)
        with DaskSession(Cluster(address=cluster.scheduler_address), scratch=tmp_path) as session:
            text = f"echo $PPID >> {tmp_path}/begun; while [ ! -e {tmp_path}/go ]; do sleep 0.1; done"
            tasks = [Task(f"t{n}", "subprocess:check_call", {"args": text, "shell": True}) for n in range(3)]
            outcomes = session.run(tasks)
            got: list[Outcome] = []
            taker = threading.Thread(target=lambda: got.extend(outcomes))
            taker.start()
            jobs.wait(lambda: jobs.lines("begun"))
            second = jobs.start("worker", "w", index=1)
            for process in [*first.children(), first]:  # as batch schedulers do
                process.terminate()
            assert jobs.code(first) == 0
            jobs.wait(lambda: len(jobs.lines("begun")) == 2)
            mine, others = jobs.lines("begun")
            assert mine != others
            assert not jobs.processes(SKYMILL_ARRAY_INDEX="0")
            (tmp_path / "go").touch()
            taker.join(60)
            assert [(outcome.value, outcome.error) for outcome in got] == [(0, None)] * 3
            assert len(jobs.lines("begun")) == 4
        jobs.submission.write_end(End("done"))
        assert jobs.code(second) == 0
        assert not jobs.processes()
        assert jobs.code(jobs.start("worker", "w")) == 0
        assert "has ended already" in jobs.log(2)


def test_a_job_that_is_lacking_is_handed_in_and_not_at_once_again_when_it_ends_at_once(tmp_path: Path):
    with field(tmp_path, ["true"], nodes=2) as jobs:
        submission = jobs.submission
        submission.write_end(End("done"))  # its workers leave at once
        order = submission.order
        top_up = TopUp(submission, order, batch_of(order.site), every_s=30.0, until_s=float("inf"))
        top_up.look(100.0)
        (job,) = submission.jobs
        assert (job.pool, job.count) == ("w", 2)
        jobs.wait(lambda: jobs.logs().count("has ended already") == 2)
        jobs.wait(lambda: not any(batch_of(order.site).standings([job.id])[job.id]))
        top_up.look(101.0)
        assert submission.jobs == [job]
