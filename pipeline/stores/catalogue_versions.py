"""The versions of a catalogue: what each is, and which one the view shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from psycopg2.extensions import connection as Connection

from pipeline.stores.catalogue_names import TargetNames, names_in
from pipeline.stores.postgres import transaction
from schemas.errors import DatabaseError
from schemas.statements import statement

SCHEMA = "catalogue"


@dataclass(frozen=True)
class PdfSpec:
    """The PDF of a catalogue: ``edges`` of its bins, and ``dtype``, float16 or float32."""

    edges: tuple[float, ...]
    dtype: str

    @property
    def bins(self) -> int:
        """Number of bins."""
        return len(self.edges) - 1

    @property
    def bytes(self) -> int:
        """Bytes of one PDF."""
        return self.bins * int(np.dtype(self.dtype).itemsize)


@dataclass(frozen=True)
class Version:
    """One version of a catalogue; ``state`` is building, published (the current one) or retired."""

    catalogue: str
    version: int
    state: str
    digest: str
    run: str
    rows: int | None
    published: datetime | None
    pdf: PdfSpec | None
    provenance: dict[str, Any]

    @property
    def table(self) -> str:
        """Name of its table."""
        return f"{SCHEMA}.{self.catalogue}_v{self.version}"

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of a catalogue of sources in fields; none of one of objects."""
        return tuple(self.provenance.get("classes", ()))

    @property
    def names(self) -> TargetNames:
        """Names of the columns that depend on what was learnt."""
        return names_in(self.provenance)


@dataclass(frozen=True)
class VersionDetails:
    """A version with its ``parts`` (key, digest, rows) and ``columns`` (name, type, comment)."""

    version: Version
    parts: tuple[tuple[str, str, int], ...]
    columns: tuple[tuple[str, str, str | None], ...]


def list_versions(connection: Connection, name: str | None = None) -> list[Version]:
    """Return the versions of one catalogue, or of all, by name and number."""
    return [_version(row) for row in _rows(connection, "catalogue/versions", {"catalogue": name})]


def loaded_parts(connection: Connection, version: Version) -> dict[str, tuple[str, int]]:
    """Return digest and rows of the parts that are in a version, by key."""
    values = {"catalogue": version.catalogue, "version": version.version}
    return {key: (digest, rows) for key, digest, rows in _rows(connection, "catalogue/parts", values)}


def show(connection: Connection, name: str, version: int | None = None) -> VersionDetails:
    """Return a version with its parts and columns; the current one by default.

    Raises
    ------
    DatabaseError
        If there is no such version.
    """
    found = find_version(connection, name, version)
    values = {"catalogue": name, "version": found.version, "relation": found.table}
    return VersionDetails(
        found,
        tuple(_rows(connection, "catalogue/parts", values)),
        tuple(_rows(connection, "catalogue/columns", values)),
    )


def find_version(connection: Connection, name: str, version: int | None) -> Version:
    """Return a version, the current one for None.

    Raises
    ------
    DatabaseError
        If there is no such version.
    """
    for found in list_versions(connection, name):
        if found.version == version or (version is None and found.state == "published"):
            return found
    wanted = "current version" if version is None else f"version {version}"
    raise DatabaseError(
        f"catalogue {name} has no {wanted}", "`skymill catalog list RUN.toml` shows what there is"
    )


def _version(row: tuple[Any, ...]) -> Version:
    *head, pdf, provenance = row
    values: list[Any] = [*head, PdfSpec(tuple(pdf["edges"]), pdf["dtype"]) if pdf else None, provenance]
    return Version(*values)


def _rows(connection: Connection, name: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    with transaction(connection) as cursor:
        cursor.execute(statement(name), values)
        return cursor.fetchall()
