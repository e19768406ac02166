"""Named SQL: every statement lives in a file below ``schemas/sql`` and is called by its path there."""

from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent / "sql"


@cache
def statement(name: str) -> str:
    """Return the SQL of ``schemas/sql/<name>.sql``.

    Examples
    --------
    >>> statement("ledger/find_run").lstrip().startswith("--")
    True
    """
    return (ROOT / f"{name}.sql").read_text(encoding="utf-8")


def migrations() -> list[tuple[int, str, str]]:
    """Return the number, name and SQL of every migration, in the order in which they are applied."""
    files = sorted((ROOT / "migrations").glob("*.sql"))
    return [(int(file.stem.split("_", 1)[0]), file.stem, file.read_text(encoding="utf-8")) for file in files]
