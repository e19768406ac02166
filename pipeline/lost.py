"""Blocks that were given up: their workers died each time, and the run went on without them."""

from pipeline.ledger import Ledger
from pipeline.stores.postgres import transaction
from schemas.ledger_rows import LostBlock
from schemas.statements import statement

LOST = {
    "fetch": "pipeline.stages.lost:lost_cutouts",
    "infer": "pipeline.stages.lost:lost_predictions",
}
"""Stages that may go on without a block, and what makes its receipt."""
MOST_LOST = 0.05
"""If more than this share of a stage's blocks (and more than one) kill their workers, it is not the blocks."""


def lost_blocks(ledger: Ledger) -> list[LostBlock]:
    """Return the blocks of a run that were given up, by stage and key."""
    with transaction(ledger.connection) as cursor:
        cursor.execute(statement("ledger/lost"), {"run_id": ledger.run_id})
        return [LostBlock(*row) for row in cursor.fetchall()]


def most_lost(blocks: int) -> int:
    """Return how many of a stage's blocks may be given up.

    Examples
    --------
    >>> most_lost(1), most_lost(2), most_lost(40), most_lost(1000)
    (0, 1, 2, 50)
    """
    return max(1, int(blocks * MOST_LOST)) if blocks > 1 else 0
