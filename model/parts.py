"""Parts: the Parquet file of a block's predictions, written group by group while the next rows are computed."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from model.files import disk_errors

Array = NDArray[Any]

COLUMNS: dict[str, Any] = {
    "row": np.int64,
    "id": np.uint64,
    "ra": np.float64,
    "dec": np.float64,
    "z_spec": np.float32,
    "z_phot": np.float32,
    "z_phot_err": np.float32,
    "flags": np.int32,
    "split": np.uint8,
}
"""Columns of a part and their types; ``pdf`` comes last where there is one."""
PDF_TYPE = np.float16
ROWS_PER_GROUP = 512


class Part:
    """A part that is being written, a context: closed at the end, left as it is when an error ends it.

    The bytes depend on the rows alone, not on the pieces they come in. Nothing is synced.

    Parameters
    ----------
    path : Path
        The file.
    facts : Mapping
        JSON-able values for the schema's metadata, under ``skymill``.
    bins : int
        Length of the PDFs, 0 if there are none.

    Raises
    ------
    StoreError
        The file cannot be written, or the disk is full.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any], *, bins: int = 0) -> None:
        self.rows, self._path, self._bins = 0, path, bins
        self._names = [*COLUMNS, *(["pdf"] if bins else [])]
        self._hashes = {name: hashlib.sha256() for name in self._names}
        self._waiting: list[dict[str, Array]] = []
        self._counted = 0
        fields = [pa.field(name, pa.from_numpy_dtype(kind)) for name, kind in COLUMNS.items()]
        if bins:
            fields.append(pa.field("pdf", pa.list_(pa.from_numpy_dtype(PDF_TYPE), bins)))
        said = {b"skymill": json.dumps(dict(facts), sort_keys=True).encode()}
        with disk_errors(path):
            self._file = path.open("wb")
            self._writer = pq.ParquetWriter(
                self._file, pa.schema(fields, said), compression="zstd", use_dictionary=False
            )

    def add(self, columns: Mapping[str, Array]) -> None:
        """Add rows: one array a column; of a full group, the file is written."""
        piece = {name: np.ascontiguousarray(columns[name], self._type(name)) for name in self._names}
        for name, values in piece.items():
            self._hashes[name].update(values.data if values.size else b"")
        self._waiting.append(piece)
        self._counted += len(piece["row"])
        self.rows += len(piece["row"])
        if self._counted >= ROWS_PER_GROUP:
            self._write(self._counted // ROWS_PER_GROUP * ROWS_PER_GROUP)

    def digest(self, bundles: str) -> str:
        """Return the digest of what the part says, and of the `bundles` that say it."""
        whole = hashlib.sha256(bundles.encode())
        for name in sorted(self._names):
            whole.update(name.encode() + self._hashes[name].digest())
        return whole.hexdigest()

    def __enter__(self) -> "Part":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self._write(self._counted)
                with disk_errors(self._path):
                    self._writer.close()
        finally:
            with disk_errors(self._path):
                self._file.close()

    def _type(self, name: str) -> Any:
        return PDF_TYPE if name == "pdf" else COLUMNS[name]

    def _write(self, count: int) -> None:
        """Write the first `count` of the waiting rows, in groups, and keep the others."""
        if not count:
            return
        columns = {name: np.concatenate([piece[name] for piece in self._waiting]) for name in self._names}
        self._waiting = [{name: values[count:] for name, values in columns.items()}]
        self._counted -= count
        data = [pa.array(columns[name][:count]) for name in COLUMNS]
        if self._bins:
            flat = pa.array(columns["pdf"][:count].reshape(-1))
            data.append(pa.FixedSizeListArray.from_arrays(flat, self._bins))
        with disk_errors(self._path):
            self._writer.write_table(
                pa.Table.from_arrays(data, schema=self._writer.schema), row_group_size=ROWS_PER_GROUP
            )
