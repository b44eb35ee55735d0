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
from reconciler.core.registry.host_abilities import EXPERIMENT
from reconciler.core.registry.host_tags import Host, due, host_id, tag_key, told_by
from reconciler.core.registry.reading import Model, RegistryReading, Version
from reconciler.core.registry.tag_words import Place, value_of
from reconciler.core.state.reason import Reason
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


def status_of(*deployments: DeploymentStatus, read_at: datetime = NOW) -> Status:
    """Make a status of these."""
    registry = RegistryStatus(reachable=True, read_at=read_at)
    return Status(schema=1, host="host", registry=registry, deployments=deployments)


def tags_due(
    deployments: list[DeploymentStatus], now: datetime = NOW, kept_up: timedelta = timedelta(0), /, **tags: str
) -> list[tuple[str, int, str]]:
    """Work out this host's tags for versions 1 and 2 of demo, which bear `v1` and `v2` now.

    `kept_up`: how long ago the reconciler did so with the status.
    """
    versions = [Version("demo", n, tags={KEY: tags[f"v{n}"]} if f"v{n}" in tags else {}) for n in (1, 2)]
    wrong = list(due(status_of(*deployments, read_at=now - kept_up), versions, OWN, now))
    assert all(key == KEY for _, _, key, _ in wrong)
    return [(name, version, value) for name, version, _, value in wrong]


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        (
            {"url": "http://127.0.0.1:1"},
            "serving 2026-01-02T03:04:05Z http://127.0.0.1:1 (an address of the host itself)",
        ),
        ({"url": "http://10.1.2.3:1"}, "serving 2026-01-02T03:04:05Z http://10.1.2.3:1"),
        ({"url": "http://[odd:1"}, "serving 2026-01-02T03:04:05Z http://[odd:1"),
        (
            {"url": "http://127.0.0.1:1", "public_url": "https://inference1.example/demo"},
            "serving 2026-01-02T03:04:05Z https://inference1.example/demo",
        ),
        ({"state": State.IDLE}, "idle 2026-01-02T03:04:05Z"),
        (
            {"url": "http://10.1.2.3:1", "example": "none", "message": "no logged example: x"},
            "serving 2026-01-02T03:04:05Z http://10.1.2.3:1: no logged example: x",
        ),
        ({"state": State.PREPARING}, "preparing 2026-01-02T03:04:05Z"),
        ({"state": State.FAILED, "message": "cannot load:\n x"}, "failed: cannot load: x"),
        ({"state": State.FAILED, "message": "y" * 5000}, "failed: " + "y" * 491 + "…"),
        (
            {"state": State.DEGRADED, "active_version": "9", "message": "y" * 5000},
            "degraded: version 9 serves; " + "y" * 471 + "…",
        ),
        ({"state": State.PREPARING, "active_version": "9"}, "preparing 2026-01-02T03:04:05Z: version 9 serves"),
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


MEANWHILE = "serving http://10.1.2.3:1: version 2 is wanted and "


@pytest.mark.parametrize(
    ("state", "meanwhile"),
    [
        (State.PREPARING, "is on its way"),
        (State.ROLLING_OUT, "is on its way"),
        (State.DEGRADED, "does not come into service, as its tag says"),
        (State.SUSPENDED, "waits for the host's operators"),
    ],
)
@pytest.mark.parametrize("before", ["", REMOVED, "serving x" + SEEN, "rolling-out: version 1 serves" + SEEN])
def test_the_version_that_serves_says_so_while_another_one_is_wanted(state: State, meanwhile: str, before: str) -> None:
    """Also when its tag said that it was removed: it was, for the seconds until it took over again."""
    both = deployment(
        state=state, desired_version="2", active_version="1", url="http://10.1.2.3:1", message="cannot load it"
    )
    assert tags_due([both], v1=before) == [
        ("demo", 1, MEANWHILE + meanwhile + SEEN),
        ("demo", 2, f"{state}: version 1 serves; cannot load it" + SEEN),
    ]


