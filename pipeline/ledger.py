"""The ledger: which unit of which stage is done, with what receipt; kept by the driver alone.

Every verb is one transaction on one connection, so a driver, worker or server may die between any two
of them. A unit is done if and only if its receipt is stored (two foreign keys see to that), and an
attempt number is a fencing token: the receipt of any but the newest attempt is refused.
"""

import hashlib
import json
import math
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any

from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import Json

from pipeline.stores.postgres import connect, migrate, one, transaction
from schemas.errors import Busy, DatabaseError, PlanError
from schemas.flags import Status
from schemas.ledger_rows import LedgerFailure, StageProgress, TimelinePoint
from schemas.records import Product, Receipt, Unit
from schemas.statements import statement

OF_SAMPLES = ("plan", "pull", "rows", "fetch", "infer", "load")
"""Stages whose units are named by a sample: ``spectro``, or ``spectro/00012``."""
LOCK_PATIENCE_S = 5.0
"""How long a driver waits for a run: the server needs a moment to see that a killed driver is gone."""


class Ledger:
    """What is done and what is left of one run; use it as a context manager."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._run_id: int | None = None

    @classmethod
    def open(cls, dsn: str, *, password_file: Path | str | None = None) -> "Ledger":
        """Connect to `dsn` and bring the schema up to date.

        Raises
        ------
        DatabaseDown, DatabaseError
            If the server does not answer or refuses, or its schema is newer than this code.
        """
        connection = connect(dsn, password_file)
        try:
            migrate(connection)
        except BaseException:
            connection.close()
            raise
        return cls(connection)

    def close(self) -> None:
        """Close the connection, and with it let go of the run."""
        self.connection.close()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def run_id(self) -> int:
        """Number of the open run in the table ``skymill.run``."""
        if self._run_id is None:
            raise DatabaseError("no run is open", "call open_run or view_run first")
        return self._run_id

    def open_run(
        self, name: str, run_file: Mapping[str, Any], *, provenance: Mapping[str, Any], seed: int
    ) -> None:
        """Take the run `name` for this driver, and make it when there is none.

        What a dead driver left running is marked abandoned and waits again. `provenance` may hold
        ``code_version`` and ``packages``, which get columns of their own.

        Raises
        ------
        Busy
            If another driver has the run.
        """
        self._lock(name)
        clean = _clean(dict(run_file))
        values = {
            "name": name,
            "digest": hashlib.sha256(json.dumps(clean, sort_keys=True).encode()).hexdigest(),
            "run_file": Json(clean),
            "code_version": str(provenance.get("code_version", "")),
            "packages": Json(_clean(provenance.get("packages", {}))),
            "provenance": Json(_clean(dict(provenance))),
            "seed": seed,
        }
        with transaction(self.connection) as cursor:
            cursor.execute(statement("ledger/find_run"), values)
            self._run_id = int(one(cursor)[0])
            cursor.execute(statement("ledger/abandon"), {"run_id": self._run_id})

    def view_run(self, name: str) -> bool:
        """Look at a run without taking it (`skymill status`); False when there is none of this name."""
        rows = self._rows("ledger/run_id", name=name)
        self._run_id = rows[0][0] if rows else None
        return bool(rows)

    def receipts(self, stage: str) -> dict[str, tuple[str, Receipt]]:
        """Return the inputs digest and receipt of every done unit of `stage`, by key.

        They come without their failures, of which there may be as many as galaxies: see `failures`,
        `failure_counts` and `retryable`.
        """
        rows = self._rows("ledger/receipts", run_id=self.run_id, stage=stage)
        return {row[0]: (row[1], _receipt(row)) for row in rows}

    def todo(self, units: Iterable[Unit]) -> list[Unit]:
        """Note the units of a plan and return those without a receipt of the same inputs, in order.

        A unit whose inputs changed loses its receipt.

        Raises
        ------
        PlanError
            If two units share stage and key.
        """
        planned = list(units)
        names = Counter(f"{unit.stage} {unit.key}" for unit in planned)
        if twice := [name for name, count in names.items() if count > 1]:
            raise PlanError(
                f"units planned twice: {', '.join(twice[:5])}", "give every unit of a stage its own key"
            )
        rows = [
            {"position": i, "stage": unit.stage, "key": unit.key, "inputs": unit.inputs}
            for i, unit in enumerate(planned)
        ]
        left = self._rows("ledger/todo", run_id=self.run_id, units=json.dumps(rows))
        return [planned[position] for (position,) in left]

    def begin(self, unit: Unit) -> int:
        """Hand `unit` out and return the number of the attempt, the token to `accept` or `fail` it with.

        Raises
        ------
        DatabaseError
            If the unit is done already, or was not planned with these inputs.
        """
        rows = self._rows("ledger/begin", **self._unit(unit))
        if not rows:
            raise _not_to_be_begun(unit)
        return int(rows[0][0])

    def begin_many(self, units: Sequence[Unit]) -> list[int]:
        """Hand units out in one transaction, all or none; return the number of the attempt of each, see `begin`.

        Raises
        ------
        DatabaseError
            If one is done already, or was not planned with these inputs.
        """
        asked = [{"stage": unit.stage, "key": unit.key, "inputs": unit.inputs} for unit in units]
        values = {"run_id": self.run_id, "units": json.dumps(asked)}
        with transaction(self.connection) as cursor:
            cursor.execute(statement("ledger/begin_many"), values)
            attempts = {(stage, key): attempt for stage, key, attempt in cursor.fetchall()}
            for unit in units:
                if (unit.stage, unit.key) not in attempts:
                    raise _not_to_be_begun(unit)
        return [attempts[unit.stage, unit.key] for unit in units]

    def accept_many(
        self, results: Sequence[tuple[Unit, int, Receipt]], *, place: Callable[[Receipt], None]
    ) -> list[bool]:
        """Take the results of several attempts in one transaction; see `accept`.

        `place` moves the products of one receipt. If it fails, or the commit does, nothing is kept of any of them,
        though some may be placed; each can be accepted again, or be done again.

        Returns
        -------
        list of bool
            False for each late twin, of which nothing is kept but the outcome ``superseded``.
        """
        rows = [
            {**self._unit(unit), "attempt": attempt, **_plain_values(receipt)}
            for unit, attempt, receipt in results
        ]
        with transaction(self.connection) as cursor:
            cursor.execute(
                statement("ledger/fence_many"), {"run_id": self.run_id, "results": json.dumps(rows)}
            )
            right = {(stage, key) for stage, key, is_right in cursor.fetchall() if is_right}
            taken = [(unit.stage, unit.key) in right for unit, _, _ in results]
            mine = [row for row, is_taken in zip(rows, taken, strict=True) if is_taken]
            cursor.execute(
                statement("ledger/accept_many"), {"run_id": self.run_id, "results": json.dumps(mine)}
            )
            for (_, _, receipt), row, is_taken in zip(results, rows, taken, strict=True):
                if not is_taken:
                    cursor.execute(statement("ledger/superseded"), row)
                elif receipt.failures:
                    cursor.execute(statement("ledger/keep_failures"), row | _failure_values(receipt))
            for (_, _, receipt), is_taken in zip(results, taken, strict=True):
                if is_taken:
                    place(receipt)
        return taken

    def accept(
        self,
        unit: Unit,
        attempt: int,
        receipt: Receipt,
        *,
        place: Callable[[], None] | None = None,
        also: Callable[[Cursor], None] | None = None,
    ) -> bool:
        """Take the result of an attempt, if it still has the right to it; all in one transaction.

        Parameters
        ----------
        unit, attempt, receipt
            What was handed out, and what came back.
        place : callable, optional
            Moves the staged products to their final paths; called last before the commit, so it must
            bear to be done again when the commit fails.
        also : callable, optional
            Writes more in the same transaction, through the cursor it is given.

        Returns
        -------
        bool
            False for a late twin: nothing is called or kept but the outcome ``superseded``.
        """
        values = {**self._unit(unit), "attempt": attempt, **_receipt_values(receipt)}
        with transaction(self.connection) as cursor:
            cursor.execute(statement("ledger/fence"), values)
            row = cursor.fetchone()
            if not row or not row[0]:
                cursor.execute(statement("ledger/superseded"), values)
                return False
            cursor.execute(statement("ledger/accept"), values)
            if receipt.failures:
                cursor.execute(statement("ledger/keep_failures"), values)
            if also:
                also(cursor)
            if place:
                place()
        return True

    def fail(self, unit: Unit, attempt: int, error: str, *, final: bool) -> None:
        """Note that an attempt failed; a `final` failure marks the unit, unless a newer attempt runs."""
        state = "failed" if final else "pending"
        values = {**self._unit(unit), "attempt": attempt, "error": _clean(error), "state": state}
        with transaction(self.connection) as cursor:
            cursor.execute(statement("ledger/fail"), values)

    def reset(self, stage: str, keys: Iterable[str]) -> int:
        """Drop the receipts of units, and the failures they name, so that they run again; return how many."""
        with transaction(self.connection) as cursor:
            cursor.execute(
                statement("ledger/reset"), {"run_id": self.run_id, "stage": stage, "keys": list(keys)}
            )
            return cursor.rowcount

    def drop_missing(self, stage: str, keys: Iterable[str]) -> int:
        """Forget all units of `stage` but `keys`, those the plan has now; return how many went."""
        values = {"run_id": self.run_id, "stage": stage, "keys": json.dumps(list(keys))}
        with transaction(self.connection) as cursor:
            cursor.execute(statement("ledger/drop_missing"), values)
            return cursor.rowcount

    def drop_samples(self, keep: Iterable[str]) -> int:
        """Forget the units of all samples but `keep`, at every stage; return how many went."""
        values = {"run_id": self.run_id, "stages": list(OF_SAMPLES), "samples": list(keep)}
        with transaction(self.connection) as cursor:
            cursor.execute(statement("ledger/drop_samples"), values)
            return cursor.rowcount

    def retryable(self, stage: str) -> list[str]:
        """Return the keys of the units of `stage` with an object that failed for a reason that may pass."""
        return [key for (key,) in self._rows("ledger/retryable", run_id=self.run_id, stage=stage)]

    def failures(self, limit: int | None = None) -> list[LedgerFailure]:
        """Return the objects that could not be had, by sample and row."""
        rows = self._rows("ledger/failures", run_id=self.run_id, limit=limit)
        whole: list[Any] = [[int(x) if isinstance(x, Decimal) else x for x in row] for row in rows]
        return [LedgerFailure(*row) for row in whole]

    def failure_counts(self) -> dict[tuple[str, str, bool], int]:
        """Return how many objects could not be had, by sample, reason and whether that is permanent."""
        return {row[:3]: row[3] for row in self._rows("ledger/failure_counts", run_id=self.run_id)}

    def errors(self) -> list[tuple[str, str, int, str]]:
        """Return stage, key, attempt and message of the units that failed for good."""
        return self._rows("ledger/errors", run_id=self.run_id)

    def progress(self) -> list[StageProgress]:
        """Return how many units of every stage are in which state, with the sums of their receipts."""
        return [StageProgress(*row) for row in self._rows("ledger/progress", run_id=self.run_id)]

    def timeline(self, stage: str) -> list[TimelinePoint]:
        """Return the receipts of `stage` in the order in which they came."""
        return [TimelinePoint(*row) for row in self._rows("ledger/timeline", run_id=self.run_id, stage=stage)]

    def _lock(self, name: str) -> None:
        deadline = time.monotonic() + LOCK_PATIENCE_S
        while not self._rows("ledger/lock_run", name=name)[0][0]:
            if time.monotonic() > deadline:
                holder = self._rows("ledger/lock_holder", name=name)
                who = (
                    "backend {}, {}, from {}, since {:%Y-%m-%d %H:%M:%S} UTC".format(*holder[0])
                    if holder
                    else "?"
                )
                raise Busy(
                    f"another driver works on the run {name}: {who}",
                    "wait for it, or end it; `skymill status` shows how far it is",
                )
            time.sleep(0.2)
        self._rows("ledger/name_session", name=_who_am_i(name))

    def _rows(self, name: str, /, **values: Any) -> list[tuple[Any, ...]]:
        with transaction(self.connection) as cursor:
            cursor.execute(statement(name), values)
            return cursor.fetchall()

    def _unit(self, unit: Unit) -> dict[str, Any]:
        return {"run_id": self.run_id, "stage": unit.stage, "key": unit.key, "inputs": unit.inputs}


def _who_am_i(run: str) -> str:
    return f"skymill {run[:20]} on {socket.gethostname()[:16]} pid {os.getpid()}"


def _receipt(row: tuple[Any, ...]) -> Receipt:
    _, _, rows, size, seconds, digest, products, facts, worker = row
    placed = tuple(Product(**product) for product in products)
    return Receipt(rows, size, seconds, digest, placed, facts=facts, worker=worker)


def _not_to_be_begun(unit: Unit) -> DatabaseError:
    return DatabaseError(
        f"{unit.stage} {unit.key} is done, or was not planned with the inputs {unit.inputs}",
        "take units from Ledger.todo; to do one again, reset it first",
    )


def _receipt_values(receipt: Receipt) -> dict[str, Any]:
    plain = _plain_values(receipt)
    wrapped = {"products": Json(plain["products"]), "facts": Json(plain["facts"])}
    return plain | wrapped | _failure_values(receipt)


def _plain_values(receipt: Receipt) -> dict[str, Any]:
    return {
        "rows": receipt.rows,
        "bytes": receipt.bytes,
        "seconds": receipt.seconds,
        "digest": receipt.digest,
        "products": [asdict(product) for product in receipt.products],
        "facts": _clean(receipt.facts),
        "worker": receipt.worker,
    }


def _failure_values(receipt: Receipt) -> dict[str, Any]:
    failures = [
        {
            **asdict(failure),
            "detail": _clean(failure.detail),
            "reason": Status(failure.status).reason,
            "permanent": Status(failure.status).permanent,
        }
        for failure in receipt.failures
    ]
    return {"failures": json.dumps(failures)}


def _clean(value: Any) -> Any:
    """Make a value fit for JSON in Postgres: no NaN or infinity (they become null), no NUL characters."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, Mapping):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
