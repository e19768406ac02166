"""Publish versions of a catalogue: build a table apart, check it, then swap the view in one transaction.

Rows depend on nothing but the predictions: two runs of the same inputs publish the same bytes.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import Json

from pipeline.stores.catalogue_names import TargetNames, names_in
from pipeline.stores.catalogue_rows import CataloguePart, blocks, columns_of
from pipeline.stores.catalogue_sources import (
    columns_of_sources,
    comment_sources,
    create_source_table,
    create_source_view,
    run_statement,
    source_blocks,
)
from pipeline.stores.catalogue_versions import SCHEMA, PdfSpec, Version, find_version, list_versions
from pipeline.stores.copy_binary import CopyStream, ahead
from pipeline.stores.postgres import one, transaction
from schemas.errors import DatabaseError
from schemas.statements import statement

COPY_BUFFER_BYTES = 2**20


def begin_version(
    connection: Connection,
    name: str,
    *,
    digest: str,
    run: str,
    provenance: Mapping[str, Any],
    pdf: PdfSpec | None = None,
) -> Version:
    """Return the version of `digest`, and make it with an empty table when there is none.

    A version found "building" is to be continued; one found "published" or "retired" is complete, and
    there is nothing to do.

    Raises
    ------
    DatabaseError
        If the name cannot be one of a catalogue, or Postgres refuses.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name) or re.search(r"_v\d+$|_cone$", name):
        raise DatabaseError(
            f"{name!r} cannot be the name of a catalogue",
            "write small letters, digits and _, at most 41, not ending in _cone or _v and a number",
        )
    values = {"catalogue": name, "digest": digest, "run": run, "provenance": Json(dict(provenance))}
    with transaction(connection) as cursor:
        cursor.execute(statement("catalogue/find_digest"), values)
        if not (found := cursor.fetchone()):
            cursor.execute(statement("catalogue/next_version"), values)
            found = one(cursor)
            values |= {"version": found[0], "pdf": Json(asdict(pdf)) if pdf else None}
            cursor.execute(statement("catalogue/new_version"), values)
            table = {"table": _identifier(name, f"_v{found[0]}")}
            if classes := provenance.get("classes"):
                create_source_table(cursor, table["table"], classes)
            else:
                run_statement(cursor, "catalogue/create_table", **table, **_named(names_in(provenance)))
            if pdf:
                run_statement(cursor, "catalogue/add_pdf", **table)
    return find_version(connection, name, int(found[0]))


def load_part(cursor: Cursor, version: Version, part: CataloguePart, *, provenance: str) -> int:
    """COPY a part into its version, and note it, in the transaction of `cursor`; return the rows written.

    A part that is in already is left alone. Meant for ``Ledger.accept(..., also=...)``, so that rows, part
    and receipt are committed together or not at all.

    Parameters
    ----------
    cursor : cursor
        Of the transaction to write in; the caller commits.
    version, part
        Where to, and what.
    provenance : str
        16 characters that name what made the rows.

    Raises
    ------
    DatabaseError
        If another part of this key is in the version, or the version is complete.
    StoreError
        If the file is missing or damaged.
    """
    values = {"catalogue": version.catalogue, "version": version.version, "part": part.key}
    cursor.execute(statement("catalogue/part_loaded"), values)
    if found := cursor.fetchone():
        if found[0] == part.digest:
            return 0
        raise DatabaseError(
            f"{version.table} holds another {part.key} (digest {found[0]}, expected {part.digest})",
            f"drop the version (`skymill catalog drop RUN.toml --version {version.version}`) and run again",
        )
    names, rows_of = _stream(part, version, provenance)
    copy = sql.SQL(statement("catalogue/copy_rows")).format(
        table=_identifier(version.catalogue, f"_v{version.version}"),
        columns=sql.SQL(", ").join(map(sql.Identifier, names)),
    )
    stream = CopyStream(ahead(rows_of))
    cursor.copy_expert(copy.as_string(cursor), stream, COPY_BUFFER_BYTES)
    rows = cursor.rowcount
    cursor.execute(statement("catalogue/keep_part"), {**values, "digest": part.digest, "rows": rows})
    return rows


