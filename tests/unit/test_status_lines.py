"""The lines that pass between programs: each reader understands its writer, and takes nothing else for a report."""

import argparse

import pytest

from modelserver import cli
from modelserver.errors import CannotServeError
from modelserver.model.blame import Stage
from modelserver.model.error_log import ModelErrorLog
from modelserver.systemd.counters import Counters
from modelserver.systemd.notify import Notifier
from modelserver.systemd.standby import Standby
from modelserver.systemd.status_line import StatusLine
from modelserver.systemd.watchdog import Watchdog
from reconciler.core.units import status_lines
from reconciler.core.units.logged_example import LoggedExample
from reconciler.core.units.names import ReleaseId
from reconciler.core.units.unit_facts import NO_FACTS, UnitFacts, read_facts
from reconciler.steps import check_files

FILES, ENVIRONMENT = "a" * 64, "b" * 32


class Told(Notifier):
    """Keeps the lines instead of telling systemd."""

    def __init__(self) -> None:
        super().__init__(None)
        self.lines: list[str] = []

    def status(self, line: str, *_states: str) -> bool:
        """Keep a line."""
        self.lines.append(line)
        return True


@pytest.mark.parametrize("environment", [ENVIRONMENT, "host"])
@pytest.mark.parametrize("example", LoggedExample)
def test_what_a_step_reports_is_read_back(environment: str, example: LoggedExample) -> None:
    """A fetch reports three things, a build its content; a line of another form reports nothing."""
    line = status_lines.fetched("fetched 3 files, 1.0 KiB", example, FILES, environment)
    assert (status_lines.read_files(line), status_lines.read_environment(line)) == (FILES, environment)
    assert status_lines.read_example(line) is example
    earlier = line.replace(f"; example={example}", "")
    assert (status_lines.read_files(earlier), status_lines.read_environment(earlier)) == (FILES, environment)
    assert status_lines.read_environment(status_lines.verified("verified 3 files", environment)) == environment
    assert status_lines.read_built(status_lines.built("built it", FILES)) == FILES
    said = f"; example={example}"
    assert status_lines.read_example(earlier) is None
    assert status_lines.read_example(f"{said}{earlier}") is None
    for odd in (
        "",
        "fetched 3 files",
        said,
        f"{line} and more",
        line.replace("=a", "=g"),
        status_lines.built("x", "a"),
    ):
        assert status_lines.read_files(odd) is None
        assert status_lines.read_example(odd) is None
        assert status_lines.read_built(odd) is None


def test_what_a_server_says_of_itself_is_read_back() -> None:
    """Whether it stands by and what it has counted: the server writes both itself."""
    notifier, counters = Told(), Counters()
    status_line = StatusLine(notifier, counters, "demo@3.0123abcd", "its example was answered", soak=120)
    status_line.ready(0.0, standing_by=False)
    counters.count(release_failed=False)
    counters.count(release_failed=True)
    status_line.set_standby(1.0, standing_by=True)
    answering, standing_by = notifier.lines
    assert [status_lines.stands_by(line) for line in (answering, standing_by)] == [False, True]
    assert status_lines.read_counters(answering) == (0, 0)
    assert status_lines.read_counters(standing_by) == (2, 1)
    assert status_lines.read_counters("answering; requests=many errors=0") == (0, 0)
    assert status_lines.read_last_error(standing_by) == ""


def test_the_last_error_of_a_server_is_read_back_without_what_the_model_said() -> None:
    """Its type and place; the message of an exception may quote a patient's data, and stays in the journal."""
    notifier, log = Told(), ModelErrorLog()
    status_line = StatusLine(
        notifier, Counters(3, 1), "demo@3.0123abcd", "loaded", soak=120, last_error=lambda: log.last
    )
    try:
        raise ZeroDivisionError("Maria Silva; requests=9 errors=9")
    except ZeroDivisionError as error:
        log.release_failed("/predict", Stage.PREDICTING, error)
        line = error.__traceback__.tb_lineno if error.__traceback__ else 0
    status_line.ready(0.0, standing_by=False)
    assert status_lines.read_last_error(notifier.lines[-1]) == f"ZeroDivisionError in line {line}"
    assert status_lines.read_counters(notifier.lines[-1]) == (3, 1)
    log.answer_refused("/predict", ValueError("Maria Silva"))
    status_line.set_standby(1.0, standing_by=True)
    assert status_lines.read_last_error(notifier.lines[-1]) == "an answer that breaks the contract of /predict"


