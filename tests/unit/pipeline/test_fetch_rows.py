"""The patience of a download: what is asked for again, and how often."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.sources.images import Asking, Body
from pipeline.sources.verdicts import Verdict
from pipeline.stages.fetch_rows import HOPELESS_OUTCOMES, Fetcher, _Job, together
from schemas.errors import SourceDown
from schemas.flags import Status

CUT, STRANGE, TORN = Status.TRUNCATED, Status.WRONG_HEADER, Status.WRONG_SIZE


class Source(Asking):
    url = "http://sky"
    most_put_back = 1

    def field_of(self, place: dict[str, float]) -> tuple[int, ...]:
        return (int(place["field"]),) if "field" in place else ()


def a_block(rows: int, **columns: list[float]) -> SimpleNamespace:
    return SimpleNamespace(
        status=np.full(rows, int(Status.PENDING), np.uint8),
        image=np.zeros((rows, 2, 2, 3), np.uint8),
        digest=np.zeros((rows, 16), np.uint8),
        target=None,
        ra=np.zeros(rows),
        dec=np.zeros(rows),
        columns={name: np.array(values) for name, values in columns.items()},
    )


def weighed(verdicts: list[tuple[Status, int]], retries: int = 6) -> int:
    """Return the status of a row after these verdicts on its requests; pending while it is asked for again."""
    rows = a_block(1)
    fetcher, job = Fetcher(rows, Source(retries=retries), SimpleNamespace()), _Job([0])
    for status, request in verdicts:
        fetcher._weigh(job, [Verdict(status, request=request)])
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


def test_rows_of_a_field_are_put_together_and_others_stay_alone():
    block = a_block(5, field=[7, 8, 7, 9, 8])
    assert together(block, [0, 1, 2, 4], Source()) == [[0, 2], [1, 4]]
    assert together(a_block(3), [2, 0], Source()) == [[2], [0]]


def test_rows_of_a_field_that_blame_the_same_answer_ask_for_it_together_and_keep_the_others():
    rows = a_block(5)
    fetcher = Fetcher(rows, Source(retries=1), SimpleNamespace())
    job = _Job([0, 1, 2, 3, 4], bodies={number: Body(b"") for number in range(3)})
    blank = [Verdict(Status.BLANK, f"{row} pixels", request=1) for row in range(5)]
    good = Verdict(Status.OK, pixels=np.ones((2, 2, 3), np.uint8), digest=bytes(16))
    outside, torn = Verdict(Status.OUTSIDE_FOOTPRINT, request=0), Verdict(CUT, request=2)
    fetcher._heed(job, [good, blank[1], outside, blank[3], torn])
    assert rows.status.tolist() == [Status.OK, 0, Status.OUTSIDE_FOOTPRINT, 0, 0]
    waiting = {tuple(job.rows): sorted(job.bodies) for _, _, job in fetcher._later}
    assert waiting == {(1, 3): [0, 2], (4,): [0, 1]}
    (again,) = (job for _, _, job in fetcher._later if len(job.rows) == 2)
    again.bodies[1] = Body(b"")
    fetcher._heed(again, [blank[1], blank[3]])
    assert rows.status.tolist() == [Status.OK, Status.BLANK, Status.OUTSIDE_FOOTPRINT, Status.BLANK, 0]
    assert [fetcher.tally.details[row] for row in (1, 3)] == ["1 pixels", "3 pixels"]


def test_nothing_new_is_begun_while_too_much_is_kept_for_later():
    fetcher = Fetcher(a_block(3), Source(), SimpleNamespace())
    fetcher._fresh.extend([_Job([1]), _Job([2])])
    fetcher._put_back(_Job([0]), 60.0)
    assert fetcher._next_job() is None
    fetcher._fresh[0].bodies[0] = Body(b"")
    assert fetcher._next_job().rows == [1]


def test_one_damaged_file_of_many_rows_is_not_taken_for_a_server_that_is_down():
    fetcher = Fetcher(a_block(100), Source(), SimpleNamespace())
    fetcher._settle(_Job(range(96)), [Verdict(CUT)] * 96)
    for row in range(96, 94 + HOPELESS_OUTCOMES):
        fetcher._settle(_Job([row]), [Verdict(CUT)])
    with pytest.raises(SourceDown, match="answered 100 cutouts with errors and none well"):
        fetcher._settle(_Job([99]), [Verdict(CUT)])
