"""Puts the pieces of a reconciler together that looks after a namespace of a cluster, and runs it."""

import os
import random
import time
from pathlib import Path

import structlog

from reconciler.adapters.file_events import FileEvents
from reconciler.adapters.journal import configure
from reconciler.adapters.systemctl import show
from reconciler.apply.manifests import ManifestRenderer
from reconciler.core.units import paths
from reconciler.daemon.clock import Clock
from reconciler.daemon.cluster_pass import ClusterReconciler, ClusterRunner
from reconciler.daemon.loop import Loop
from reconciler.daemon.notes import Notes
from reconciler.daemon.operators import OperatorDesk
from reconciler.daemon.publish import StatusPublisher
from reconciler.daemon.wiring import AGENT_UNIT, signer, snapshots
from reconciler.files.audit_file import AUDIT_DIRECTORY, AuditFile
from reconciler.files.history_file import HISTORY_FILE, HistoryFile
from reconciler.files.ledger_file import LedgerFile
from reconciler.files.request_answer import REQUESTS
from reconciler.files.request_inbox import RequestInbox
from reconciler.files.status_file import STATUS_FILE
from reconciler.ports.cluster import Cluster, ClusterError
from reconciler.settings.load import SettingsError, load
from reconciler.settings.model import Settings

log = structlog.get_logger()

KUBECONFIG = "kubernetes.kubeconfig"
"""The credential with address and login of the cluster."""


class NoClusterError(Exception):
    """There is no cluster to look after; the message begins with `cannot` and says what to do."""


def run_cluster(settings: Settings, config: Path | None) -> None:
    """Reconcile until stopped. Raises NoClusterError."""
    if os.geteuid() == 0:
        raise NoClusterError("cannot look after a cluster as root: root reaches no network; see fleet/kubernetes.md")
    _refuse_confirmation(settings)
    configure("reconciler")
    reconciler = cluster_reconciler(settings, connect(settings))
    inbox = RequestInbox(owner=os.geteuid())
    inbox.prepare()
    events = FileEvents()
    loop = Loop(reconciler, lambda: _reloaded(config, settings), events.refresh)
    events.on_replacement(Path(paths.REGISTRY_FILE).parent, loop.wake)
    events.on_change(Path("/etc/mlflow-reconciler"), loop.settings_changed, recursive=True)
    events.on_change(Path(paths.SHIPPED_TEMPLATES), loop.wake, recursive=True)
    events.on_replacement(REQUESTS, loop.hurry)
    reconciler.cluster.watch(loop.wake)
    # Without events the timer still runs a pass every reconcile.interval seconds.
    try:
        events.start()
    except OSError as error:
        log.warning(f"cannot watch files: {error.strerror}; changes are noticed by the timer instead")
    loop.run()
    events.close()


def _refuse_confirmation(settings: Settings) -> None:
    if settings.reconcile.mode == "confirm":
        raise NoClusterError('cannot look after a cluster with reconcile.mode = "confirm"; set it to "automatic"')


def _reloaded(config: Path | None, former: Settings) -> Settings:
    """Read the settings again. Raises SettingsError, also for what only a new process can take."""
    settings = load(config)
    if settings.kubernetes.namespace != former.kubernetes.namespace:
        raise SettingsError("kubernetes.namespace was changed: restart mlflow-reconciler to look after another one")
    try:
        _refuse_confirmation(settings)
    except NoClusterError as error:
        raise SettingsError(str(error)) from error
    return settings


def connect(settings: Settings) -> Cluster:
    """Connect to the cluster that the credential names. Raises NoClusterError."""
    if not settings.kubernetes.image:
        raise NoClusterError("cannot look after a cluster: kubernetes.image is not set; set it to the product's image")
    kubeconfig = Path(os.environ.get("CREDENTIALS_DIRECTORY", ""), KUBECONFIG)
    if not kubeconfig.is_file():
        raise NoClusterError(
            f"cannot look after a cluster: there is no credential '{KUBECONFIG}'; "
            f"put the kubeconfig into /etc/credstore/{KUBECONFIG} and restart mlflow-reconciler"
        )
    try:
        from reconciler.adapters.kubernetes_cluster import KubernetesCluster
    except ImportError as error:
        raise NoClusterError(
            f"cannot look after a cluster: {error}; install the product with ./dev install --with kubernetes"
        ) from error
    try:
        return KubernetesCluster(str(kubeconfig), settings.kubernetes.namespace)
    except ClusterError as error:
        raise NoClusterError(str(error)) from error


def cluster_reconciler(settings: Settings, cluster: Cluster) -> ClusterReconciler:
    """Make the reconciler of a namespace."""
    ledger = LedgerFile(Path(paths.STATE_DIRECTORY) / "ledger.json")
    publisher = StatusPublisher(STATUS_FILE, time.time, _agent_says)
    notes = Notes(Clock(time.monotonic, random.random))
    renderer = ManifestRenderer([Path(paths.OWN_TEMPLATES), Path(paths.SHIPPED_TEMPLATES)])
    history = HistoryFile(HISTORY_FILE, AuditFile(AUDIT_DIRECTORY, signer()))
    return ClusterReconciler(
        cluster=cluster,
        snapshots=snapshots(),
        ledger=ledger,
        desk=OperatorDesk(RequestInbox(owner=os.geteuid()), history),
        publisher=publisher,
        notes=notes,
        runner=ClusterRunner(cluster, renderer, ledger, publisher, notes),
        settings=settings,
    )


def _agent_says() -> str:
    return show([AGENT_UNIT], ["StatusText"]).get(AGENT_UNIT, {}).get("StatusText", "")
