"""Whose fault it is that a request was not answered: decided in one place, from how far the request had come."""

from __future__ import annotations

import asyncio

import pytest

from modelserver.model.blame import Blame, Stage, blame_for_error, blame_for_timeout, error_status

BEFORE_THE_MODEL = (Stage.ARRIVING, Stage.WAITING, Stage.READING)
FAILURES = (ValueError("x"), TypeError("unhashable"), RecursionError(), MemoryError(), TimeoutError())
ENDS = (KeyboardInterrupt(), SystemExit(), GeneratorExit(), asyncio.CancelledError())


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
@pytest.mark.parametrize("refused", [False, True])
def test_no_exception_before_the_model_has_the_request_counts(failure: Exception, refused: bool) -> None:
    """While it is read it is the client's; before that this server is wrong, and no release can help it."""
    blamed = [blame_for_error(stage, failure, refused) for stage in BEFORE_THE_MODEL]
    assert blamed == [Blame.NOBODY, Blame.NOBODY, Blame.CLIENT]


@pytest.mark.parametrize("failure", [*FAILURES, *ENDS], ids=repr)
def test_whatever_the_model_raises_counts_and_whatever_its_answer_makes_fail(failure: BaseException) -> None:
    """Its predict, and then the conversion, the check and the encoding of what it answered."""
    assert blame_for_error(Stage.PREDICTING, failure, refused=False) is Blame.RELEASE
    assert blame_for_error(Stage.ANSWERING, failure, refused=False) is Blame.RELEASE


def test_a_model_may_refuse_a_request_but_not_its_own_answer() -> None:
    """A refusal is the model's word for a mistake of the client."""
    assert blame_for_error(Stage.PREDICTING, ValueError(), refused=True) is Blame.CLIENT
    assert blame_for_error(Stage.ANSWERING, ValueError(), refused=True) is Blame.RELEASE


@pytest.mark.parametrize("end", ENDS, ids=repr)
def test_no_request_can_ask_for_the_end_of_the_process(end: BaseException) -> None:
    """What wants that is code of the release, wherever it hides."""
    assert {blame_for_error(stage, end, refused=False) for stage in BEFORE_THE_MODEL} == {Blame.RELEASE}


@pytest.mark.parametrize(
    ("stage", "share", "stuck", "blame"),
    [
        (Stage.ARRIVING, 0.0, False, Blame.CLIENT),
        (Stage.ARRIVING, 0.0, True, Blame.CLIENT),
        (Stage.READING, 0.0, False, Blame.CLIENT),
        (Stage.READING, 0.0, True, Blame.CLIENT),
        (Stage.WAITING, 0.0, False, Blame.NOBODY),
        (Stage.WAITING, 0.0, True, Blame.RELEASE),
        (Stage.PREDICTING, 1.0, False, Blame.RELEASE),
        (Stage.PREDICTING, 0.5, False, Blame.RELEASE),
        (Stage.PREDICTING, 0.4, False, Blame.NOBODY),
        (Stage.PREDICTING, 0.4, True, Blame.RELEASE),
        (Stage.ANSWERING, 0.9, False, Blame.RELEASE),
        (Stage.ANSWERING, 0.1, False, Blame.NOBODY),
    ],
)
def test_the_time_that_is_over_was_the_client_s_the_model_s_or_that_of_others(
    stage: Stage, share: float, stuck: bool, blame: Blame
) -> None:
    """A model that holds its threads for ever is to blame for those that wait for one, a crowd of requests is not."""
    assert blame_for_timeout(stage, share, stuck) is blame


def test_what_a_client_got_wrong_is_never_a_5xx() -> None:
    """MLflow's own status stays where it says 4xx, and where the release is to blame."""
    assert [error_status(Blame.CLIENT, answered) for answered in (400, 404, 415, 500, 503)] == [400, 404, 415, 400, 400]
    assert [error_status(Blame.RELEASE, answered) for answered in (400, 500)] == [400, 500]
