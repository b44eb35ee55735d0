"""Which tags are due, and how a failing registry is left in peace."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.agent.report import MAX_TAGS_A_POLL, Reporter
from reconciler.core.registry.host_tags import Host, due, host_id, tag_key, told_by, value_of
from reconciler.core.registry.reading import Model, RegistryReading, Version
from reconciler.core.state.snapshot import Choose
from reconciler.core.state.status import DeploymentStatus, RegistryStatus, State, Status
from reconciler.ports.registry import RegistryError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEY = "deployed.host"
OWN = Host(KEY, "1a2b3c4d")
SEEN = " (seen 2026-01-02T03:04Z, host 1a2b3c4d)"
REMOVED = "removed 2026-01-02T03:04:05Z"


def deployment(**fields: Any) -> DeploymentStatus:
    """Make a deployment's status."""
    return DeploymentStatus(**{"name": "demo", "state": State.SERVING, "since": NOW, "desired_version": "1", **fields})


def status_of(*deployments: DeploymentStatus) -> Status:
    """Make a status of these."""
    registry = RegistryStatus(reachable=True, read_at=NOW)
    return Status(schema=1, host="host", registry=registry, deployments=deployments)


def tags_due(deployments: list[DeploymentStatus], now: datetime = NOW, **tags: str) -> list[tuple[str, int, str]]:
    """Work out this host's tags for versions 1 and 2 of demo, which bear `v1` and `v2` now."""
    versions = [Version("demo", n, tags={KEY: tags[f"v{n}"]} if f"v{n}" in tags else {}) for n in (1, 2)]
    wrong = list(due(status_of(*deployments), versions, OWN, now))
    assert all(key == KEY for _, _, key, _ in wrong)
    return [(name, version, value) for name, version, _, value in wrong]


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({"url": "http://127.0.0.1:1"}, "serving 2026-01-02T03:04:05Z http://127.0.0.1:1"),
        ({"state": State.IDLE}, "idle 2026-01-02T03:04:05Z"),
        (
            {"url": "http://127.0.0.1:1", "example": "none", "message": "no logged example: x"},
            "serving 2026-01-02T03:04:05Z http://127.0.0.1:1: no logged example: x",
        ),
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
    told = value_of(deployment()) + SEEN
    assert tags_due([deployment()]) == [("demo", 1, told)]
    assert tags_due([deployment()], v1=told) == []
    assert tags_due([], v1=told) == [("demo", 1, REMOVED)]
    assert tags_due([], v1="removed 2025-01-01T00:00:00Z") == []


def test_the_version_that_still_serves_keeps_its_tag() -> None:
    """Until the hand-over is done the old version is not gone."""
    both = deployment(state=State.ROLLING_OUT, desired_version="2", active_version="1")
    assert tags_due([both], v1="serving x" + SEEN) == [("demo", 2, value_of(both) + SEEN)]
    done = deployment(desired_version="2", active_version="2")
    assert tags_due([done], v1="serving x" + SEEN, v2="rolling-out") == [
        ("demo", 1, REMOVED),
        ("demo", 2, value_of(done) + SEEN),
    ]


def test_a_tag_says_seldom_that_it_is_still_true() -> None:
    """Once an hour, both of what is wanted and of what serves meanwhile; what was removed is not touched again."""
    rejected = deployment(state=State.DEGRADED, desired_version="2", active_version="1")
    tags = {"v1": "serving x" + SEEN, "v2": value_of(rejected) + SEEN}
    assert tags_due([rejected], NOW + timedelta(minutes=58), **tags) == []
    later = " (seen 2026-01-02T04:04Z, host 1a2b3c4d)"
    assert tags_due([rejected], NOW + timedelta(hours=1), **tags) == [
        ("demo", 1, "serving x" + later),
        ("demo", 2, value_of(rejected) + later),
    ]
    assert tags_due([], NOW + timedelta(days=9), v1=REMOVED) == []


@pytest.mark.parametrize(
    "end",
    [
        "",
        " (seen 2026-01-02T03:04Z)",
        " (seen 2026-01-02T03:04Z, host ffffffff)",
        " (seen 2027-01-02T03:04Z, host 1a2b3c4d)",
        " (seen 2026-01-45T03:04Z, host 1a2b3c4d)",
        " (seen yesterday)",
        SEEN + " ",
    ],
)
def test_a_tag_that_does_not_say_when_it_was_true_is_set_anew(end: str) -> None:
    """A former version's, another machine's with this name, one from the future, one that somebody made up."""
    assert tags_due([deployment()], v1=value_of(deployment()) + end) == [("demo", 1, value_of(deployment()) + SEEN)]


def test_the_tag_of_a_former_name_is_taken_back_once_nobody_keeps_it_up() -> None:
    """A copy of this machine under another name has its id, too, and is left alone; so are all other hosts."""
    former = "deployed.former"

    def others(value: str, now: datetime) -> list[tuple[str, str]]:
        versions = [Version("demo", 2, tags={former: value, "owner": "me"})]
        return [(key, value) for _, _, key, value in due(status_of(), versions, OWN, now)]

    assert others("serving x" + SEEN, NOW + timedelta(hours=2)) == []
    assert others("serving x" + SEEN, NOW + timedelta(hours=4)) == [
        (former, "removed 2026-01-02T07:04:05Z: that host is deployed.host now")
    ]
    assert others("serving x (seen 2026-01-02T03:04Z, host ffffffff)", NOW + timedelta(hours=4)) == []
    assert others("serving x", NOW + timedelta(hours=4)) == []
    assert others("removed 2026-01-02T07:04:05Z: that host is deployed.host now", NOW + timedelta(hours=9)) == []
    nameless = Host(KEY)
    versions = [Version("demo", 2, tags={former: "serving x (seen 2026-01-02T03:04Z)"})]
    assert list(due(status_of(), versions, nameless, NOW + timedelta(hours=4))) == []


