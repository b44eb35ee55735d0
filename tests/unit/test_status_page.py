"""`reconciler status NAME`: all that is known of one deployment, and what to do."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from reconciler.cli.main import app
from reconciler.cli.status import document, page, units
from reconciler.cli.status.page_text import page_text
from reconciler.cli.terminal import columns
from reconciler.core.state.advice import to_do, waits_for
from reconciler.core.state.history import Sighting, observed
from reconciler.core.state.page import DeploymentPage
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import DeploymentStatus, RegistryStatus, State, Status
from reconciler.core.units.names import ReleaseId
from reconciler.files import history_file
from reconciler.files.audit_file import AuditFile
from reconciler.files.history_file import HistoryFile, read_history
from reconciler.files.status_file import read_status

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
RELEASE = ReleaseId("2.0000000b")
SERVER = f"model-pauses@{RELEASE}.service"
MESSAGE = "cannot build the environment: the model wants Python 3.13, this host has 3.11; log it with that one"
PAUSES = DeploymentStatus(
    name="pauses",
    state=State.DEGRADED,
    reason=Reason.BUILD_FAILED,
    desired_version="3",
    active_version="2",
    message=MESSAGE,
    url="http://127.0.0.1:20828",
    socket="/run/models/pauses.sock",
    example="logged",
    since=NOW - timedelta(minutes=12),
    active_since=NOW - timedelta(days=3),
    tries=4,
    next_try=NOW + timedelta(seconds=40),
)
ODD = DeploymentStatus(name="a b", state=State.NOT_DEPLOYABLE, reason=Reason.NAME_NOT_ALLOWED, since=NOW)
STATUS = Status(
    schema=1,
    host="here",
    registry=RegistryStatus(reachable=True, read_at=NOW, fresh_for=1e9),
    deployments=(PAUSES, ODD),
)
SYSTEMCTL = f"""#!/bin/sh
cat <<'END'
Id=model-pauses.socket
ActiveState=active
SubState=running
StateChangeTimestamp=@1764000000

Id={SERVER}
ActiveState=active
SubState=running
StateChangeTimestamp=@1764000000
MemoryCurrent=104857600
MemoryMax=infinity
CPUUsageNSec=61500000000
NRestarts=2
StatusText=serving; requests=120 errors=3

Id=mlflow-verify@pauses.2.service
ActiveState=active
SubState=exited

