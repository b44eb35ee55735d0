"""When a unit counts as failed, and the sentence that says why."""

from dataclasses import replace

import pytest

from reconciler.core.observed import Unit
from reconciler.core.reasons import why_failed

SERVER = "model-demo@3.0123abcd.service"
STARTING = Unit(SERVER, active="activating", sub="start")
ENDED = replace(STARTING, sub="auto-restart")


@pytest.mark.parametrize(
    ("unit", "failed"),
    [
        (STARTING, False),
        (replace(STARTING, restarts=2), False),
        (replace(STARTING, restarts=3), True),
        (replace(ENDED, restarts=1, result="exit-code"), False),
        (replace(ENDED, restarts=2, result="exit-code"), True),
        (replace(ENDED, result="timeout"), True),
        (replace(ENDED, result="timeout", ever_active=True), False),
        (replace(STARTING, restarts=9, ever_active=True), False),
        (Unit(SERVER, active="failed", sub="failed", result="exit-code"), True),
        (Unit("mlflow-fetch@demo.3.service", active="active", sub="exited", status_text="done"), True),
    ],
)
def test_a_candidate_gets_a_few_starts_but_only_one_whole_start_timeout(unit: Unit, failed: bool) -> None:
    """What served before is restarted for ever; what never got ready is given up."""
    assert unit.has_failed is failed


@pytest.mark.parametrize(
    ("unit", "why"),
    [
        (replace(ENDED, result="timeout"), "it did not get ready within its start timeout"),
        (replace(STARTING, restarts=3), "it ended 3 times before it got ready"),
        (
            replace(ENDED, restarts=2, result="oom-kill"),
            "it ended 3 times before it got ready, the last time it was killed for using more memory than it may",
        ),
        (
            replace(ENDED, result="timeout", status_text="loading demo@3"),
            "it did not get ready within its start timeout (it last said: loading demo@3)",
        ),
        (
            Unit(SERVER, active="failed", result="exit-code", exit_status=238),
            "systemd could not make its directory, perhaps the disk is full",
        ),
        (Unit(SERVER, active="failed", result="exit-code", exit_status=1), "it ended with an error"),
        (
            Unit(SERVER, active="failed", result="success"),
            "systemd does not say how it ended, perhaps its directories could not be removed",
        ),
    ],
)
def test_a_server_that_could_not_speak_is_spoken_for(unit: Unit, why: str) -> None:
    """The sentence names the version, what happened, and where to look."""
    assert why_failed(unit) == f"cannot start version 3 of demo: {why}; see journalctl -u {SERVER}"


@pytest.mark.parametrize(
    ("unit", "why"),
    [
        (replace(ENDED, result="exit-code"), "it ended with an error while it served"),
        (replace(ENDED, result="watchdog"), "it no longer answered systemd's watchdog while it served"),
        (Unit(SERVER, active="active", restarts=1), "it ended while it served"),
        (
            replace(ENDED, restarts=1, result="signal"),
            "it ended 2 times while it served, the last time it was killed by a signal",
        ),
        (Unit(SERVER, active="failed", result="oom-kill"), "it was killed for using more memory than it may"),
    ],
)
def test_a_server_that_served_already_cannot_be_kept(unit: Unit, why: str) -> None:
    """Its start is not what failed."""
    assert (
        why_failed(replace(unit, ever_active=True))
        == f"cannot keep version 3 of demo: {why}; see journalctl -u {SERVER}"
    )


def test_a_step_that_takes_too_long_is_said_to() -> None:
    """A download has a deadline, not a start timeout."""
    why = why_failed(Unit("mlflow-fetch@demo.3.service", active="failed", result="timeout"))
    assert why.startswith("cannot fetch version 3 of demo: it was not done before its deadline; see ")


def test_a_unit_that_says_why_is_believed_in_printable_characters() -> None:
    """Its own sentence is better than ours, but it may not paint the terminal."""
    said = "cannot load the model: KeyError: 'x'\x1b[31m"
    assert why_failed(Unit(SERVER, active="failed", status_text=said)) == "cannot load the model: KeyError: 'x' [31m"
