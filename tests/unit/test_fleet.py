"""`reconciler status --fleet`: what the tags of all hosts say, in a file of the agent's and in a table."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reconciler.agent.fleet import FleetTeller
from reconciler.cli.main import app
from reconciler.cli.status.fleet import fleet_table, of_deployment
from reconciler.cli.terminal import columns
from reconciler.core.registry import elsewhere
from reconciler.core.registry.elsewhere import fleet
from reconciler.core.registry.reading import RegistryReading, Version
from reconciler.core.state.fleet import MAX_FLEET_BYTES, MAX_HOST_REPORTS, Fleet
from reconciler.core.state.status import RegistryStatus, Status
from reconciler.files import fleet_file
from reconciler.files.fleet_file import NoFleetError, read_fleet
from tests.unit.test_schemas import validator

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
HERE = Status(schema=1, host="ward-1", registry=RegistryStatus(reachable=True, read_at=NOW, fresh_for=40.0))


def tag(words: str, minutes: int = 5) -> str:
    """What a host wrote so many minutes ago."""
    return f"{words} (seen {NOW - timedelta(minutes=minutes):%Y-%m-%dT%H:%MZ}, host 0123abcd)"


READING = RegistryReading(
    (),
    (
        Version(
            "pauses",
            3,
            tags={
                "deployed.ward-2": tag("rolling-out: version 2 serves; version 3 is loading"),
                "deployed.ward-1": tag("serving 2026-11-28T11:00:00Z https://models.example.org/pauses/"),
                "deployed.old": tag("serving 2026-11-01T00:00:00Z http://10.0.0.3:20001", minutes=60 * 48),
                "deploy.memory_max": "1G",
            },
        ),
        Version("pauses", 2, tags={"deployed.ward-2": tag("serving http://10.0.0.2:20001: version 3 is wanted")}),
        Version("iris", 1, tags={"deployed.ward-1": tag("removed 2026-11-28T11:00:00Z"), "deployed.odd": "\x1b[31m"}),
    ),
)
FLEET = fleet(READING)


def test_every_host_that_reports_has_a_line_with_its_age() -> None:
    """One that has not kept its tag up is silent, whatever it said last."""
    assert fleet_table(FLEET, HERE, 80, NOW) == [
        "ward-1: the registry was read 0 s ago",
        "NAME    STATE        VERSION  HOST    SEEN       SAYS",
        "iris    silent       1        odd     some time  its last word was: [31m",
        "pauses  silent       3        old     2 d        its last word was: serving 202…",
        "pauses  serving      3        ward-1  5 min      2026-11-28T11:00:00Z https://m…",
        "pauses  rolling-out  3        ward-2  5 min      version 2 serves; version 3 is…",
        "pauses  serving      2        ward-2  5 min      http://10.0.0.2:20001: version…",
    ]
    assert all(columns(line) <= 80 for line in fleet_table(FLEET, HERE, 80, NOW))


def test_one_deployment_alone() -> None:
    """Where there is none, that is said."""
    assert {report.name for report in of_deployment(FLEET, "pauses").reports} == {"pauses"}
    assert fleet_table(of_deployment(FLEET, "nope"), HERE, 80, NOW)[1:] == [
        "no host reports a version that this host reads of"
    ]


def test_the_agent_writes_what_changed_and_nothing_else(tmp_path: Path) -> None:
    """And writes it again when somebody took the file away."""
    file = tmp_path / "fleet.json"
    teller = FleetTeller(file)
    teller.tell(READING)
    assert Fleet.model_validate_json(file.read_bytes()) == FLEET
    before = file.stat().st_ino
    teller.tell(READING)
    assert file.stat().st_ino == before
    file.unlink()
    teller.tell(READING)
    assert Fleet.model_validate_json(file.read_bytes()) == FLEET
    teller.tell(RegistryReading())
    assert Fleet.model_validate_json(file.read_bytes()).reports == ()


def test_as_many_reports_as_are_told_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long each is, and in whatever script: the agent must not write what the command refuses."""
    odd = "\U0001f600" * 5000
    monkeypatch.setattr(elsewhere, "MAX_HOST_REPORTS", 100)
    version = Version(odd, 2**31 - 1, tags={f"deployed.{number}{odd}": tag(odd) for number in range(200)})
    told = fleet(RegistryReading((), (version,)))
    assert len(told.reports) == 100
    size = len(told.model_dump_json(by_alias=True, indent=1).encode())
    assert size / 100 * MAX_HOST_REPORTS < MAX_FLEET_BYTES


def test_a_full_disk_does_not_end_the_agent(tmp_path: Path) -> None:
    """The next reading tries again."""
    directory = tmp_path / "gone"
    teller = FleetTeller(directory / "fleet.json")
    teller.tell(READING)
    directory.mkdir()
    teller.tell(READING)
    assert (directory / "fleet.json").exists()


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that belongs to who runs the test, as it belongs to the agent on a host."""
    monkeypatch.setattr(fleet_file, "agent_user", lambda _name: os.getuid)
    file = tmp_path / "fleet.json"
    FleetTeller(file).tell(READING)
    return file


def test_the_document_is_that_of_its_schema(told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--json` prints it, of one deployment or of all."""
    monkeypatch.setattr(fleet_file, "read_fleet", lambda: read_fleet(told))
    done = CliRunner().invoke(app, ["status", "pauses", "--fleet", "--json"])
    document = json.loads(done.stdout)
    validator("fleet.schema.json").validate(document)
    assert [(one["version"], one["host"]) for one in document["reports"]] == [
        (3, "old"),
        (3, "ward-1"),
        (3, "ward-2"),
        (2, "ward-2"),
    ]


@pytest.mark.parametrize("content", ["", "{}x", '{"schema": 2}'])
def test_a_file_that_is_none_is_refused(told: Path, content: str) -> None:
    """It is a less trusted user's."""
    told.write_text(content)
    with pytest.raises(NoFleetError, match="fields are not as they should be"):
        read_fleet(told)


def test_without_an_agent_there_is_no_fleet(told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says where to look."""
    told.unlink()
    monkeypatch.setattr(fleet_file, "read_fleet", lambda: read_fleet(told))
    done = CliRunner().invoke(app, ["status", "--fleet"])
    assert done.exit_code == 1
    assert done.stderr == (
        f"cannot show the fleet: {told}: No such file or directory; see systemctl status mlflow-registry-agent\n"
    )
