"""What `reconciler check` finds of the registry, the policy and the limits, at the moment in which it is asked."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from reconciler.check import limits, registry
from reconciler.check.host import Finding
from reconciler.core.state.as_of_now import AGENT, RECONCILER
from reconciler.core.state.snapshot import Snapshot
from reconciler.core.state.status import RegistryStatus, Status
from reconciler.daemon import wiring
from reconciler.files.snapshot_file import SnapshotReading
from reconciler.settings.model import DeploySettings, PolicySettings, RegistrySettings, RolloutSettings, Settings

URI = "http://127.0.0.1:5999"
SETTINGS = Settings(registry=RegistrySettings(uri=URI))
DEAD = f"cannot read the registry at {URI}: connection refused (try 1); what is deployed stays as it is"
READ = f"read 2 models at {URI}, 2 selected"
FRESH = RegistryStatus(reachable=True, read_at=None)


def snapshot(uri: str = URI, **fields: object) -> Snapshot:
    """What the agent read."""
    document = {"schema": 1, "registry": uri, "read_at": "2026-11-28T12:00:00Z", "selectors": ["stage:Production"]}
    return Snapshot.model_validate_json(json.dumps({**document, **fields}))


def found(
    monkeypatch: pytest.MonkeyPatch,
    says: str = READ,
    told: RegistryStatus = FRESH,
    seen: Snapshot | None = None,
    problem: str = "",
) -> list[Finding]:
    """What is found on a host whose services run."""
    services = {
        AGENT: {"ActiveState": "active", "StatusText": says},
        RECONCILER: {"ActiveState": "active", "StatusText": ""},
    }
    reading = SnapshotReading(seen or snapshot(), 0.0, problem)
    monkeypatch.setattr(registry, "show", lambda _units, _properties: services)
    monkeypatch.setattr(registry, "read_status", lambda: SimpleNamespace(registry=told))
    monkeypatch.setattr(wiring, "snapshots", lambda: SimpleNamespace(read=lambda **_: reading))
    return list(registry.registry(SETTINGS))


def test_a_registry_that_is_away_is_found_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last snapshot counts as fresh for more than half a minute, and the agent knows better already."""
    [finding] = found(monkeypatch, says=DEAD)
    assert finding.what == DEAD
    assert finding.mend.startswith(f"see that the MLflow server answers at {URI}, or change registry.uri")
    assert found(monkeypatch) == []


def test_a_registry_that_was_never_read_is_no_missing_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """The snapshot is missing because of that."""
    missing = "cannot use the agent's snapshot: No such file or directory"
    [finding] = found(monkeypatch, says=DEAD, problem=missing, told=RegistryStatus(reachable=False, read_at=None))
    assert finding.what.endswith(DEAD)
    [finding] = found(monkeypatch, problem=missing)
    assert finding == Finding(missing, f"systemctl restart {AGENT}")


@pytest.mark.parametrize(
    "other",
    [{"uri": "http://old"}, {"selectors": ["alias:champion"]}, {"workspace": "b"}, {"choose": "newest"}],
    ids=str,
)
def test_a_snapshot_by_other_settings_is_found(other: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent has not taken those of now."""
    [finding] = found(monkeypatch, seen=snapshot(**other))
    assert finding.what.startswith("this host still goes by the registry at ")
    assert f"not by the registry at {URI}, stage:Production" in finding.what


def test_a_host_that_waits_for_itself_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would ever report what it waits for."""
    here = Status(schema=1, host="ward-1", registry=FRESH)
    monkeypatch.setattr(registry, "read_status", lambda: here)
    waits = SETTINGS.model_copy(update={"rollout": RolloutSettings(after=("canary", "ward-1"))})
    [finding] = registry.other_hosts(waits)
    assert finding.what == "rollout.after names this host itself (ward-1), so no new version ever begins here"
    assert not [*registry.other_hosts(SETTINGS)]


def test_a_policy_that_allows_nothing_is_found() -> None:
    """A fresh installation has it, and "nothing is wrong" would be no help."""
    [finding] = registry.policy(SETTINGS)
    assert finding.what == "policy.names is empty, so nothing may be deployed here"
    assert "policy.names in /etc/mlflow-reconciler/config.toml" in finding.mend
    assert list(registry.policy(Settings(policy=PolicySettings(names=("pauses",))))) == []


def test_limits_that_do_nothing_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unified control groups list their controllers; of those before them, one can be written to or not."""
    unlimited = Settings(deploy=DeploySettings(memory_max=0, cpu_quota=0))
    assert len(list(limits.unenforced(SETTINGS, tmp_path))) == 2
    assert list(limits.unenforced(unlimited, tmp_path)) == []
    (tmp_path / "memory").mkdir()
    [cpu] = limits.unenforced(SETTINGS, tmp_path)
    assert cpu.startswith("deploy.cpu_quota has no effect, because this host's systemd has no control groups for cpu")
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    assert len(list(limits.unenforced(SETTINGS, tmp_path))) == 2
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io pids\n")
    [memory] = limits.unenforced(SETTINGS, tmp_path)
    assert memory.startswith("deploy.memory_max has no effect")
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    assert list(limits.unenforced(SETTINGS, tmp_path)) == []
