"""A whole reconciler over the fake systemd and real files in a temporary directory."""

import contextlib
import datetime
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reconciler.apply.execute import Executor
from reconciler.apply.render import Renderer
from reconciler.apply.unit_files import UnitFiles
from reconciler.core.state.status import DeploymentStatus, Status
from reconciler.core.units import names
from reconciler.daemon.action_runner import ActionRunner
from reconciler.daemon.clock import Clock
from reconciler.daemon.notes import Notes
from reconciler.daemon.one_pass import Reconciler
from reconciler.daemon.operators import OperatorDesk
from reconciler.daemon.publish import StatusPublisher
from reconciler.files.audit_file import AuditFile
from reconciler.files.history_file import HistoryFile
from reconciler.files.ledger_file import LedgerFile
from reconciler.files.request_inbox import RequestInbox
from reconciler.files.snapshot_file import Snapshots
from reconciler.settings.model import DeploySettings, PolicySettings, Settings
from tests.fakes.systemd import Behaviour, FakeSystemd
from tests.reference.states import REASONS

CHECKOUT = Path(__file__).resolve().parents[2]
ENOUGH_PASSES = 60
OPEN = PolicySettings(names=("*",), max_replicas=99)
"""A policy that allows every model."""
RENDERER = Renderer([CHECKOUT / "templates"], lambda _unit, _text: None)
"""One for all hosts: it remembers nothing but the templates."""


@dataclass
class World:
    """One host: what the registry selects, what fails, what time it is."""

    directory: Path
    failures: dict[str, Behaviour] = field(default_factory=dict)
    """By unit name."""
    environment: Callable[[str, int], str] = lambda _name, version: f"{version:032x}"
    files: Callable[[str, int], str] = lambda _name, version: f"{version:064x}"
    examples: dict[int, str] = field(default_factory=dict)
    """By version, what a fetch says of its example; of the others it says nothing, as before it looked for one."""
    content: str = "c" * 64
    origin: str = "m"
    """Another one: the registry is another server, with other models under the same names and numbers."""
    now: float = 1000.0
    settings: Settings = field(
        default_factory=lambda: Settings(policy=OPEN, deploy=DeploySettings(soak=0, keep_releases=0, removal_grace=0))
    )

    known: set[str] = field(default_factory=set)
    """Models that the registry has."""

    def __post_init__(self) -> None:
        self.etc = self.directory / "etc"
        self.etc.mkdir(parents=True)
        self.state = self.directory / "state"
        self.state.mkdir()
        self.systemd = FakeSystemd(self.etc, self._behave, lambda: self.now)
        shipped = CHECKOUT / "systemd" / "mlflow-deploy-directory@.service"
        self.systemd.shipped["mlflow-deploy-directory"] = shipped.read_text()
        changed = CHECKOUT / "systemd" / "mlflow-changed@.service"
        self.systemd.shipped["mlflow-changed"] = changed.read_text()
        compiled = CHECKOUT / "systemd" / "mlflow-compiled@.service"
        self.systemd.shipped["mlflow-compiled"] = compiled.read_text()
        self.reconciler = self.new_reconciler()

    def new_reconciler(self) -> Reconciler:
        """Start the reconciler anew, as after a crash."""
        files = UnitFiles(self.etc, self.state / "rendered")
        ledger = LedgerFile(self.state / "ledger.json")
        snapshots = Snapshots(self.directory / "registry.json", self.state / "snapshot.json", os.getuid)
        requests = RequestInbox(self.state / "requests", os.getuid())
        publisher = StatusPublisher(self.directory / "status.json", lambda: self.now, lambda: "")
        notes = Notes(Clock(lambda: self.now, lambda: 1.0, lambda: self.now))
        self.reconciler = Reconciler(
            systemd=self.systemd,
            files=files,
            snapshots=snapshots,
            ledger=ledger,
            desk=OperatorDesk(
                requests,
                HistoryFile(self.state / "history.json", AuditFile(self.state / "audit")),
                self.directory / "plan.json",
            ),
            publisher=publisher,
            notes=notes,
            runner=ActionRunner(Executor(self.systemd, files, RENDERER, ledger), publisher, notes),
            settings=self.settings,
        )
        return self.reconciler

    def select(self, **versions: int) -> None:
        """Have the registry select these models and versions."""
        models = [
            {
                "name": name,
                "version": version,
                "source": f"models:/{self.origin}-{name}{version}",
                "selected_by": "stage:Production",
            }
            for name, version in sorted(versions.items())
        ]
        self.known |= versions.keys()
        document = {"schema": 1, "registry": "http://r", "read_at": _moment(), "models": models}
        self.write_snapshot({**document, "known": sorted(self.known - versions.keys())})

    def write_snapshot(self, document: object) -> None:
        """Write the agent's file, whatever it says."""
        path = self.directory / "registry.json"
        path.write_text(json.dumps(document))
        path.chmod(0o644)

    def converge(self) -> None:
        """Run passes and let systemd finish its jobs until nothing changes any more."""
        for _ in range(ENOUGH_PASSES):
            acted = self.reconciler.one_pass()
            self.systemd.settle()
            if not acted and not self.reconciler.one_pass():
                return
        raise AssertionError(f"still acting after {ENOUGH_PASSES} passes")

    def status(self) -> dict[str, DeploymentStatus]:
        """Read the published status, by name."""
        document = Status.model_validate_json((self.directory / "status.json").read_bytes())
        for one in document.deployments:
            assert one.state in REASONS[one.reason][1], f"docs/reference/states.md has no {one.reason} with {one.state}"
        return {one.name: one for one in document.deployments}

    def listing(self) -> set[str]:
        """Everything that a deployment could leave behind."""
        files = {str(path.relative_to(self.directory)) for path in self.directory.rglob("*")}
        units = set(self.systemd.units())
        return files | units | self.systemd.state_directories

    def _behave(self, unit: str) -> Behaviour:
        if unit in self.failures:
            return self.failures[unit]
        step = names.parse_step(unit)
        if step and step.step is names.Step.FETCH:
            files, environment = self.files(step.name, step.version), self.environment(step.name, step.version)
            found = self.examples.get(step.version)
            example = f"; example={found}" if found else ""
            return Behaviour(status_text=f"fetched 3 files, 1 KiB{example}; files={files}; environment={environment}")
        if names.parse_build(unit):
            return Behaviour(status_text=f"built environment; content={self.content}")
        return Behaviour()


def _moment() -> str:
    return datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).isoformat()


@contextlib.contextmanager
def in_memory() -> Iterator[Path]:
    """A directory that goes with the test, and in which fsync costs nothing."""
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:
        yield Path(directory)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory in memory."""
    with in_memory() as directory:
        yield directory


@pytest.fixture
def world(tmp_path: Path) -> World:
    """An empty host."""
    return World(tmp_path / "host")