def finish_version(connection: Connection, version: Version, *, parts: Mapping[str, str]) -> Version:
    """Check, index and publish a version, all in one transaction; the one before it retires.

    Parameters
    ----------
    connection : connection
        Of the driver.
    version : Version
        As `begin_version` gave it; a complete one is returned as it is.
    parts : mapping
        Digest by key of the parts it must consist of.

    Raises
    ------
    DatabaseError
        If parts or rows are missing or too many, an object is there twice, or readers hold on to the view.
    """
    with transaction(connection) as cursor:
        if _lock(cursor, version.catalogue).get(version.version) == "building":
            rows = _check(cursor, version, parts)
            table = _identifier(version.catalogue, f"_v{version.version}")
            run_statement(cursor, "catalogue/index", table=table)
            _comment(cursor, table, version)
            run_statement(cursor, "catalogue/comment_relation", table=table, meaning=_meaning(version, rows))
            _swap(cursor, version, rows)
    return find_version(connection, version.catalogue, version.version)


def rollback(connection: Connection, name: str, version: int | None = None) -> Version:
    """Make a complete version the current one: the newest before the current by default.

    Raises
    ------
    DatabaseError
        If there is no such version, or it is not complete.
    """
    current = next((each for each in list_versions(connection, name) if each.state == "published"), None)
    if version is None:
        ready = [each for each in list_versions(connection, name) if each.state == "retired"]
        before = [each for each in ready if current is None or each.version < current.version]
        if not before:
            raise DatabaseError(
                f"catalogue {name} has no version to go back to",
                "`skymill catalog list RUN.toml` shows what there is",
            )
        version = before[-1].version
    target = find_version(connection, name, version)
    with transaction(connection) as cursor:
        state = _lock(cursor, name).get(version)
        if state == "building":
            raise DatabaseError(f"{target.table} is not complete", "`skymill run` completes it")
        if state == "retired":
            _swap(cursor, target, target.rows or 0)
    return find_version(connection, name, version)


def drop(connection: Connection, name: str, version: int) -> None:
    """Delete a version and its rows.

    Raises
    ------
    DatabaseError
        If there is no such version, or it is the current one.
    """
    target = find_version(connection, name, version)
    with transaction(connection) as cursor:
        if _lock(cursor, name).get(version) == "published":
            raise DatabaseError(
                f"{target.table} is the current version of {name}",
                "make another one current first: `skymill catalog rollback RUN.toml`",
            )
        run_statement(cursor, "catalogue/drop_table", table=_identifier(name, f"_v{version}"))
        cursor.execute(statement("catalogue/forget"), {"catalogue": name, "version": version})


def _check(cursor: Cursor, version: Version, parts: Mapping[str, str]) -> int:
    cursor.execute(statement("catalogue/parts"), {"catalogue": version.catalogue, "version": version.version})
    loaded = {key: (digest, rows) for key, digest, rows in cursor.fetchall()}
    wrong = sorted(
        key for key in loaded.keys() | parts.keys() if loaded.get(key, (None,))[0] != parts.get(key)
    )
    if wrong:
        raise DatabaseError(
            f"{version.table}: expected {len(parts)} parts, found {len(loaded)}; "
            f"missing or different: {', '.join(wrong[:5])}",
            "run again to load what is missing; if that does not help, drop the version and run again",
        )
    run_statement(
        cursor, "catalogue/count_rows", table=_identifier(version.catalogue, f"_v{version.version}")
    )
    counted, expected = int(one(cursor)[0]), sum(rows for _, rows in loaded.values())
    if counted != expected:
        raise DatabaseError(
            f"{version.table}: expected {expected} rows, found {counted}",
            f"drop the version (`skymill catalog drop RUN.toml --version {version.version}`) and run again",
        )
    return counted


