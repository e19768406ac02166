"""The loop that computes a block's rows, of a source that asks no server."""

import time

from pipeline.sources.images import ImageSource
from pipeline.stages.fetch_rows import Tally
from pipeline.stages.settle import place_of, settle
from pipeline.stores.cube import BlockRows


def compute_rows(rows: BlockRows, asked: list[int], source: ImageSource) -> Tally:
    """Compute the rows `asked`, one after the other, into a block's arrays.

    A worker has a thread for each of its tasks already, so nothing is done side by side. What cannot be computed will
    not be at another try either: a verdict is final.

    Parameters
    ----------
    rows : BlockRows
        Filled in place.
    asked : list of int
        Which of its rows.
    source : ImageSource
        What computes them.
    """
    tally = Tally()
    for row in asked:
        begun = time.monotonic()
        verdict = source.judge(place_of(rows, row), ())
        tally.decode_s += time.monotonic() - begun
        settle(rows, row, verdict, tally.details)
        if verdict.pixels is None:
            tally.faults[verdict.status.reason] += 1
    return tally
