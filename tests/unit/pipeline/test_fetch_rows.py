"""The patience of a download: what is asked for again, and how often."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.sources.images import Asking
from pipeline.sources.verdicts import Verdict
from pipeline.stages.fetch_rows import Fetcher, _Job
from schemas.flags import Status

CUT, STRANGE, TORN = Status.TRUNCATED, Status.WRONG_HEADER, Status.WRONG_SIZE


class Source(Asking):
    url = "http://sky"


def weighed(verdicts: list[tuple[Status, int]], retries: int = 6) -> int:
    """Return the status of a row after these verdicts on its requests; pending while it is asked for again."""
    rows = SimpleNamespace(
        status=np.full(1, int(Status.PENDING), np.uint8),
        image=np.zeros((1, 2, 2, 3), np.uint8),
        digest=np.zeros((1, 16), np.uint8),
        target=None,
    )
    fetcher, job = Fetcher(rows, Source(retries=retries), SimpleNamespace()), _Job(0)
    for status, request in verdicts:
        fetcher._weigh(job, Verdict(status, request=request))
    return int(rows.status[0])


@pytest.mark.parametrize(
    ("verdicts", "settled"),
    [
        ([(STRANGE, 0)], False),
        ([(STRANGE, 0), (STRANGE, 0)], True),
        ([(CUT, 0), (STRANGE, 0)], False),
        ([(STRANGE, 0), (STRANGE, 1)], False),
        ([(STRANGE, 0), (TORN, 0)], False),
        ([(CUT, 0)] * 6 + [(CUT, 1)] * 6, False),
        ([(CUT, 0)] * 7, True),
        ([(Status.NOT_FOUND, 0)], True),
    ],
)
def test_each_request_of_a_row_has_a_patience_of_its_own_and_what_is_strange_is_said_twice(verdicts, settled):
    assert weighed(verdicts) == (int(verdicts[-1][0]) if settled else int(Status.PENDING))
