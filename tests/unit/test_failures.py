"""When a unit counts as failed, and the sentence that says why."""

from dataclasses import replace

import pytest

from reconciler.core.planner.evidence import heard
from reconciler.core.state.ledger import Ledger, Record
from reconciler.core.units.failures import is_the_hosts_fault, may_be_the_hosts_fault, why_failed
from reconciler.core.units.names import ReleaseId
from reconciler.core.units.observed import File, Observed, Unit
from reconciler.core.units.unit_facts import read_facts

SERVER = "model-demo@3.0123abcd.service"
STARTING = Unit(SERVER, active="activating", sub="start")
ENDED = replace(STARTING, sub="auto-restart")

R2, R3 = ReleaseId("2.0123abcd"), ReleaseId("3.0123abcd")


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
        (replace(STARTING, restarts=3), "it ended 3 times before it got ready"),
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
    assert why_failed(unit) == f"cannot start version 3 of demo: {why}; see the journal of {SERVER}"


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
    ],
)
def test_a_server_that_served_already_cannot_be_kept(unit: Unit, why: str) -> None:
    """Its start is not what failed."""
    assert (
        why_failed(replace(unit, ever_active=True))
        == f"cannot keep version 3 of demo: {why}; see the journal of {SERVER}"
    )


@pytest.mark.parametrize(
    ("unit", "why", "limit"),
    [
        (replace(ENDED, result="timeout"), "it did not get ready within its start timeout", "start_timeout"),
        (
            replace(ENDED, result="timeout", status_text="loading demo@3"),
            "it did not get ready within its start timeout (it last said: loading demo@3)",
            "start_timeout",
        ),
        (
            replace(ENDED, restarts=2, result="oom-kill"),
            "it ended 3 times before it got ready, the last time it was killed for using more memory than it may",
            "memory_max",
        ),
        (
            Unit(SERVER, active="failed", result="signal", exit_status=9),
            "it was killed by a signal, perhaps for using more memory than it may",
            "memory_max",
        ),
    ],
)
def test_the_limit_that_a_server_ran_into_is_named(unit: Unit, why: str, limit: str) -> None:
    """The sentence says which setting to raise; a limit of a step has none."""
    remedy = f"raise deploy.{limit} or its tag, or see the journal of {SERVER}"
    assert why_failed(unit) == f"cannot start version 3 of demo: {why}; {remedy}"
    step = why_failed(replace(unit, name="mlflow-fetch@demo.3.service", status_text=""))
    assert "deploy." not in step


def test_a_step_that_takes_too_long_is_said_to() -> None:
    """A download has a deadline, not a start timeout."""
    why = why_failed(Unit("mlflow-fetch@demo.3.service", active="failed", result="timeout"))
    assert why.startswith("cannot fetch version 3 of demo: it was not done before its deadline; see ")


def test_a_unit_that_says_why_is_believed_in_printable_characters() -> None:
    """Its own sentence is better than ours, but it may not paint the terminal."""
    said = "cannot load the model: KeyError: 'x'\x1b[31m"
    assert why_failed(Unit(SERVER, active="failed", status_text=said)) == "cannot load the model: KeyError: 'x' [31m"


@pytest.mark.parametrize(
    "unit",
    [
        Unit(SERVER, active="failed", result="exit-code", ever_active=True),
        Unit(SERVER, active="active", ever_active=True),
        replace(ENDED, restarts=2, result="signal", ever_active=True),
        Unit(SERVER, active="reloading", ever_active=True),
        Unit(SERVER, active="failed", result="exit-code", may_repeat_requests=True),
    ],
)
@pytest.mark.parametrize("said", ["cannot keep it: Ana Souza 1961", "cannot listen: Ana Souza 1961", "Ana Souza 1961"])
def test_a_server_that_may_know_a_request_is_not_quoted(unit: Unit, said: str) -> None:
    """Whatever state it brought itself into."""
    why = why_failed(replace(unit, status_text=said))
    assert "Ana" not in why
    assert why.startswith("cannot ")


def test_what_a_step_says_is_told_however_often_it_worked() -> None:
    """It is a program of ours."""
    unit = Unit("mlflow-verify@demo.3.service", active="failed", ever_active=True, status_text="cannot verify it: gone")
    assert why_failed(unit) == "cannot verify it: gone"


@pytest.mark.parametrize(
    ("unit", "host", "perhaps"),
    [
        (Unit(SERVER, active="failed", result="resources"), True, False),
        (Unit(SERVER, active="failed", exit_status=226, set_up=False), True, False),
        (Unit(SERVER, active="failed", exit_status=226), False, True),
        (Unit(SERVER, active="failed", exit_status=226, set_up=True), False, False),
        (Unit(SERVER, active="failed", exit_status=226, ever_active=True), False, False),
        (Unit(SERVER, active="failed", exit_status=0, set_up=False), True, False),
        (Unit(SERVER, active="failed", exit_status=78, status_text="cannot listen: 0 of 2"), False, True),
        (Unit(SERVER, active="failed", exit_status=78, status_text="cannot serve these files: x"), False, True),
        (Unit(SERVER, active="failed", status_text="cannot listen: 0 of 2", ever_active=True), False, False),
        (Unit(SERVER, active="failed", exit_status=78), False, False),
    ],
)
def test_only_systemd_says_for_certain_that_the_host_failed_a_server(unit: Unit, host: bool, perhaps: bool) -> None:
    """An exit status and a status line are the process's own; once it served they count for nothing."""
    assert (is_the_hosts_fault(unit), may_be_the_hosts_fault(unit)) == (host, perhaps)


@pytest.mark.parametrize(
    ("opened", "record", "active", "may_repeat_requests"),
    [
        ("", Record(good=R3), R3, False),
        ("a cache", Record(), R3, False),
        ("a cache", Record(good=R2), R2, False),
        ("a cache", Record(good=R2), R3, True),
        ("a cache", Record(good=R3), R2, True),
        ("a cache", Record(good=R2, before=(R3,)), R2, True),
    ],
)
def test_a_server_with_a_directory_of_its_own_remembers_over_a_boot(
    opened: str, record: Record, active: str, may_repeat_requests: bool
) -> None:
    """Once it had the address, and something before it proved itself, it may have written down what it was sent."""
    files = {
        SERVER: File(SERVER, facts=read_facts({"Opened": opened})),
        "model-demo.socket": File("model-demo.socket", facts=read_facts({"Release": active})),
    }
    seen = heard(Observed({SERVER: STARTING}, files), Ledger(schema=1, records={"demo": record}))
    assert seen.units[SERVER].may_repeat_requests is may_repeat_requests
