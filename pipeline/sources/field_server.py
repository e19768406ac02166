"""The windows of a run's own labelled fields, asked by SQL as a survey's catalogue is: no server is needed for them."""

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.fields.classes import background_of
from pipeline.fields.files import learnt_from
from pipeline.fields.labelled_windows import TABLE, window_table
from pipeline.sandbox.tsql import SqlRejectedError, translate
from pipeline.stores.staging import disk_errors
from schemas.config import RunFile
from schemas.digests import digest_of
from schemas.errors import SourceError


@dataclass(frozen=True)
class FieldServer:
    """The table ``FieldWindows`` in a Parquet file, and what is asked of it."""

    path: str
    row_cap: int

    def query(self, sql: str, columns: Sequence[str]) -> pa.Table:
        """Answer a query with the columns named as they are given here.

        Raises
        ------
        SourceError
            If it cannot be answered.
        """
        connection = duckdb.connect(":memory:")
        try:
            connection.register(TABLE, pq.read_table(self.path))
            found = connection.sql(translate(sql, (TABLE,))).to_arrow_table()
        except (SqlRejectedError, duckdb.Error) as error:
            raise SourceError(
                f"the sample's SQL cannot be answered: {str(error).splitlines()[0]}",
                f"select from {TABLE}: windowid, ra, dec, field, y, x, kind",
            ) from error
        finally:
            connection.close()
        return found.rename_columns(list(columns))


def open_field_server(run_file: RunFile) -> FieldServer:
    """Return what answers queries on the run's own fields; its table is made unless it is there for the same.

    Raises
    ------
    PlanError, StoreError
        See `pipeline.fields.labelled_windows.window_table`.
    """
    made_from = {**learnt_from(run_file), "background": background_of(run_file)}
    name = f"windows-{run_file.images.pixels}-{digest_of(made_from)[:16]}.parquet"
    path = run_file.folder / "fields" / name
    if not path.exists():
        _write(window_table(run_file), path)
    return FieldServer(str(path), run_file.source.row_cap)


def _write(table: pa.Table, path: Path) -> None:
    with disk_errors(path, table.nbytes):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
        pq.write_table(table, temporary)
        temporary.replace(path)