Id=mlflow-build@x.service
END
"""
JOURNALCTL = """#!/bin/sh
echo "$@" >"$ASKED"
echo '{"MESSAGE":"version 3 of pauses is wanted here","__REALTIME_TIMESTAMP":"1764321123000000"}'
echo '{"MESSAGE":[1,2],"__REALTIME_TIMESTAMP":"1764321123000000"}'
echo '{"MESSAGE":"half an ent'
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with one deployment, as systemd, the journal, the unit files and the history show it; root asks."""
    programs = {"systemctl": SYSTEMCTL, "journalctl": JOURNALCTL}
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    facts = f"[Socket]\n\n[X-Mlflow-Reconciler]\nRelease={RELEASE}\n"
    (tmp_path / "model-pauses.socket").write_text(facts)
    (tmp_path / SERVER).write_text(f"{facts}Opened=network 10.0.0.0/8\nClosed=a cache\n")
    for unit in ("mlflow-verify@pauses.2.service", "model-pauses-2.socket", "ssh.service"):
        (tmp_path / unit).write_text("")
    history = HistoryFile(tmp_path / "history.json", AuditFile(tmp_path / "audit"))
    history.write(observed(history.history, {"pauses": Sighting(ReleaseId("1.0000000a"))}, NOW - timedelta(days=4)))
    history.write(observed(history.history, {"pauses": Sighting(RELEASE)}, NOW - timedelta(days=3)))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setattr(document, "read_status", lambda: STATUS)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(history_file, "read_history", lambda: read_history(tmp_path / "history.json"))
    monkeypatch.setattr(page, "units_of", lambda name: units.units_of(name, tmp_path))
    monkeypatch.setattr(page, "facts", lambda unit: units.facts(unit, tmp_path))
    return tmp_path


def seen() -> DeploymentPage:
    """The page of the deployment of `host`."""
    return page.deployment_page("pauses", NOW)


def run(*words: str) -> Result:
    """Type a command."""
    return CliRunner().invoke(app, ["status", *words])


def test_a_page_has_all_that_is_known(host: Path) -> None:
    """Of systemd's figures, the server's own, the unit files, the history and the journal."""
    found = seen()
    assert (found.deployment, found.release) == (PAUSES, RELEASE)
    assert (found.opened, found.closed) == ("network 10.0.0.0/8", "a cache")
    socket, server = found.units  # the step is done, and of the build nothing is known
    assert (socket.unit, socket.state, socket.requests) == ("model-pauses.socket", "active (running)", None)
    assert (server.unit, server.state, server.since) == (
        SERVER,
        "active (running)",
        datetime(2025, 11, 24, 16, tzinfo=UTC),
    )
    assert (server.memory_bytes, server.memory_max_bytes, server.cpu_seconds) == (100 * 1024**2, None, 61.5)
    assert (server.restarts, server.requests, server.errors) == (2, 120, 3)
    assert found.before is not None
    [before] = found.before
    assert (before.version, before.why) == (1, "version 2 took over")
    assert found.events is not None
    assert [event.message for event in found.events] == ["version 3 of pauses is wanted here"]
    asked = (host / "asked").read_text()
    assert "MODEL=pauses _SYSTEMD_UNIT=mlflow-reconciler.service _SYSTEMD_UNIT=mlflow-registry-agent.service" in asked
    assert "--priority=info" in asked


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("width", [None, 72, 80, 130])
def test_a_page_answers_every_question(width: int | None) -> None:
    """In any window; nothing is cut."""
    lines = page_text(seen(), width, NOW)
    assert lines[0] == "here: the registry was read 0 s ago"
    assert lines[1] == "pauses: degraded since 2026-11-28 11:48:00 (12 min)"
    text = " ".join(" ".join(lines).split())
    for told in (
        MESSAGE,
        "to do mend what the message names; reconciler retry pauses tries it at once",
        "waits for its next try",
        "tries failed 4 times, next try in 40 s",
        "wanted version 3",
        f"serving version 2 (release {RELEASE}) since 2026-11-25 12:00:00 (3 d)",
        "before version 1 from 2026-11-24 12:00:00 to 2026-11-25 12:00:00: version 2 took over",
        "address http://127.0.0.1:20828, /run/models/pauses.sock",
        "example each start answers the logged example before it takes a request",
        "sandbox open to it: network 10.0.0.0/8; closed to it: a cache",
        "UNIT",
        "active (running) 368 d 100.0 MiB 1 min 2 120 3",
        "version 3 of pauses is wanted here",
    ):
        assert told in text
    if width is not None:
        assert all(columns(line) <= width for line in lines)


@pytest.mark.usefixtures("host")
def test_an_ordinary_user_sees_what_anybody_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the history; the journal looks empty. Nothing is refused for that."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", "/nonexistent")
    found = seen()
    assert (found.before, found.events, found.units) == (None, None, ())
    assert found.opened == "network 10.0.0.0/8"
    assert not [line for line in page_text(found, 80, NOW) if line.startswith("  before")]


@pytest.mark.usefixtures("host")
def test_a_name_that_no_unit_can_have_is_no_argument() -> None:
    """Its page has the status alone."""
    found = page.deployment_page("a b", NOW)
    assert (found.units, found.events) == ((), None)
    assert found.to_do == "register the model again as the message says"


@pytest.mark.usefixtures("host")
def test_a_mistyped_name_is_an_error_that_knows_better() -> None:
    """On stderr, with exit code 1."""
    done = run("pausse")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "cannot show the status of pausse: there is no such deployment; did you mean pauses?\n"
    assert run("zzz").stderr.endswith("; reconciler status lists the deployments\n")


@pytest.mark.usefixtures("host")
def test_the_command_shows_page_table_line_or_document() -> None:
    """One way at a time."""
    assert run().stdout.splitlines()[2].startswith("pauses")
    assert "to do" in run("pauses").stdout
    assert json.loads(run("--json").stdout)["deployments"][0]["tries"] == 4
    assert json.loads(run("pauses", "--json").stdout)["deployment"]["tries"] == 4
    checked = run("--check")
    assert (checked.exit_code, checked.stdout.count("\n")) == (1, 1)
    assert checked.stdout.startswith("RECONCILER WARNING: pauses is degraded: cannot build")
    assert run("a b", "--check").stdout.startswith("RECONCILER WARNING: a b is not-deployable")
    assert run("none", "--check").exit_code == 3
    both = run("--check", "--json")
    assert (both.exit_code, both.stderr.count("\n")) == (2, 1)
    assert run("--watch").stderr.startswith("cannot watch: the output is no terminal")


def test_without_a_status_every_way_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A monitor is told that nobody knows."""
    monkeypatch.setattr(document, "read_status", lambda: document_of(tmp_path / "none"))
    assert run().stderr.startswith("cannot show the status: ")
    assert run("x", "--json").exit_code == 1
    checked = run("--check")
    assert (checked.exit_code, checked.stdout.partition(": ")[0]) == (3, "RECONCILER UNKNOWN")


def document_of(path: Path) -> Status:
    """Read a status as the command does."""
    return read_status(path)


def test_every_reason_that_calls_for_a_person_says_what_to_do() -> None:
    """And what goes on by itself says what it waits for."""
    by_itself = {Reason.FETCHING, Reason.BUILDING, Reason.VERIFYING, Reason.WAITING, Reason.STARTING}
    by_itself |= {Reason.TAKING_OVER, Reason.SOAKING, Reason.GOING_BACK, Reason.NOT_SELECTED}
    by_itself |= {Reason.KEPT_FOR_A_WHILE, Reason.REPLACING_FILES}
    both = {Reason.NO_SNAPSHOT, Reason.OTHER_HOSTS_FIRST}
    for reason in set(Reason) - {Reason.NONE, Reason.UNKNOWN}:
        one = PAUSES.model_copy(update={"reason": reason, "next_try": None})
        assert bool(to_do(one)) != (reason in by_itself)
        assert bool(waits_for(one)) == (reason in by_itself or reason in both)
        assert "{" not in to_do(one)
    untried = PAUSES.model_copy(update={"state": State.SERVING, "reason": Reason.NONE, "example": "none"})
    assert to_do(untried).startswith("register a version with a logged example")
    assert waits_for(PAUSES.model_copy(update={"state": State.HELD, "next_try": None})) == "a person"


def test_a_server_that_has_ended_says_nothing_of_what_it_answered(host: Path) -> None:
    """Its counters ended with it, and 0 would be a lie."""
    ended = SYSTEMCTL.replace(
        "ActiveState=active\nSubState=running\nStateChangeTimestamp=@1764000000\nMemory", "Memory"
    )
    ended = ended.replace("NRestarts=2\n", "NRestarts=2\nActiveState=inactive\nSubState=dead\n")
    (host / "systemctl").write_text(ended.replace("StatusText=serving; requests=120 errors=3", "StatusText="))
    [server] = [unit for unit in seen().units if unit.unit == SERVER]
    assert (server.state, server.requests, server.errors) == ("inactive (dead)", None, None)