def test_the_version_before_says_that_it_is_removed_once_the_next_one_has_proved_itself() -> None:
    """Until then it stands by, and says so."""
    soaking = deployment(state=State.ROLLING_OUT, desired_version="2", active_version="2", standby_version="1")
    words = "standby: version 2 serves and is watched in its first minutes; this version takes over again if that one "
    assert tags_due([soaking], v1="serving x" + SEEN) == [
        ("demo", 1, f"{words}fails" + SEEN),
        ("demo", 2, value_of(soaking) + SEEN),
    ]
    done = deployment(desired_version="2", active_version="2")
    assert tags_due([done], v1=f"{words}fails" + SEEN, v2="rolling-out") == [
        ("demo", 1, REMOVED),
        ("demo", 2, value_of(done) + SEEN),
    ]
    # Promoted once more in the soak of version 2, it is what is wanted.
    again = deployment(state=State.ROLLING_OUT, desired_version="1", active_version="2", standby_version="1")
    assert [words.partition(" ")[0] for _, _, words in tags_due([again])] == ["rolling-out", "serving:"]


def test_a_version_that_is_not_wanted_and_still_here_says_why() -> None:
    """Its removal waits for a person, or is under way."""
    held = deployment(state=State.HELD, desired_version=None, active_version="1", message="type reconciler apply")
    assert tags_due([held], v1="serving x" + SEEN) == [("demo", 1, f"held: {CONFIRM}{SEEN}")]


CONFIRM = "the host's operators have to confirm a change first"


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State.HELD, CONFIRM),
        (State.STALLED, "something on the host undoes its repairs, and its operators have to look at it"),
    ],
)
def test_a_tag_has_no_command_of_another_persons_machine(state: State, words: str) -> None:
    """Who reads it cannot log in there."""
    waiting = deployment(
        state=state, desired_version="2", active_version="1", url="http://10.1.2.3:1", message="reconciler retry demo"
    )
    assert tags_due([waiting]) == [
        ("demo", 1, f"{MEANWHILE}waits for the host's operators{SEEN}"),
        ("demo", 2, f"{state}: version 1 serves; {words}{SEEN}"),
    ]


def test_nothing_is_called_removed_before_the_reconciler_knows_what_is_wanted() -> None:
    """It has lost its memory, and has not accepted a snapshot yet."""
    unknown = deployment(desired_version=None, active_version="1", reason=Reason.NO_SNAPSHOT)
    assert [version for _, version, _ in tags_due([unknown], v2="degraded: x" + SEEN)] == [1]


def test_a_version_that_no_host_can_deploy_says_what_to_do() -> None:
    """The status cannot name it: MLflow takes names that would have to be quoted everywhere."""
    refused = {Place("my.model", 3): "the name has a dot; rename it"}
    version = Version("my.model", 3)
    words = "not-deployable: the name has a dot; rename it" + SEEN
    assert [tag.value for tag in due(status_of(), [version], OWN, NOW, refused)] == [words]
    told = replace(version, tags={KEY: words})
    assert list(due(status_of(), [told], OWN, NOW, refused)) == []
    assert [tag.value for tag in due(status_of(), [told], OWN, NOW)] == [REMOVED]


def test_a_tag_says_seldom_that_it_is_still_true() -> None:
    """Once an hour, both of what is wanted and of what serves meanwhile; what was removed is not touched again."""
    rejected = deployment(state=State.DEGRADED, desired_version="2", active_version="1")
    first, second = (value for _, _, value in tags_due([rejected]))
    tags = {"v1": first, "v2": second}
    assert tags_due([rejected], NOW + timedelta(minutes=58), **tags) == []
    later = " (seen 2026-01-02T04:04Z, host 1a2b3c4d)"
    assert tags_due([rejected], NOW + timedelta(hours=1), **tags) == [
        ("demo", 1, first.replace(SEEN, later)),
        ("demo", 2, second.replace(SEEN, later)),
    ]
    assert tags_due([], NOW + timedelta(days=9), v1=REMOVED) == []


