"""A host that looks after a namespace in memory."""

import json
import os
from dataclasses import replace
from pathlib import Path

from reconciler.apply.manifests import ManifestRenderer
from reconciler.core.operators.requests import Request
from reconciler.core.operators.verbs import Verb
from reconciler.core.state.status import DeploymentStatus, Status
from reconciler.daemon.clock import Clock
from reconciler.daemon.cluster_pass import ClusterReconciler, ClusterRunner
from reconciler.daemon.notes import Notes
from reconciler.daemon.operators import OperatorDesk
from reconciler.daemon.publish import StatusPublisher
from reconciler.files.audit_file import AuditFile
from reconciler.files.history_file import HistoryFile
from reconciler.files.ledger_file import LedgerFile
from reconciler.files.request_inbox import RequestInbox
from reconciler.files.snapshot_file import Snapshots
from reconciler.settings.model import DeploySettings, KubernetesSettings, Settings
from tests.fakes.cluster import FakeCluster
from tests.reference.states import REASONS
from tests.unit.conftest import CHECKOUT, OPEN

IMAGE = f"registry.example.org/mlflow-systemd@sha256:{'1' * 64}"
GRACE = 600.0


class Site:
    """A host that looks after a namespace."""

    def __init__(self, directory: Path) -> None:
        """Begin with an empty namespace and no snapshot."""
        self.directory = directory
        self.now = 1000.0
        self.known: set[str] = set()
        self.tags: dict[str, dict[str, str]] = {}
        self.cluster = FakeCluster()
        self.settings = Settings(
            policy=OPEN,
            deploy=DeploySettings(soak=60, removal_grace=int(GRACE)),
            kubernetes=KubernetesSettings(image=IMAGE),
        )
        self.reconciler = self.restarted()

    def restarted(self) -> ClusterReconciler:
        """Start the reconciler anew."""
        ledger = LedgerFile(self.directory / "ledger.json")
        publisher = StatusPublisher(self.directory / "status.json", lambda: self.now, lambda: "")
        notes = Notes(Clock(lambda: self.now, lambda: 1.0, lambda: self.now))
        history = HistoryFile(self.directory / "history.json", AuditFile(self.directory / "audit"))
        inbox = RequestInbox(self.directory / "requests", os.getuid())
        inbox.prepare()
        renderer = ManifestRenderer([CHECKOUT / "templates"])
        self.reconciler = ClusterReconciler(
            cluster=self.cluster,
            snapshots=Snapshots(self.directory / "registry.json", self.directory / "kept.json", os.getuid),
            ledger=ledger,
            desk=OperatorDesk(inbox, history, self.directory / "plan.json"),
            publisher=publisher,
            notes=notes,
            runner=ClusterRunner(self.cluster, renderer, ledger, publisher, notes),
            settings=self.settings,
        )
        return self.reconciler

    def use_templates(self, own: Path) -> None:
        """Have the host's own templates go before the product's."""
        renderer = ManifestRenderer([own, CHECKOUT / "templates"])
        self.reconciler.runner = replace(self.reconciler.runner, renderer=renderer)

    def select(self, **versions: int) -> None:
        """Have the registry select these models and versions."""
        self.known |= versions.keys()
        models = [
            {
                "name": name,
                "version": version,
                "source": f"models:/m-{name}{version}",
                "selected_by": "stage:Production",
                "settings": self.tags.get(name, {}),
            }
            for name, version in sorted(versions.items())
        ]
        document = {
            "schema": 1,
            "registry": "http://r",
            "read_at": "2026-01-01T00:00:00+00:00",
            "models": models,
            "known": sorted(self.known - versions.keys()),
        }
        path = self.directory / "registry.json"
        path.write_text(json.dumps(document))
        path.chmod(0o644)
        self.settle()

    def settle(self) -> None:
        """Run passes until nothing is done any more."""
        for _ in range(20):
            if not self.reconciler.one_pass():
                return
        raise AssertionError(f"still acting: {self.cluster.calls[-10:]}")

    def job(self, name: str = "pauses") -> str:
        """Name the newest Job of a model."""
        found = [unit.partition("/")[2] for unit in self.cluster.objects if unit.startswith(f"Job/model-{name}-v")]
        return found[-1]

    def prepare(self, name: str = "pauses", environment: str = "host", example: str = "") -> None:
        """Have the Job of a model end well."""
        self.cluster.finish_job(self.job(name), environment=environment, example=example)
        self.settle()

    def serve(self, version: int, name: str = "pauses") -> None:
        """Bring a version into service."""
        self.select(**{name: version})
        self.prepare(name)
        self.cluster.roll_out(name)
        self.settle()

    def status(self, name: str = "pauses") -> DeploymentStatus:
        """Read the published status of a model."""
        document = Status.model_validate_json((self.directory / "status.json").read_bytes())
        found = {one.name: one for one in document.deployments}
        for one in found.values():
            assert one.state in REASONS[one.reason][1], f"docs/reference/states.md has no {one.reason} with {one.state}"
        return found[name]

    def ask(self, verb: Verb, name: str | None = None, version: int | None = None) -> str:
        """Ask the reconciler something and return its answer."""
        request = Request(verb=verb, name=name, by="ops", version=version)
        path = self.directory / "requests" / "1.json"
        path.write_text(request.model_dump_json(by_alias=True))
        path.chmod(0o600)
        os.utime(path, (self.now, self.now))
        self.settle()
        answer = json.loads(path.with_suffix(".answer").read_text())
        path.with_suffix(".answer").unlink()
        return str(answer["message"])

    def kinds(self) -> list[str]:
        """List the kinds of what is in the namespace, each once."""
        return sorted({unit.partition("/")[0] for unit in self.cluster.objects})

    def asked_version(self, name: str = "pauses") -> str:
        """Return the version whose servers the Deployment asks for."""
        labelled = self.cluster.objects[f"Deployment/model-{name}"]["metadata"]["labels"]
        return str(labelled["mlflow-systemd/release"]).partition(".")[0]


def change(site: Site, **settings: object) -> None:
    """Change settings of the host, as a reload does."""
    changed = {
        key: getattr(site.settings, key).model_copy(update=value)
        for key, value in settings.items()
        if isinstance(value, dict)
    }
    site.reconciler.settings = site.settings = site.settings.model_copy(update=changed)
    site.settle()
