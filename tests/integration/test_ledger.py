import dataclasses
import os
import signal
import threading
import time
from contextlib import closing
from functools import partial

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from pipeline.ledger import Ledger
from pipeline.stores import launcher
from pipeline.stores.postgres import connect
from schemas.errors import Busy, DatabaseDown, DatabaseError, PlanError
from schemas.flags import Status
from schemas.records import ObjectFailure, Product, Receipt, Unit

UNITS = [Unit("fetch", f"spectro/{i:05d}", "i1", {"block": i}) for i in range(5)]
RECEIPT = Receipt(
    rows=1024,
    bytes=12_288,
    seconds=1.5,
    digest="d1",
    products=(Product("/staged/a", "/final/a", 12_288, "ab" * 32),),
    failures=(
        ObjectFailure("spectro", 7, 2**64 - 1, Status.OUTSIDE_FOOTPRINT, "black\x00tile"),
        ObjectFailure("spectro", 9, 0, Status.TIMEOUT),
    ),
    facts={"requests": 1030, "loss": float("nan")},
    worker="tcp://w1",
)


@pytest.fixture
def ledger(database_dsn):
    with Ledger.open(database_dsn) as ledger:
        ledger.open_run(
            "demo", {"name": "demo"}, provenance={"code_version": "0.1.0", "packages": {"numpy": "2"}}, seed=1
        )
        yield ledger


def done(ledger, unit, receipt=RECEIPT):
    return ledger.accept(unit, ledger.begin(unit), receipt)


def states(ledger):
    return {point.state: point.count for point in ledger.progress()}


def outcomes(ledger):
    with ledger.connection, ledger.connection.cursor() as cursor:
        cursor.execute("select outcome::text from skymill.attempt order by 1")
        return [row[0] for row in cursor.fetchall()]