def test_what_nobody_keeps_up_is_not_said_to_be_true_still() -> None:
    """The reconciler has ended, and the agent goes on: others must not take this host's old word for a new one."""
    serves = deployment()
    tag = tags_due([serves])[0][2]
    later = NOW + timedelta(hours=2)
    assert tags_due([serves], later, timedelta(hours=2), v1=tag) == []
    assert len(tags_due([serves], later, timedelta(minutes=5), v1=tag)) == 1


def test_a_host_that_reads_seldom_keeps_its_tags_up() -> None:
    """Each reading is before the status that tells of it, by one interval."""
    serves = deployment()
    tag = tags_due([serves])[0][2]
    status = status_of(serves, read_at=NOW)
    seldom = status.registry.model_copy(update={"fresh_for": 3 * 7200.0})
    later, versions = NOW + timedelta(hours=2), [Version("demo", 1, tags={KEY: tag})]
    assert len(list(due(status.model_copy(update={"registry": seldom}), versions, OWN, later))) == 1
    unseen = status.model_copy(update={"registry": seldom, "is_current": False})
    assert list(due(unseen, versions, OWN, later)) == []


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
        self.told: dict[str, str] = {}
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

    def experiment_tags(self, name: str) -> dict[str, str]:
        """Return what was told."""
        assert name == EXPERIMENT
        self.searched += 1
        return self.told

    def tag_experiment(self, name: str, key: str, value: str) -> None:
        """Refuse, or set it."""
        assert name == EXPERIMENT
        self.asked += 1
        if self.refuses:
            raise RegistryError("the credentials do not permit it (HTTP 403)")
        self.told[key] = value


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


def test_the_alias_of_an_impossible_name_gets_its_tag_once(tmp_path: Path) -> None:
    """The reading has no such version: whether it has a tag is known only when all tags are looked for."""
    path = write_status(tmp_path / "status.json")
    registry, reporter = Noting(Version("my.model", 2)), Reporter(path)
    for _ in range(3):
        reporter.report(RegistryReading((Model("my.model"),)), registry, {Place("my.model", 2): "rename it"})
    assert (registry.asked, registry.searched) == (1, 1)
    assert registry.bearing["my.model", 2].tags[tag_key("host")].startswith("not-deployable: rename it (seen ")
    reporter.report(RegistryReading((Model("my.model"),)), registry)
    assert registry.bearing["my.model", 2].tags[tag_key("host")].startswith("removed ")


def test_the_tag_of_a_version_that_is_not_read_changes_with_its_words(tmp_path: Path) -> None:
    """The active version of a roll-back is the same one, and what is to be said of it is not."""
    path = write_status(tmp_path / "status.json")
    registry, reporter = Noting(Version("demo", 1), Version("demo", 2)), Reporter(path)
    key, reading = tag_key("host"), RegistryReading((Model("demo"),), (Version("demo", 2),))
    registry.bearing["demo", 1] = Version("demo", 1, tags={key: "serving x"})

    def tag_after(**fields: Any) -> str:
        write_status(path, deployment(desired_version="2", **fields))
        reporter.report(reading, registry)
        return registry.bearing["demo", 1].tags[key].partition(" ")[0]

    assert tag_after(state=State.ROLLING_OUT, active_version="1") == "serving:"
    assert tag_after(state=State.ROLLING_OUT, active_version="2", standby_version="1") == "standby:"
    assert tag_after(state=State.DEGRADED, active_version="1") == "serving:"
    before = registry.searched
    assert tag_after(state=State.DEGRADED, active_version="1", message="other words of version 2") == "serving:"
    assert registry.searched == before
    assert tag_after(active_version="2") == "removed"


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
