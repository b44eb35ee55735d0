"""The status is true at the moment in which somebody asks, not at that of the last pass."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.status import document as status_document
from reconciler.core.state.as_of_now import AGENT, FAILS, RECONCILER, Service, as_of_now
from reconciler.core.state.status import RegistryStatus, Status
from reconciler.core.units import paths

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
READ = NOW - timedelta(seconds=25)
RUNS = {AGENT: Service("active", "read 2 models at http://r, 2 selected"), RECONCILER: Service("active")}
DEAD = "cannot read the registry at http://127.0.0.1:5999: connection refused (try 1)"


def told(**fields: Any) -> Status:
    """What the last pass published."""
    registry = RegistryStatus(**{"reachable": True, "read_at": READ, "fresh_for": 40.0, **fields})
    return Status(schema=1, host="here", registry=registry)


def ago(seconds: float) -> datetime:
    """A moment."""
    return NOW - timedelta(seconds=seconds)


def test_a_reading_after_the_last_pass_counts() -> None:
    """The agent touches its file each time; passes are half a minute apart."""
    assert as_of_now(told(), ago(3), RUNS, NOW).registry == told(read_at=ago(3)).registry


def test_a_snapshot_ages_between_passes() -> None:
    """And becomes fresh again."""
    late = as_of_now(told(read_at=ago(41)), ago(41), RUNS, NOW).registry
    assert (late.reachable, late.message.partition(";")[0]) == (False, "the snapshot was not confirmed lately")
    away = told(reachable=False, read_at=ago(60), message="cannot read the registry")
    fresh = as_of_now(away, ago(2), RUNS, NOW).registry
    assert (fresh.reachable, fresh.message, fresh.read_at) == (True, "", ago(2))


def test_the_agents_own_words_are_told_before_the_snapshot_is_old() -> None:
    """For forty seconds the last reading counts as fresh: whoever changed registry.uri need not wait for that."""
    registry = as_of_now(told(), READ, {**RUNS, AGENT: Service("active", DEAD)}, NOW).registry
    assert (registry.reachable, registry.message) == (True, DEAD)
    stopped = as_of_now(told(), READ, {**RUNS, AGENT: Service("failed")}, NOW).registry
    assert stopped.message.startswith(f"{AGENT} is failed; see systemctl status")


def test_a_registry_that_was_never_read_is_told_in_the_agents_words() -> None:
    """That its file is missing is a consequence."""
    never = told(reachable=False, read_at=None, message="cannot use the agent's snapshot: No such file")
    assert as_of_now(never, None, {AGENT: Service("active", DEAD)}, NOW).registry.message == DEAD
    assert as_of_now(never, None, RUNS, NOW) == never


def test_a_reconciler_that_does_not_run_is_told() -> None:
    """Its status stays in /run, and looks alive."""
    dead = as_of_now(told().model_copy(update={"trouble": "a disk"}), READ, {RECONCILER: Service("inactive")}, NOW)
    assert dead.trouble == (
        "mlflow-reconciler.service is inactive, so this is how things stood when it ended; see systemctl status "
        "mlflow-reconciler.service; a disk"
    )
    assert as_of_now(told(), READ, {RECONCILER: Service("activating")}, NOW).trouble == ""
    again = as_of_now(told(), READ, {RECONCILER: Service(FAILS)}, NOW).trouble
    assert again.startswith("mlflow-reconciler.service fails and is started again and again, so this is how")


@pytest.mark.parametrize("touched", [None, ago(-3600), ago(3600)], ids=["unseen", "from the future", "older"])
def test_an_odd_time_stamp_changes_nothing(touched: datetime | None) -> None:
    """The file belongs to a less trusted user."""
    assert as_of_now(told(), touched, {}, NOW) == told()


def test_a_status_of_an_earlier_version_is_shown_as_it_is() -> None:
    """It does not say for how long a snapshot is fresh."""
    assert as_of_now(told(fresh_for=None), ago(1), RUNS, NOW) == told(fresh_for=None)


def test_what_is_seen_now_is_read_from_file_and_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snapshot's own time, and the status lines of both services; a link is nothing to go by."""
    registry, link = tmp_path / "registry.json", tmp_path / "link"
    registry.write_text("{}")
    link.symlink_to(registry)
    os.utime(registry, (ago(4).timestamp(), ago(4).timestamp()))
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(
        "#!/bin/sh\n"
        f"printf '%s\\n' Id={RECONCILER} ActiveState=active StatusText='2 serving' '' "
        f"Id={AGENT} StatusText='{DEAD} a=b' ActiveState=activating SubState=auto-restart\n"
    )
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(status_document, "read_status", told)
    for path, read_at in ((registry, ago(4)), (link, READ), (tmp_path / "none", READ)):
        monkeypatch.setattr(paths, "REGISTRY_FILE", str(path))
        seen = status_document.current_status(NOW).registry
        assert (seen.read_at, seen.message) == (read_at, f"{DEAD} a=b")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert status_document.current_status(NOW) == told()
