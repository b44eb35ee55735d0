"""`reconciler wait`: the outcomes, and the command around them."""

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reconciler.cli.main import app
from reconciler.cli.status import document
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import DeploymentStatus, RegistryStatus, State, Status
from reconciler.core.state.waiting import Outcome, waited
from reconciler.files.status_file import NoStatusError

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def one(state: State, reason: Reason = Reason.NONE, **fields: Any) -> Status:
    """Return a status of one deployment, whose version 3 is wanted."""
    given = {"desired_version": "3", "active_version": "2", "example": "logged", **fields}
    deployment = DeploymentStatus(name="pauses", state=state, reason=reason, since=NOW, **given)
    registry = RegistryStatus(reachable=True, read_at=NOW, fresh_for=1e9)
    return Status(schema=1, host="here", registry=registry, deployments=(deployment,))


SERVES = one(State.SERVING, active_version="3")


@pytest.mark.parametrize("version", [None, "3"])
def test_a_version_serves_once_its_soak_is_over(version: str | None) -> None:
    """An idle one as well: it answers when somebody asks."""
    assert waited(SERVES, "pauses", version) == (Outcome.SERVES, "version 3 of pauses serves")
    assert waited(one(State.IDLE, active_version="3"), "pauses", version).outcome is Outcome.SERVES
    soaks = one(State.ROLLING_OUT, Reason.SOAKING, active_version="3", message="it is watched for 120 s")
    assert waited(soaks, "pauses", version) == (
        Outcome.NOT_YET,
        "version 3 of pauses is rolling-out: it is watched for 120 s",
    )


def test_that_nothing_was_tried_with_it_is_told() -> None:
    """It serves all the same: a host that does not want that has policy.require_example."""
    told = waited(one(State.SERVING, active_version="3", example="none"), "pauses", "3")
    assert told == (
        Outcome.SERVES,
        "version 3 of pauses serves; nothing was tried with it, as it has no logged example",
    )


def test_another_version_is_not_the_one_that_was_asked_for() -> None:
    """Right after a promotion the host still wants, and serves, the former one."""
    assert waited(SERVES, "pauses", "4") == (
        Outcome.NOT_YET,
        "version 3 of pauses is wanted on this host; version 4 is not",
    )
    gone = one(State.REMOVING, desired_version=None, message="it is kept for 60 s")
    assert waited(gone, "pauses", None) == (
        Outcome.NOT_YET,
        "no version of pauses is wanted on this host (removing: it is kept for 60 s)",
    )
    assert waited(SERVES, "iris", None) == (Outcome.NOT_YET, "there is no deployment iris on this host")


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (State.DEGRADED, Reason.START_FAILED),
        (State.FAILED, Reason.START_FAILED),
        (State.DEGRADED, Reason.ERRORS_IN_SOAK),
        (State.DEGRADED, Reason.ROLLED_BACK),
        (State.FAILED, Reason.NO_EXAMPLE),
        (State.NOT_DEPLOYABLE, Reason.NOT_ALLOWED),
    ],
)
def test_a_rejected_version_ends_the_wait_with_its_reason(state: State, reason: Reason) -> None:
    """Nothing tries it again unless somebody asks for that."""
    told = waited(one(state, reason, message="it raised KeyError"), "pauses", "3")
    assert told == (Outcome.REJECTED, "version 3 of pauses is rejected on this host: it raised KeyError")


@pytest.mark.parametrize(
    "status",
    [
        one(State.DEGRADED, Reason.FETCH_FAILED, tries=2),
        one(State.FAILED, Reason.START_FAILED, active_version="3", tries=1),
        one(State.HELD, Reason.HELD),
        one(State.SUSPENDED, Reason.SUSPENDED),
        one(State.ROLLING_OUT, Reason.GOING_BACK),
    ],
    ids=["is tried again", "served before and is started again", "waits for a person", "suspended", "goes back"],
)
def test_what_may_still_end_well_is_not_rejected(status: Status) -> None:
    """The wait goes on until its own end."""
    assert waited(status, "pauses", "3").outcome is Outcome.NOT_YET