def test_a_host_is_known_by_its_machine_id_and_does_not_give_it_away() -> None:
    """Eight characters that nothing can be made of."""
    own, other = b"0123456789abcdef0123456789abcdef\n", b"1123456789abcdef0123456789abcdef\n"
    assert re.fullmatch("[0-9a-f]{8}", host_id(own))
    assert host_id(own) not in own.decode()
    assert host_id(own) == host_id(own.strip()) != host_id(other)
    assert host_id(b"") == host_id(b"\n") == ""


@given(st.text(max_size=40))
def test_whatever_a_tag_says_is_taken_apart_and_put_together_again(words: str) -> None:
    """The words are the words, and anybody may have written the rest."""
    assert told_by(words + SEEN).words == words
    assert told_by(words + SEEN).host == "1a2b3c4d"
    assert words.startswith(told_by(words).words)


@pytest.mark.parametrize("version", [None, "", "x", "1" * 30, "\u0661"])
def test_an_odd_version_in_the_status_is_passed_over(version: str | None) -> None:
    """The status is somebody else's file."""
    assert tags_due([deployment(desired_version=version)]) == []


def test_the_tag_is_named_after_the_host_in_characters_that_mlflow_takes() -> None:
    """A host name may be anything."""
    assert tag_key("inference-1.example") == "deployed.inference-1.example"
    assert tag_key("a b/ü") == "deployed.a-b--"
    assert len(tag_key("x" * 300)) <= 250


class Noting:
    """A registry that notes what it is asked and told, or refuses to take tags."""

    def __init__(self, *bearing: Version, refuses: bool = False) -> None:
        self.bearing, self.refuses = {(one.name, one.version): one for one in bearing}, refuses
        self.asked = self.searched = 0

    def read(self, selectors: Sequence[str], choose: Choose) -> RegistryReading:  # noqa: ARG002 - the port's signature
        """Read nothing."""
        return RegistryReading()

    def tagged_versions(self, key: str) -> tuple[Version, ...]:
        """Find those that bear a tag."""
        self.searched += 1
        return tuple(one for one in self.bearing.values() if key in one.tags)

    def report(self, name: str, version: int, key: str, value: str) -> None:
        """Refuse, or set it."""
        self.asked += 1
        if self.refuses:
            raise RegistryError("the credentials do not permit it (HTTP 403)")
        found = self.bearing[name, version]
        self.bearing[name, version] = replace(found, tags={**found.tags, key: value})


def write_status(path: Path, *deployments: DeploymentStatus) -> Path:
    """Publish a status as the reconciler does."""
    path.write_text(json.dumps(status_of(*deployments).model_dump(mode="json", by_alias=True)))
    path.chmod(0o644)
    if path.stat().st_uid != 0:
        pytest.skip("only a status that root has written is believed")
    return path


def test_a_refused_report_is_tried_again_after_longer_and_longer_pauses(tmp_path: Path) -> None:
    """Reading goes on as ever, and the registry is not asked at every poll."""
    now = [0.0]
    path = write_status(tmp_path / "status.json", deployment())
    refusing, reporter = Noting(refuses=True), Reporter(path, lambda: now[0])
    asked_at = []
    for second in range(0, 8000, 10):
        now[0] = float(second)
        before = refusing.asked
        reporter.report(RegistryReading((Model("demo"),), (Version("demo", 1),)), refusing)
        asked_at += [second] if refusing.asked > before else []
    assert asked_at == [0, 60, 180, 420, 900, 1860, 3780, 7380]


def test_tags_that_are_not_selected_any_more_are_looked_for_when_something_changed(tmp_path: Path) -> None:
    """Not at every poll; and a registry full of tags that anybody set is set right little by little."""
    path = write_status(tmp_path / "status.json", deployment())
    key = tag_key("host")
    forged = [Version("demo", number, tags={key: "serving x"}) for number in range(2, 2 + 2 * MAX_TAGS_A_POLL)]
    registry, reporter = Noting(Version("demo", 1), *forged), Reporter(path)

    def poll() -> int:
        before = registry.asked
        reporter.report(RegistryReading((Model("demo"),), (registry.bearing["demo", 1],)), registry)
        return registry.asked - before

    assert [poll() for _ in range(5)] == [MAX_TAGS_A_POLL, MAX_TAGS_A_POLL, 1, 0, 0]
    assert registry.searched == 3
    assert all(one.tags[key].startswith("removed ") for one in registry.bearing.values() if one.version > 1)
    write_status(path, deployment(desired_version="2", active_version="2"))
    assert [poll() for _ in range(3)] == [2, 0, 0]
    assert registry.searched == 4
    assert registry.bearing["demo", 1].tags[key].startswith("removed ")
    assert registry.bearing["demo", 2].tags[key].startswith("serving 2026-01-02T03:04:05Z (seen ")
