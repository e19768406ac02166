"""How a trainer ends, and what its caller makes of it."""

import errno
import os

import pytest

from model.launch import _outcome
from model.trainer import Papers, _tell, unexpected
from schemas.errors import Diverged, ModelError, StoreError, WorkerError
from schemas.records import Place

ALONE, OF_TWO = Place(), Place(1, ("a:1", "b:2"), 3)


@pytest.fixture
def papers(tmp_path):
    made = Papers(tmp_path, 0)
    made.log.write_text("Traceback\nlast words\n")
    return made


@pytest.mark.parametrize(
    ("error", "place", "kind"),
    [
        (ValueError("x"), ALONE, ModelError),
        (ValueError("x"), OF_TWO, WorkerError),
        (MemoryError(), ALONE, WorkerError),
        (OSError(errno.EMFILE, "too many files"), ALONE, WorkerError),
        (OSError(errno.ENOSPC, "no space"), OF_TWO, StoreError),
    ],
)
def test_an_error_nobody_foresaw_is_the_machine_s_where_it_may_be(papers, error, place, kind):
    assert _tell(unexpected(error, papers, place), papers.error) == 1
    with pytest.raises(kind) as caught:
        _outcome(papers, 1, place)
    assert type(caught.value) is kind and caught.value.remedy
    assert "disk is full" in caught.value.message or type(error).__name__ in caught.value.message


def test_the_traceback_that_tensorflow_writes_into_its_message_is_left_out(papers):
    error = ValueError(
        'Graph execution error:\n\nDetected at (most recent call last):\n  File "a.py", in b\n\nno room'
    )
    told = unexpected(error, papers, ALONE).message
    assert (
        told
        == "trainer 0 of 1 met ValueError: Graph execution error: Detected at (most recent call last): no room"
    )


def test_a_trainer_that_ends_without_a_word_costs_a_generation(papers):
    with pytest.raises(
        WorkerError, match="trainer 1 of 2 ended with code 3 and no result; its log: last words"
    ):
        _outcome(papers, 3, OF_TWO)
    with pytest.raises(StoreError, match="could not write"):
        _outcome(papers, os.EX_IOERR, OF_TWO)


def test_a_training_that_diverged_is_told_from_other_errors_of_the_model(papers):
    _tell(Diverged("the loss became nan", "lower it"), papers.error)
    with pytest.raises(Diverged, match="the loss became nan"):
        _outcome(papers, 1, ALONE)
