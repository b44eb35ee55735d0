"""Which tags are due, and how a failing registry is left in peace."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.select import Model, RegistryReading, Version
from reconciler.core.status import DeploymentStatus, RegistryStatus, State, Status
from reconciler.ports.registry import RegistryError
from reconciler.report import Reporter, due, tag_key, value_of

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEY = "deployed.host"


def deployment(**fields: Any) -> DeploymentStatus:
    """Make a deployment's status."""
    return DeploymentStatus(**{"name": "demo", "state": State.SERVING, "since": NOW, "desired_version": "1", **fields})


def tags_due(deployments: list[DeploymentStatus], **tags: str) -> list[tuple[str, int, str]]:
    """Work out the tags for versions 1 and 2 of demo, which bear `v1` and `v2` now."""
    registry = RegistryStatus(reachable=True, read_at=NOW)
    status = Status(schema=1, host="host", registry=registry, deployments=tuple(deployments))
    versions = [Version("demo", n, tags={KEY: tags[f"v{n}"]} if f"v{n}" in tags else {}) for n in (1, 2)]
    return list(due(status, RegistryReading((Model("demo"),), tuple(versions)), KEY, NOW))


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({"url": "http://127.0.0.1:1"}, "serving 2026-01-02T03:04:05Z http://127.0.0.1:1"),
        ({"state": State.IDLE}, "idle 2026-01-02T03:04:05Z"),
        ({"state": State.PREPARING}, "preparing 2026-01-02T03:04:05Z"),
        ({"state": State.FAILED, "message": "cannot load:\n x"}, "failed: cannot load: x"),
        ({"state": State.FAILED, "message": "y" * 5000}, "failed: " + "y" * 491 + "…"),
    ],
)
def test_a_tag_says_in_one_short_line_how_it_fares(fields: dict[str, Any], value: str) -> None:
    """It fits into a column of the registry's table."""
    assert value_of(deployment(**fields)) == value


def test_only_what_differs_is_set() -> None:
    """Polls that change nothing write nothing."""
    told = value_of(deployment())
    assert tags_due([deployment()]) == [("demo", 1, told)]
    assert tags_due([deployment()], v1=told) == []
    assert tags_due([], v1=told) == [("demo", 1, "removed 2026-01-02T03:04:05Z")]
    assert tags_due([], v1="removed 2025-01-01T00:00:00Z") == []


def test_the_version_that_still_serves_keeps_its_tag() -> None:
    """Until the hand-over is done the old version is not gone."""
    both = deployment(state=State.ROLLING_OUT, desired_version="2", active_version="1")
    assert tags_due([both], v1="serving x") == [("demo", 2, value_of(both))]
    done = deployment(desired_version="2", active_version="2")
    assert tags_due([done], v1="serving x", v2="rolling-out") == [
        ("demo", 1, "removed 2026-01-02T03:04:05Z"),
        ("demo", 2, value_of(done)),
    ]


@pytest.mark.parametrize("version", [None, "", "x", "1" * 30, "\u0661"])
def test_an_odd_version_in_the_status_is_passed_over(version: str | None) -> None:
    """The status is somebody else's file."""
    assert tags_due([deployment(desired_version=version)]) == []


def test_the_tag_is_named_after_the_host_in_characters_that_mlflow_takes() -> None:
    """A host name may be anything."""
    assert tag_key("inference-1.example") == "deployed.inference-1.example"
    assert tag_key("a b/ü") == "deployed.a-b--"
    assert len(tag_key("x" * 300)) <= 250


class Refusing:
    """A registry that takes no tags."""

    def __init__(self) -> None:
        self.asked = 0

    def read(self) -> RegistryReading:
        """Read nothing."""
        return RegistryReading()

    def report(self, name: str, version: int, key: str, value: str) -> None:  # noqa: ARG002 - the port's signature
        """Refuse."""
        self.asked += 1
        raise RegistryError("the credentials do not permit it (HTTP 403)")


def test_a_refused_report_is_tried_again_after_longer_and_longer_pauses(tmp_path: Path) -> None:
    """Reading goes on as ever, and the registry is not asked at every poll."""
    now = [0.0]
    path = tmp_path / "status.json"
    registry = RegistryStatus(reachable=True, read_at=NOW)
    status = Status(schema=1, host="host", registry=registry, deployments=(deployment(),))
    path.write_text(json.dumps(status.model_dump(mode="json", by_alias=True)))
    path.chmod(0o644)
    if path.stat().st_uid != 0:
        pytest.skip("only a status that root has written is believed")
    refusing, reporter = Refusing(), Reporter(path, lambda: now[0])
    asked_at = []
    for second in range(0, 8000, 10):
        now[0] = float(second)
        before = refusing.asked
        reporter.report(RegistryReading((Model("demo"),), (Version("demo", 1),)), refusing)
        asked_at += [second] if refusing.asked > before else []
    assert asked_at == [0, 60, 180, 420, 900, 1860, 3780, 7380]
