"""`reconciler suspend`, `rollback`, `history`, `logs`, … as people type them, with a reconciler that answers."""

import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from reconciler.cli import logs
from reconciler.cli.main import app
from reconciler.cli.times import MomentError, moment_after, parse_moment, past_moment
from reconciler.core.operators.context import DeploymentSummary, RequestContext
from reconciler.core.state.history import Sighting, observed
from reconciler.core.state.ledger import Agreed, Ledger, Record
from reconciler.core.state.snapshot import Source
from reconciler.core.state.status import DeploymentStatus, RegistryStatus, State, Status
from reconciler.core.units.names import ReleaseId
from reconciler.files import history_file, request_client, status_file
from reconciler.files.audit_file import AuditFile
from reconciler.files.history_file import HistoryFile
from reconciler.files.ledger_file import LedgerFile
from reconciler.files.request_client import RequestClient
from reconciler.files.request_inbox import RequestInbox

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
R3, R4 = ReleaseId("3.00000003"), ReleaseId("4.00000004")
OTHER = DeploymentSummary((R3,), R3, R3, taken="3.0123456789abcdef")
ASKING = [["suspend", "x"], ["resume", "x"], ["retry", "x"], ["rollback", "x"], ["rollout", "x"]]


def run(*words: str) -> Result:
    """Type a command."""
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LedgerFile:
    """What a reconciler remembers that answers while the command waits; root types."""
    requests = RequestInbox(tmp_path / "requests", os.getuid())
    ledger = LedgerFile(tmp_path / "ledger.json")
    ledger.write(Ledger(schema=1).with_record("x", Record(good=R4, before=(R3,))))
    facts = RequestContext(
        Agreed(source=Source(registry="http://r")),
        {"x": DeploymentSummary((R3, R4), R4, R4), "held": DeploymentSummary(held=True), "other": OTHER},
    )

    def answer(_seconds: float) -> None:
        requests.serve(ledger, lambda _ledger: facts, datetime.now(UTC), lambda: None, lambda _: None)

    monkeypatch.setattr(
        request_client, "RequestClient", lambda: RequestClient(tmp_path / "requests", os.getuid(), pause=answer)
    )
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "jane")
    return ledger


@pytest.fixture
def no_reconciler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers; root types."""
    monkeypatch.setattr(
        request_client, "RequestClient", lambda: RequestClient(tmp_path / "requests", os.getuid(), deadline=0.0)
    )
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_a_suspension_knows_who_why_and_until_when(ledger: LedgerFile) -> None:
    """The person behind sudo; a span counts from now."""
    done = run("suspend", "x", "--why", "load test", "--for", "2h")
    assert (done.exit_code, done.stderr) == (0, "")
    assert re.fullmatch(r"x is left as it is until [-0-9]+ [:0-9]+ UTC, or until reconciler resume x\n", done.stdout)
    suspended = ledger.ledger.record("x").suspended
    assert suspended is not None
    assert suspended.until is not None
    assert (suspended.by, suspended.why) == ("jane", "load test")
    assert abs(suspended.until - datetime.now(UTC) - timedelta(hours=2)) < timedelta(minutes=1)


def test_a_refused_request_exits_1_with_its_sentence(ledger: LedgerFile) -> None:
    """On stderr; nothing on stdout."""
    done = run("resume", "x")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("cannot resume x: nobody suspended it")
    assert ledger.ledger.record("x").suspended is None


def test_as_data_an_answer_is_one_document(ledger: LedgerFile) -> None:
    """For both outcomes, on stdout, with the same exit codes."""
    done = run("rollback", "x", "--why", "slow", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {
        "schema": 1,
        "ok": True,
        "message": "x goes back to version 3; version 4 is not tried before reconciler retry x",
    }
    assert ledger.ledger.record("x").rejected[0].message == "rolled back by jane: slow"
    refused = run("rollback", "x", "--to", "9", "--json")
    assert (refused.exit_code, refused.stderr) == (1, "")
    assert json.loads(refused.stdout)["ok"] is False


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["retry", "x"], "nothing of x was rejected; what waits for its next try is tried at once\n"),
        (["rollout", "x"], "version 4 of x is rolled out anew\n"),
        (
            ["rollback", "x", "--to", "3"],
            "x goes back to version 3; version 4 is not tried before reconciler retry x\n",
        ),
        (
            ["rollout", "other", "--replace-files"],
            "other is taken out of service and its files are removed; what the registry has under number 3 now takes "
            "their place, and until it serves requests are refused\n",
        ),
        (["apply", "--confirm-prune"], "removing what the registry no longer selects: held\n"),
    ],
)
@pytest.mark.usefixtures("ledger")
def test_what_is_asked_is_done(words: list[str], said: str) -> None:
    """And the person is told."""
    done = run(*words)
    assert (done.exit_code, done.stdout, done.stderr) == (0, said, "")


@pytest.mark.usefixtures("no_reconciler")
def test_where_no_reconciler_runs_the_command_says_so(tmp_path: Path) -> None:
    """And nothing is left to be carried out later."""
    done = run("rollout", "x")
    why = "cannot roll out x: the reconciler does not answer; see systemctl status mlflow-reconciler"
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", f"{why}\n")
    assert list((tmp_path / "requests").iterdir()) == []
    assert json.loads(run("rollout", "x", "--json").stdout) == {"schema": 1, "ok": False, "message": why}


@pytest.mark.usefixtures("no_reconciler")
def test_where_nothing_is_installed_the_command_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has made a directory in which it could look for requests."""
    monkeypatch.setattr(
        request_client, "RequestClient", lambda: RequestClient(tmp_path / "none" / "requests", os.getuid())
    )
    done = run("retry", "x")
    assert done.exit_code == 1
    assert done.stderr == "cannot retry x: the reconciler does not run; see systemctl status mlflow-reconciler\n"


