"""What the command line is like: help, version, completion, mistyped names."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

import reconciler
from reconciler.cli import known, overview_of_commands
from reconciler.cli.main import app
from reconciler.core.state.status import Status
from reconciler.core.units import paths
from reconciler.files import status_file
from tests.unit.test_status_page import STATUS

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A status, in a file and for this process."""
    monkeypatch.setattr(status_file, "read_status", lambda: STATUS)
    path = tmp_path / "status.json"
    path.write_text(STATUS.model_dump_json(by_alias=True))
    return path


def test_the_version_is_that_of_the_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On an installed host, with the name of the installed one: two hosts can be compared."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert reconciler.__version__ == project["version"]
    assert CliRunner().invoke(app, ["--version"]).stdout == f"reconciler {project['version']}\n"
    (tmp_path / "versions" / "0a1b2c").mkdir(parents=True)
    (tmp_path / "current").symlink_to("versions/0a1b2c")
    monkeypatch.setattr(paths, "PRODUCT", str(tmp_path))
    monkeypatch.setattr(overview_of_commands, "__file__", str(tmp_path / "current" / "reconciler" / "cli" / "x.py"))
    assert overview_of_commands.version() == f"{project['version']} (installed: 0a1b2c)"


def test_the_help_begins_with_what_people_type() -> None:
    """The daemons come last: systemd types them."""
    shown = CliRunner().invoke(app, ["--help"]).stdout
    commands = [line.split()[1] for line in shown.splitlines() if line.startswith("│ ") and line[2] not in " -"]
    assert commands[:3] == ["status", "logs", "history"]
    assert sorted(commands[-3:]) == ["agent", "cluster", "run"]
    assert shown.index("Run by systemd") > shown.index("status")


def test_names_of_deployments_are_completed(published: Path) -> None:
    """Those that could be typed; a name that no host can deploy could hold anything."""
    assert published.exists()
    assert known.complete("") == ["pauses"]
    assert known.complete("pa") == ["pauses"]
    assert known.complete("x") == []


def test_without_a_status_nothing_is_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is printed that a shell would take for a name."""

    def read_status() -> Status:
        raise status_file.NoStatusError("gone")

    monkeypatch.setattr(status_file, "read_status", read_status)
    assert known.complete("") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("owner", [0, 65532])
def test_the_command_goes_on_as_the_user_that_the_reconciler_runs_as(tmp_path: Path, owner: int) -> None:
    """Then each reads and writes the other's files. Where it looks after a cluster, that user is not root."""
    os.chown(tmp_path, owner, owner)
    become = f"""
import os
from reconciler.cli.exit import become_the_reconciler
from reconciler.core.units import paths
paths.RUN_DIRECTORY = {str(tmp_path)!r}
become_the_reconciler("look")
print(os.geteuid(), os.getegid())
"""
    done = subprocess.run([sys.executable, "-c", become], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(owner), str(owner)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_status_is_read_of_the_user_that_its_directory_belongs_to(tmp_path: Path) -> None:
    """And of nobody else."""
    path = tmp_path / "status.json"
    path.write_text(STATUS.model_dump_json(by_alias=True))
    path.chmod(0o644)
    os.chown(path, 65532, 65532)
    with pytest.raises(status_file.NoStatusError, match="owned by user 65532, expected 0"):
        status_file.read_status(path)
    os.chown(tmp_path, 65532, 65532)
    assert status_file.read_status(path) == STATUS
