"""The table-valued function ``dbo.fEmri(population, size)``: parameters of inspirals, drawn when a query asks for them.

``SELECT e.id, e.ra, e.dec, ... FROM dbo.fEmri(0, 500) AS e``: of population 0, to train on, 500 signals and as many
samples of noise; of 1 to 7, the test groups of Zhang et al. 2022, so many signals of each cell (see
`pipeline.sources.emri.populations`); of 8, noise only, so many samples. A larger size begins with the rows of a smaller
one.
"""

import pyarrow as pa
import pyarrow.compute as pc

from cluster.work import find
from pipeline.sandbox.tsql import SqlRejectedError

NAME = "fEmri"
NOISE = 8
MOST = 200_000
_ROOM = 200  # rows of noise that are drawn together


def inspirals(*numbers: int, seed: int) -> pa.Table:
    """Return the rows of a population: ``id``, ``population``, position [deg], parameters, ``snr``, and ``signal``.

    ``signal`` is 1 or 0, and ``waveform`` and ``cutoff`` are numbers (see `pipeline.sources.emri.source.named`), as a
    cube holds no words. Of noise, the parameters are NULL. An orbit takes some 10 ms, one of population 2 a second.

    Parameters
    ----------
    *numbers : int
        The population, 0 to 8, and the size.
    seed : int
        The sky's.

    Raises
    ------
    SqlRejectedError
        There is no such population, or too much is asked for.
    """
    if len(numbers) != 2 or not 0 <= numbers[0] <= NOISE or not 1 <= numbers[1] <= MOST:
        found = ", ".join(map(str, numbers))
        raise SqlRejectedError(
            f"expected a population from 0 to {NOISE} and a size from 1 to {MOST}, found ({found})."
        )
    population, size = numbers
    several = size if population != NOISE else -(-size // _ROOM)
    pieces = [_piece(population, (seed << 32) + number) for number in range(several)]
    drawn = pa.concat_tables(pieces).combine_chunks()
    drawn = drawn.slice(0, size) if population == NOISE else drawn
    ids = pa.array(range(population * 10**9, population * 10**9 + len(drawn)), pa.int64())
    columns = {name: drawn[name] for name in drawn.column_names if name not in ("id", "group", "label")}
    columns |= {name: _numbered(drawn[name], name) for name in ("cutoff", "waveform")}
    return pa.table({"id": ids, "population": drawn["group"], **columns, "signal": drawn["label"]})


def _piece(population: int, seed: int) -> pa.Table:
    """Return the rows that one seed gives: a signal of each cell with its noise, or noise."""
    table: pa.Table
    if population == 0:
        table = find("pipeline.sources.emri.populations:training")(2, seed)
    elif population == NOISE:
        table = find("pipeline.sources.emri.populations:noise")(_ROOM, seed)
    else:
        table = find("pipeline.sources.emri.populations:group")(population, 1, seed)
    return table


def _numbered(words: pa.ChunkedArray, column: str) -> pa.ChunkedArray:
    """Return the numbers of words, NULL for none."""
    known = find("pipeline.sources.emri.source:words_of")(column)
    return pc.cast(pc.index_in(words, pa.array(known)), pa.float64())