@pytest.mark.parametrize("words", [*ASKING, ["history", "x"], ["apply", "--confirm-prune"]], ids=" ".join)
def test_who_is_not_root_is_told_so(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is asked."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = run(*words)
    assert (done.exit_code, done.stdout) == (1, "")
    assert re.fullmatch(r"cannot [a-z ]+( x)?: .*only root may.*; run it with sudo\n", done.stderr)


@pytest.mark.parametrize("words", [*ASKING, ["history", "x"], ["logs", "x"]], ids=" ".join)
@pytest.mark.usefixtures("ledger")
def test_a_name_that_no_deployment_can_have_exits_2(words: list[str]) -> None:
    """Nothing is asked, and nothing odd reaches the terminal."""
    done = run(words[0], "../a\x1b[31m", *words[2:])
    assert (done.exit_code, done.stdout) == (2, "")
    assert re.fullmatch(
        r"cannot [a-z ]+ \.\./a \[31m: the name has characters other than .*; reconciler status lists .*\n",
        done.stderr,
    )


@pytest.mark.parametrize(
    "options",
    [["--for", "soon"], ["--for", ""], ["--until", "tomorrow"], ["--for", "1h", "--until", "2030-01-01"]],
    ids=" ".join,
)
def test_a_time_that_is_none_exits_2(ledger: LedgerFile, options: list[str]) -> None:
    """An empty one is as if it was not given."""
    done = run("suspend", "x", *options)
    if options == ["--for", ""]:
        assert done.exit_code == 0
        return
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("cannot suspend x: ")
    assert ledger.ledger.record("x").suspended is None


SPANS = {
    "90s": timedelta(seconds=90),
    "30m": timedelta(minutes=30),
    "30 min": timedelta(minutes=30),
    "2h": timedelta(hours=2),
    "1h30m": timedelta(minutes=90),
    "1D 2H": timedelta(hours=26),
    "1w": timedelta(weeks=1),
}


@pytest.mark.parametrize("span", list(SPANS))
def test_a_span_is_read(span: str) -> None:
    """Of one unit or several."""
    assert moment_after(span, NOW) == NOW + SPANS[span]


@pytest.mark.parametrize("span", ["2", "h", "0h", "-1h", "2h soon", "1.5h", "999999w", "٣h"])
def test_another_span_is_refused(span: str) -> None:
    """With what it should be."""
    with pytest.raises(MomentError, match=r"should be a span|longer than"):
        moment_after(span, NOW)


def test_a_moment_is_read_in_the_hosts_time_zone_unless_it_names_one() -> None:
    """A date alone is its first second."""
    assert parse_moment("2026-11-25T12:00+00:00") == parse_moment("2026-11-25T13:00+01:00") == NOW
    at_noon = datetime(2026, 11, 25, 12, tzinfo=UTC)
    assert past_moment("11:59", at_noon) == at_noon - timedelta(minutes=1)
    assert past_moment("12:01", at_noon) == at_noon - timedelta(hours=23, minutes=59)
    assert past_moment("20261120", at_noon) == parse_moment("2026-11-20")
    for text in ("2026", "2026-11", "1e5"):
        with pytest.raises(MomentError):
            past_moment(text, at_noon)
    assert parse_moment("2026-11-25") == datetime(2026, 11, 25).astimezone()
    assert parse_moment("2026-11-25 12:00").tzinfo == UTC
    with pytest.raises(MomentError, match="should be a moment such as"):
        parse_moment("25.11.2026")


def test_without_a_login_the_account_asks(ledger: LedgerFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a script; at a terminal it is who logged in."""

    def no_terminal() -> str:
        raise OSError

    monkeypatch.delenv("SUDO_USER")
    for login, expected in ((no_terminal, "root"), (lambda: "bob", "bob")):
        monkeypatch.setattr(os, "getlogin", login)
        monkeypatch.setattr(os, "getuid", lambda: 0)
        run("suspend", "x")
        suspended = ledger.ledger.record("x").suspended
        assert suspended is not None
        assert suspended.by == expected


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Publishes a status with these deployments."""

    def publish(**states: State) -> None:
        deployments = tuple(
            DeploymentStatus(name=name, state=state, message=f"why {name}", since=NOW) for name, state in states.items()
        )
        registry = RegistryStatus(reachable=True, read_at=NOW)
        status = Status(schema=1, host="here", registry=registry, deployments=deployments)
        monkeypatch.setattr(status_file, "read_status", lambda: status)

    return publish


def test_apply_says_what_is_held_and_what_to_type(publish: Callable[..., None]) -> None:
    """It exits 2, as a plan does that has something to do."""
    publish(a=State.HELD, b=State.SERVING)
    done = run("apply")
    assert done.exit_code == 2
    assert done.stdout == "a: why a\n"
    assert json.loads(run("apply", "--json").stdout) == {"schema": 1, "held": [{"name": "a", "message": "why a"}]}


def test_apply_has_nothing_to_say_when_nothing_is_held(publish: Callable[..., None]) -> None:
    """All else is applied unasked."""
    publish(b=State.SERVING)
    done = run("apply")
    assert (done.exit_code, done.stdout) == (0, "nothing waits for confirmation\n")


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("0123456789ab",), 1, "cannot apply that plan: changes of this host need no yes"),
        (
            ("pl\x1ban",),
            2,
            "cannot apply 'pl an': it is no plan's name; copy the one that reconciler plan shows",
        ),
        (("0123456789ab", "--confirm-prune"), 2, "cannot confirm both at once: apply the plan without an option"),
    ],
    ids=["a plan of nothing", "mistyped", "with an option"],
)
def test_only_a_plan_that_was_named_can_be_applied(words: tuple[str, ...], code: int, why: str) -> None:
    """The reconciler says whether it is that of now; a word that can be no plan's name is not sent."""
    done = run("apply", *words)
    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr.startswith(why)