def _swap(cursor: Cursor, version: Version, rows: int) -> None:
    name = version.catalogue
    values = {"catalogue": name, "version": version.version, "rows": rows}
    cursor.execute(statement("catalogue/lock_timeout"))
    cursor.execute(statement("catalogue/retire"), values)
    cursor.execute(statement("catalogue/publish"), values)
    view, cone = _identifier(name), _identifier(name, "_cone")
    table = f"{name}_v{version.version}"
    if _shape(cursor, name) not in ([], _shape(cursor, table)):
        run_statement(cursor, "catalogue/drop_view", view=view, cone=cone)
    if version.classes:
        create_source_view(cursor, view, sql.Identifier(SCHEMA, table), version.classes)
    else:
        rest = [sql.Identifier(column) for column in ("provenance", *(("pdf",) if version.pdf else ()))]
        run_statement(
            cursor,
            "catalogue/create_view",
            view=view,
            table=sql.Identifier(SCHEMA, table),
            rest=sql.SQL(", ").join(rest),
            **_named(version.names),
        )
    run_statement(cursor, "catalogue/create_cone", view=view, cone=cone)
    _comment(cursor, view, version)
    run_statement(cursor, "catalogue/comment_view", view=view, meaning=_meaning(version, rows))


def _shape(cursor: Cursor, relation: str) -> list[tuple[str, str]]:
    """Return column names and types: a view that keeps them is replaced, with its grants and dependents."""
    cursor.execute(statement("catalogue/columns"), {"relation": f"{SCHEMA}.{relation}"})
    return [(name, re.sub(r"\(.*", "", kind)) for name, kind, _ in cursor.fetchall()]


def _stream(
    part: CataloguePart, version: Version, provenance: str
) -> tuple[list[str], Iterator[NDArray[np.void]]]:
    """Return the names of the columns that are copied, and the rows of a part in blocks."""
    if version.classes:
        columns = columns_of_sources(part.sample, version.classes)
        return [column.name for column in columns], source_blocks(
            part, version.classes, provenance=provenance
        )
    columns = columns_of(part.sample, version.pdf)
    names = [version.names.of(column.name) for column in columns]
    return names, blocks(part, version.pdf, provenance=provenance)


def _comment(cursor: Cursor, relation: sql.Identifier, version: Version) -> None:
    if version.classes:
        comment_sources(cursor, relation, version.classes)
        return
    names = version.names
    meanings = {
        "label_meaning": sql.Literal(names.label_meaning),
        "prediction_meaning": sql.Literal(names.prediction_meaning),
        "error_meaning": sql.Literal(names.error_meaning),
    }
    run_statement(cursor, "catalogue/comments", relation=relation, **_named(names), **meanings)
    if pdf := version.pdf:
        meaning = (
            f"PDF of {names.prediction} in {pdf.bins} bins from {pdf.edges[0]:g} to {pdf.edges[-1]:g}, "
            f"little-endian {pdf.dtype}; "
            f"skymill.pdf_bins(pdf, {pdf.bins}) gives real[]; the edges are in skymill.catalogue_version.pdf "
            f"(ucd: {names.density})"
        )
        run_statement(cursor, "catalogue/comment_pdf", relation=relation, meaning=sql.Literal(meaning))


def _named(names: TargetNames) -> dict[str, sql.Composable]:
    """Return the columns' names as statements have them."""
    return {
        "label": sql.Identifier(names.label),
        "prediction": sql.Identifier(names.prediction),
        "error": sql.Identifier(names.error),
    }


def _meaning(version: Version, rows: int) -> sql.Literal:
    return sql.Literal(
        f"{version.catalogue}, version {version.version}: {rows} rows of run {version.run}, "
        f"inputs {version.digest}"
    )


def _lock(cursor: Cursor, name: str) -> dict[int, str]:
    cursor.execute(statement("catalogue/lock_version"), {"catalogue": name})
    return dict(cursor.fetchall())


def _identifier(name: str, suffix: str = "") -> sql.Identifier:
    return sql.Identifier(SCHEMA, name + suffix)