@pytest.mark.parametrize(
    ("told", "read"),
    [
        ("MariaSilva19610302 (m.py line 3, in predict)", "an exception that is not Python's own"),
        ("MariaSilva (m.py line 3, in predict)", "an exception that is not Python's own in line 3"),
        ("Maria Silva 1961-03-02 tosse", "an exception that is not Python's own"),
        ("KeyError (Maria Silva, positive line 3, in Maria)", "KeyError in line 3"),
        ("ValueError", "ValueError"),
    ],
)
def test_nothing_that_a_model_made_up_is_repeated(told: str, read: str) -> None:
    """Its process has seen patients, and status, ledger and tags are for everybody."""
    line = f"answering as x@1.00000000; loaded; last error: {told}; requests=9 errors=9"
    assert status_lines.read_last_error(line) == read


def test_what_the_host_did_to_a_server_is_told_from_what_it_did_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing socket and changed files: the server and the check before its start write the words themselves."""
    monkeypatch.setattr("modelserver.http.sockets.inherited", list)
    options = argparse.Namespace(bind=None, sockets=2)
    with pytest.raises(CannotServeError) as missing:
        cli._serve(options, Standby(), Told(), Watchdog(Told(), 0.0), {})
    assert status_lines.blames_the_host(str(missing.value))
    assert status_lines.says_why_it_failed(str(missing.value))
    assert status_lines.blames_the_host(check_files.CHANGED)
    assert not status_lines.blames_the_host("cannot load the model: it is a test")


def test_an_agent_that_cannot_read_the_registry_is_told_from_one_with_another_trouble() -> None:
    """By `reconciler check`, which gives another advice."""
    line = status_lines.cannot_read_registry("http://registry.example", "no route to host")
    assert line == "cannot read the registry at http://registry.example: no route to host"
    assert status_lines.is_about_the_registry(line)
    assert not status_lines.is_about_the_registry("cannot write /run/x: no space left on device")


ALL_FACTS = UnitFacts(
    deployment="demo",
    release=ReleaseId("3.0123abcd"),
    environment=ENVIRONMENT,
    runtime="native",
    source="0123456789abcdef",
    asked="fedcba9876543210",
    port=20001,
    address="127.0.0.1",
    done_for="0000111122223333",
    check="4444555566667777",
    may_idle=True,
    opened="network 10.0.0.0/8; a cache",
    has_cache=True,
    recreate=True,
    example=LoggedExample.UNUSABLE,
    digest="c" * 64,
)


@pytest.mark.parametrize("facts", [ALL_FACTS, NO_FACTS])
def test_the_facts_of_a_unit_are_read_back(facts: UnitFacts) -> None:
    """All of them, and none: what is not said takes no line."""
    assert read_facts(facts.write()) == facts
    assert NO_FACTS.write() == {}


@pytest.mark.parametrize(
    ("lines", "facts"),
    [
        ({"Release": "3"}, NO_FACTS),
        ({"Release": "3.0123abcd "}, NO_FACTS),
        ({"Port": "-1"}, NO_FACTS),
        ({"Port": "\N{FULLWIDTH DIGIT ONE}"}, NO_FACTS),
        ({"Port": "123456"}, NO_FACTS),
        ({"Idle": "no"}, NO_FACTS),
        ({"Example": "yes"}, NO_FACTS),
        ({"Unheard": "of"}, NO_FACTS),
        # A unit from before there was a fact for it.
        ({"Opened": "a cache"}, UnitFacts(opened="a cache", has_cache=True)),
    ],
)
def test_a_fact_that_somebody_edited_counts_as_missing(lines: dict[str, str], facts: UnitFacts) -> None:
    """Whoever reads it need not think of that."""
    assert read_facts(lines) == facts