@pytest.fixture
def remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A history: version 3 ran, version 4 never did, another model runs; root looks."""
    path = tmp_path / "history.json"
    read = history_file.read_history
    monkeypatch.setattr(history_file, "read_history", lambda file=path: read(file))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    file = HistoryFile(path, AuditFile(path.with_name("audit")))
    file.write(observed(file.history, {"x": Sighting(R3), "y": Sighting(R3)}, NOW))
    gone = Sighting(removal="killed\x1b[31m", rejected={R4: "cannot load"})
    file.write(observed(file.history, {"x": gone, "y": Sighting(R3)}, NOW))
    return path


@pytest.mark.usefixtures("remembered")
def test_the_history_has_a_row_for_each_run() -> None:
    """The latest last; what never served is there, too."""
    done = run("history", "x")
    heading, ran, failed = done.stdout.splitlines()
    assert heading.split() == ["VERSION", "RELEASE", "BEGAN", "ENDED", "WHY"]
    when = f"{NOW.astimezone():%Y-%m-%d %H:%M:%S}"
    assert re.fullmatch(rf"3 +{R3} +{when} +{when} +killed \[31m *", ran)
    assert re.fullmatch(rf"4 +{R4} +never served +{when} +cannot load *", failed)
    assert "serves" in run("history", "y").stdout


@pytest.mark.usefixtures("remembered")
def test_the_history_as_data_has_the_same_rows() -> None:
    """With moments that programs read."""
    document = json.loads(run("history", "x", "--json").stdout)
    assert (document["schema"], document["name"]) == (1, "x")
    rows = [(row["version"], row["release"], row["began"], row["why"]) for row in document["runs"]]
    assert rows == [(3, R3, "2026-11-25T12:00:00Z", "killed [31m"), (4, R4, None, "cannot load")]


@pytest.mark.usefixtures("remembered")
def test_the_history_of_what_never_ran_says_so(publish: Callable[..., None]) -> None:
    """That is no failure of a deployment that there is; a name that there is not was mistyped."""
    publish(z=State.PREPARING)
    done = run("history", "z")
    assert (done.exit_code, done.stdout) == (0, "no release of z served here, as far back as the history goes\n")
    assert json.loads(run("history", "z", "--json").stdout)["runs"] == []
    unknown = run("history", "zz")
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert unknown.stderr == "cannot show the history of zz: there is no such deployment; did you mean z?\n"


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ([], []),
        (["-f"], ["--follow"]),
        (["-n", "5"], ["--lines=5"]),
        (["--lines", "0", "--follow"], ["--follow", "--lines=0"]),
    ],
    ids=str,
)
def test_logs_are_the_journals(
    options: list[str], more: list[str], monkeypatch: pytest.MonkeyPatch, publish: Callable[..., None]
) -> None:
    """The command becomes journalctl."""
    publish(x=State.SERVING)
    called: list[Any] = []
    monkeypatch.setattr(os, "execvp", lambda *arguments: called.append(arguments))
    assert run("logs", "x", *options).exit_code == 0
    assert called == [("journalctl", ["journalctl", "--no-hostname", "MODEL=x", *more])]


@pytest.mark.parametrize("since", ["2h", "1h60m", "2026-11-25T10:00Z"])
def test_logs_begin_when_they_should(since: str, monkeypatch: pytest.MonkeyPatch, publish: Callable[..., None]) -> None:
    """A span before now, which journalctl would not take, or a moment."""
    publish(x=State.SERVING)
    monkeypatch.setattr(logs, "datetime", SimpleNamespace(now=lambda _zone: NOW))
    called: list[Any] = []
    monkeypatch.setattr(os, "execvp", lambda *arguments: called.append(arguments))
    assert run("logs", "x", "--since", since).exit_code == 0
    [(_, arguments)] = called
    assert arguments[-1] == f"--since=@{int((NOW - timedelta(hours=2)).timestamp())}"


def test_a_beginning_that_is_none_is_refused() -> None:
    """Before the journal is asked."""
    for since in ("yesterday", "99999w99999w99999w99999w99999w"):
        done = run("logs", "x", "--since", since)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.endswith("or a moment such as 2026-11-30T18:00\n")


def test_the_log_of_a_mistyped_name_is_an_error(
    monkeypatch: pytest.MonkeyPatch, publish: Callable[..., None], tmp_path: Path
) -> None:
    """A removed deployment is known to the journal still."""
    publish(pauses=State.SERVING)
    (tmp_path / "journalctl").write_text("#!/bin/sh\n[ $1$2 = --quiet--field=MODEL ] && printf 'gone\nolder\n'\n")
    (tmp_path / "journalctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    called: list[Any] = []
    monkeypatch.setattr(os, "execvp", lambda *arguments: called.append(arguments))
    for typed, meant in (("pausse", "pauses"), ("oldr", "older")):
        done = run("logs", typed)
        assert (done.exit_code, done.stdout, called) == (1, "", [])
        assert done.stderr == f"cannot show the log of {typed}: there is no such deployment; did you mean {meant}?\n"
    assert run("logs", "gone").exit_code == 0
    assert len(called) == 1


def test_without_journalctl_logs_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence, no traceback."""
    monkeypatch.setenv("PATH", "/nonexistent")
    done = run("logs", "x")
    assert done.exit_code == 1
    assert done.stderr.startswith("cannot show the log of x: journalctl: ")


def test_every_command_is_in_the_overview_and_explains_itself() -> None:
    """Those of the contract, and `apply`."""
    overview = run("--help").stdout
    for command in ("suspend", "resume", "retry", "rollback", "rollout", "apply", "history", "logs", "plan", "status"):
        assert re.search(rf"^\W*{command}  +[A-Z]", overview, re.MULTILINE)
        assert run(command, "--help").exit_code == 0