def consistent(dsn):
    """Whether a unit is done if and only if there is a receipt, of the same inputs."""
    with closing(connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(
            """select count(*) from skymill.unit u full join skymill.receipt r using (run_id, stage, key)
            where (u.state = 'done') is distinct from (r.key is not null) or u.inputs <> r.inputs"""
        )
        return cursor.fetchone()[0] == 0


def test_all_units_of_a_new_plan_are_to_be_done_in_its_order(ledger):
    assert ledger.todo(UNITS[::-1]) == UNITS[::-1]
    assert states(ledger) == {"pending": 5}


def test_a_receipt_comes_back_as_it_went_in(ledger):
    ledger.todo(UNITS)
    assert done(ledger, UNITS[2])
    inputs, receipt = ledger.receipts("fetch")["spectro/00002"]
    assert inputs == "i1"
    assert receipt == dataclasses.replace(RECEIPT, failures=(), facts={"requests": 1030, "loss": None})
    found = [(each.sample, each.row, each.id, each.status, each.detail) for each in ledger.failures()]
    assert found == [
        ("spectro", 7, 2**64 - 1, Status.OUTSIDE_FOOTPRINT, "black\ufffdtile"),
        ("spectro", 9, 0, Status.TIMEOUT, ""),
    ]
    assert ledger.todo(UNITS) == [*UNITS[:2], *UNITS[3:]]


def test_a_unit_with_other_inputs_runs_again_and_its_old_receipt_is_gone(ledger, database_dsn):
    ledger.todo(UNITS)
    for unit in UNITS:
        done(ledger, unit)
    changed = [dataclasses.replace(UNITS[0], inputs="i2"), *UNITS[1:]]
    assert ledger.todo(changed) == changed[:1]
    assert len(ledger.receipts("fetch")) == 4
    assert len(ledger.failures()) == 8
    assert consistent(database_dsn)
    assert done(ledger, changed[0]) and ledger.todo(changed) == []


def test_a_late_twin_is_refused_and_moves_no_file(ledger):
    ledger.todo(UNITS)
    first, second = ledger.begin(UNITS[0]), ledger.begin(UNITS[0])
    assert (first, second) == (1, 2)
    moved = []
    late = dataclasses.replace(RECEIPT, digest="late")
    assert not ledger.accept(
        UNITS[0], first, late, place=lambda: moved.append(1), also=lambda cursor: moved.append(2)
    )
    assert ledger.accept(UNITS[0], second, RECEIPT, place=lambda: moved.append("final"))
    assert not ledger.accept(UNITS[0], second, late, place=lambda: moved.append(3))
    assert moved == ["final"]
    assert ledger.receipts("fetch")["spectro/00000"][1].digest == "d1"
    assert outcomes(ledger) == ["accepted", "superseded"]


def test_a_result_of_other_inputs_is_refused_even_from_the_newest_attempt(ledger):
    ledger.todo(UNITS)
    attempt = ledger.begin(UNITS[0])
    ledger.todo([dataclasses.replace(UNITS[0], inputs="i2")])
    assert not ledger.accept(UNITS[0], attempt, RECEIPT)


def test_when_files_can_not_be_placed_nothing_is_kept(ledger, database_dsn):
    ledger.todo(UNITS)
    attempt = ledger.begin(UNITS[0])

    def full_disk():
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        ledger.accept(UNITS[0], attempt, RECEIPT, place=full_disk)
    assert not ledger.receipts("fetch") and not ledger.failures() and consistent(database_dsn)
    assert ledger.accept(UNITS[0], attempt, RECEIPT)


def test_failures_wait_for_the_next_attempt_until_they_are_final(ledger):
    ledger.todo(UNITS)
    ledger.fail(UNITS[0], ledger.begin(UNITS[0]), "worker died", final=False)
    assert states(ledger) == {"pending": 5}
    ledger.fail(UNITS[0], ledger.begin(UNITS[0]), "worker died again", final=True)
    assert states(ledger) == {"pending": 4, "failed": 1}
    assert ledger.errors() == [("fetch", "spectro/00000", 2, "worker died again")]
    assert UNITS[0] in ledger.todo(UNITS)
    assert done(ledger, UNITS[0]) and ledger.errors() == []


def test_an_old_attempt_can_not_fail_a_unit_that_a_newer_one_has(ledger):
    ledger.todo(UNITS)
    first = ledger.begin(UNITS[0])
    second = ledger.begin(UNITS[0])
    ledger.fail(UNITS[0], first, "late", final=True)
    assert states(ledger) == {"pending": 4, "running": 1}
    assert ledger.accept(UNITS[0], second, RECEIPT)
    ledger.fail(UNITS[0], second, "too late", final=True)
    assert states(ledger) == {"pending": 4, "done": 1}


def test_object_failures_are_counted_by_reason_and_replaced_with_the_unit(ledger):
    ledger.todo(UNITS)
    done(ledger, UNITS[0])
    assert ledger.failure_counts() == {
        ("spectro", "outside footprint", True): 1,
        ("spectro", "timeout", False): 1,
    }
    worst = ledger.failures()[0]
    assert (worst.id, worst.row, worst.key, worst.attempt, worst.permanent) == (
        2**64 - 1,
        7,
        "spectro/00000",
        1,
        True,
    )
    assert ledger.reset("fetch", ["spectro/00000", "spectro/00001"]) == 1
    assert ledger.failure_counts() == {}
    done(ledger, UNITS[0], dataclasses.replace(RECEIPT, failures=()))
    assert ledger.failures() == [] and ledger.failures(limit=1) == []


def test_units_that_left_the_plan_are_forgotten(ledger):
    ledger.todo(UNITS)
    done(ledger, UNITS[0])
    done(ledger, UNITS[4])
    assert ledger.drop_missing("fetch", [unit.key for unit in UNITS[:3]]) == 2
    assert states(ledger) == {"pending": 2, "done": 1}
    assert list(ledger.receipts("fetch")) == ["spectro/00000"]


def test_a_sample_that_left_the_run_file_is_forgotten_at_every_stage_of_samples(ledger):
    old = [
        Unit("plan", "targets", "i"),
        Unit("rows", "targets", "i"),
        Unit("fetch", "targets/00000", "i"),
        Unit("infer", "targets/00000", "i"),
    ]
    kept = [
        Unit("rows", "spectro", "i"),
        UNITS[0],
        Unit("train", "model", "i"),
        Unit("publish", "photoz", "i"),
    ]
    ledger.todo([*old, *kept])
    for unit in (*old, *kept):
        done(ledger, unit, RECEIPT if unit.stage == "fetch" else dataclasses.replace(RECEIPT, failures=()))
    assert ledger.drop_samples(["spectro", "target"]) == len(old)
    assert ledger.todo(kept) == []
    assert [key for unit in old for key in ledger.receipts(unit.stage)] == ["spectro", "spectro/00000"]
    assert {failure.key for failure in ledger.failures()} == {"spectro/00000"}
    assert ledger.drop_samples(["spectro"]) == 0


def test_what_may_be_asked_again_is_named_by_unit_once(ledger):
    ledger.todo(UNITS)
    permanent, passing = RECEIPT.failures
    twice = (passing, dataclasses.replace(passing, row=10))
    for unit, failures in zip(UNITS, [(permanent,), twice, (), RECEIPT.failures, ()], strict=True):
        done(ledger, unit, dataclasses.replace(RECEIPT, failures=failures))
    assert ledger.retryable("fetch") == ["spectro/00001", "spectro/00003"]
    assert ledger.retryable("infer") == []


def test_the_server_looks_for_its_client_in_the_midst_of_a_statement(ledger):
    with ledger.connection, ledger.connection.cursor() as cursor:
        cursor.execute("show client_connection_check_interval")
        assert cursor.fetchone() == ("5s",)


def test_progress_and_timeline_add_up(ledger):
    ledger.todo(UNITS)
    for unit in UNITS[:3]:
        done(ledger, unit)
    ready = next(point for point in ledger.progress() if point.state == "done")
    assert (ready.stage, ready.count, ready.rows, ready.bytes, ready.seconds) == (
        "fetch",
        3,
        3072,
        36_864,
        4.5,
    )
    line = ledger.timeline("fetch")
    assert [point.ended for point in line] == sorted(point.ended for point in line)
    assert all(point.ended.utcoffset().total_seconds() == 0 and point.worker == "tcp://w1" for point in line)


def test_plans_with_a_unit_twice_and_begins_out_of_turn_are_refused(ledger):
    with pytest.raises(PlanError, match="spectro/00001"):
        ledger.todo([*UNITS, UNITS[1]])
    ledger.todo(UNITS)
    done(ledger, UNITS[0])
    for unit in (UNITS[0], dataclasses.replace(UNITS[1], inputs="i9"), Unit("fetch", "nowhere", "i")):
        with pytest.raises(DatabaseError, match="is done, or was not planned"):
            ledger.begin(unit)


def test_a_run_has_one_driver_and_the_second_is_told_who(ledger, database_dsn, monkeypatch):
    monkeypatch.setattr("pipeline.ledger.LOCK_PATIENCE_S", 0.3)
    with Ledger.open(database_dsn) as other:
        with pytest.raises(Busy, match=rf"skymill demo on .* pid {os.getpid()}"):
            other.open_run("demo", {}, provenance={}, seed=1)
        other.open_run("another", {}, provenance={}, seed=1)
        assert other.view_run("demo") and not other.view_run("nowhere")
    monkeypatch.undo()
    ledger.close()
    with Ledger.open(database_dsn) as other:
        other.open_run("demo", {}, provenance={}, seed=1)


def test_what_a_dead_driver_left_is_abandoned_and_waits_again(ledger, database_dsn):
    ledger.todo(UNITS)
    left = ledger.begin(UNITS[0])
    ledger.close()
    with Ledger.open(database_dsn) as next_one:
        next_one.open_run("demo", {"edited": True}, provenance={}, seed=1)
        assert states(next_one) == {"pending": 5}
        assert outcomes(next_one) == ["abandoned"]
        assert next_one.begin(UNITS[0]) == left + 1
        assert not next_one.accept(UNITS[0], left, RECEIPT)


def test_the_database_itself_refuses_done_without_receipt_and_receipt_without_done(ledger, database_dsn):
    ledger.todo(UNITS)
    done(ledger, UNITS[0])
    for cheat in (
        "update skymill.unit set state = 'done', receipt_attempt = 1 where key = 'spectro/00001'",
        "update skymill.unit set state = 'pending', receipt_attempt = null where key = 'spectro/00000'",
        "delete from skymill.receipt",
        "update skymill.unit set state = 'running' where key = 'spectro/00002'",
    ):
        with (
            closing(connect(database_dsn)) as connection,
            pytest.raises(psycopg2.IntegrityError),
            connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(cheat)


@pytest.mark.slow
def test_a_hundred_thousand_units_are_planned_in_seconds(ledger):
    many = [Unit("fetch", f"spectro/{i:05d}", "i1") for i in range(100_000)]
    started = time.monotonic()
    assert len(ledger.todo(many)) == 100_000
    assert len(ledger.todo(many)) == 100_000
    assert time.monotonic() - started < 120


def place_and_strike(placed, key, victim):
    placed.add(key)
    if victim:
        os.kill(victim, signal.SIGKILL)
        time.sleep(0.3)


def test_a_database_killed_within_and_between_transactions_comes_back_consistent(tmp_path):
    directory = tmp_path / "db"
    units = [Unit("fetch", f"spectro/{i:05d}", "i1") for i in range(120)]
    placed: set[str] = set()
    kills = 0
    for round_ in range(6):
        dsn = launcher.start(directory)
        with Ledger.open(dsn) as ledger:
            ledger.open_run("demo", {}, provenance={}, seed=1)
            assert consistent(dsn)
            left = ledger.todo(units)
            assert {unit.key for unit in units} - {unit.key for unit in left} <= placed
            pid = launcher.status(directory).pid
            within = round_ % 2 == 0
            timer = threading.Timer(0.02 * (round_ + 1), os.kill, (pid, signal.SIGKILL))
            try:
                for i, unit in enumerate(left):
                    if not within and i == 3:
                        timer.start()
                    victim = pid if within and i == 3 else None
                    place = partial(place_and_strike, placed, unit.key, victim)
                    ledger.accept(unit, ledger.begin(unit), RECEIPT, place=place)
            except DatabaseDown as error:
                kills += 1
                assert error.exit_code == 75 and "run again" in error.remedy
            timer.cancel()
            if timer.ident:
                timer.join()
    dsn = launcher.start(directory)
    with Ledger.open(dsn) as ledger:
        ledger.open_run("demo", {}, provenance={}, seed=1)
        for unit in ledger.todo(units):
            done(ledger, unit)
        assert ledger.todo(units) == [] and len(ledger.receipts("fetch")) == 120
        assert consistent(dsn)
    assert kills >= 3
    assert parse_dsn(dsn)["host"] == "127.0.0.1"
    launcher.stop(directory)


def test_many_are_begun_and_accepted_in_one_go_as_one_by_one(ledger, database_dsn):
    ledger.todo(UNITS)
    assert ledger.begin_many(UNITS[:3]) == [1, 1, 1]
    assert ledger.begin(UNITS[1]) == 2  # as another driver would
    placed = []
    results = [(unit, 1, RECEIPT) for unit in UNITS[:3]]
    assert ledger.accept_many(results, place=lambda receipt: placed.append(receipt)) == [True, False, True]
    assert placed == [RECEIPT, RECEIPT]
    assert outcomes(ledger) == ["accepted", "accepted", "superseded", None]
    assert consistent(database_dsn)
    one = dataclasses.replace(UNITS[4], inputs="i1")
    assert done(ledger, one)
    kept = ledger.receipts("fetch")
    assert kept["spectro/00000"] == kept[one.key]
    assert len(ledger.failures()) == 3 * len(RECEIPT.failures)
    assert states(ledger) == {"done": 3, "running": 1, "pending": 1}


def test_of_many_none_is_begun_if_one_is_done(ledger):
    ledger.todo(UNITS)
    done(ledger, UNITS[1])
    with pytest.raises(DatabaseError, match="fetch spectro/00001 is done"):
        ledger.begin_many(UNITS[:3])
    assert states(ledger) == {"done": 1, "pending": 4}


def test_of_many_none_is_kept_if_one_cannot_be_placed_and_each_can_be_accepted_after_that(
    ledger, database_dsn
):
    ledger.todo(UNITS)
    ledger.begin_many(UNITS[:2])
    placed = []

    def place(receipt):
        if placed:
            raise OSError(28, "No space left on device")
        placed.append(receipt)

    with pytest.raises(OSError, match="No space"):
        ledger.accept_many([(unit, 1, RECEIPT) for unit in UNITS[:2]], place=place)
    assert not ledger.receipts("fetch") and not ledger.failures() and consistent(database_dsn)
    assert all(ledger.accept(unit, 1, RECEIPT) for unit in UNITS[:2])