@pytest.fixture
def shown() -> dict[str, dict[str, str]]:
    """What systemd shows of our services; nothing where there is no systemd."""
    return {}


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: dict[str, dict[str, str]]) -> Path:
    """Where the command finds the status."""
    file = tmp_path / "status.json"

    def read() -> Status:
        if not file.exists():
            raise NoStatusError("No such file or directory")
        return Status.model_validate_json(file.read_bytes())

    monkeypatch.setattr(document, "read_status", read)
    monkeypatch.setattr(document, "show", lambda *_: shown)
    return file


def publish(file: Path, status: Status) -> None:
    """Put a status in its place at once, as the reconciler does."""
    new = file.with_suffix(".new")
    new.write_text(status.model_dump_json(by_alias=True))
    new.rename(file)


def test_the_command_ends_when_the_status_changes(published: Path) -> None:
    """It says meanwhile how things stand, once for each change, on stderr."""
    publish(published, one(State.PREPARING, Reason.FETCHING, message="fetches"))
    change = threading.Timer(0.1, publish, [published, SERVES])
    change.start()
    done = CliRunner().invoke(app, ["wait", "pauses", "--version", "3", "--timeout", "60s"])
    change.join()
    assert (done.exit_code, done.stdout) == (0, "version 3 of pauses serves\n")
    assert done.stderr in ("", "version 3 of pauses is preparing: fetches\n")


def test_the_command_ends_at_once_with_a_rejected_version(published: Path) -> None:
    """The reason is its output, for whoever called it."""
    publish(published, one(State.DEGRADED, Reason.START_FAILED, message="it raised KeyError"))
    done = CliRunner().invoke(app, ["wait", "pauses", "--version", "3"])
    assert (done.exit_code, done.stdout) == (
        1,
        "version 3 of pauses is rejected on this host: it raised KeyError\n",
    )


def test_the_command_believes_no_status_that_nobody_keeps_up(published: Path, shown: dict[str, dict[str, str]]) -> None:
    """The reconciler ended days ago, and what it wrote last is still there."""
    publish(published, SERVES)
    shown["mlflow-reconciler.service"] = {"ActiveState": "failed", "SubState": "failed", "StatusText": ""}
    done = CliRunner().invoke(app, ["wait", "pauses", "--timeout", "1s"])
    assert done.exit_code == Outcome.NOT_YET
    assert done.stdout.startswith("version 3 of pauses serves; mlflow-reconciler.service is failed, so this is how")


def test_the_command_says_why_nothing_comes(published: Path) -> None:
    """The version may be waited for in vain: nobody reads the registry."""
    away = RegistryStatus(reachable=False, read_at=None, message="cannot read the registry: 401")
    publish(published, SERVES.model_copy(update={"registry": away}))
    done = CliRunner().invoke(app, ["wait", "pauses", "--version", "4", "--timeout", "1s"])
    assert done.exit_code == Outcome.NOT_YET
    assert (
        done.stdout == "version 3 of pauses is wanted on this host; version 4 is not; cannot read the registry: 401\n"
    )


def test_the_command_says_at_its_end_what_it_waited_for(published: Path) -> None:
    """Before the first pass there is no status at all."""
    done = CliRunner().invoke(app, ["wait", "pauses", "--timeout", "1s"])
    assert done.exit_code == Outcome.NOT_YET
    assert done.stdout == ("there is no status: No such file or directory; see systemctl status mlflow-reconciler\n")
    assert not published.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a b"], "cannot wait for a b: "),
        (["pauses", "--timeout", "soon"], "cannot wait for pauses: 'soon' should be a span of time such as 30m"),
        (["pauses", "--version", "0"], "Invalid value for"),
    ],
)
def test_a_mistyped_command_is_refused(arguments: list[str], said: str) -> None:
    """Before it waits for what can never be."""
    done = CliRunner().invoke(app, ["wait", *arguments])
    assert done.exit_code == 2
    assert said in done.stderr
