"""Puts the pieces of a reconciler together for a real host."""

import random
import time
from pathlib import Path

import structlog

from reconciler.adapters.audit_key import AuditKeyError, audit_signer
from reconciler.adapters.systemd_dbus import SystemdOverDbus
from reconciler.apply.execute import Executor
from reconciler.apply.render import OLDEST_SYSTEMD, Renderer, verify_with_systemd
from reconciler.apply.unit_files import UnitFiles
from reconciler.core.state.audit import Signer
from reconciler.core.units import paths
from reconciler.daemon.action_runner import ActionRunner, AfterAction, ignore_action
from reconciler.daemon.clock import Clock
from reconciler.daemon.notes import Notes
from reconciler.daemon.one_pass import Reconciler
from reconciler.daemon.operators import OperatorDesk
from reconciler.daemon.publish import StatusPublisher
from reconciler.files.audit_file import AUDIT_DIRECTORY, AuditFile
from reconciler.files.history_file import HISTORY_FILE, HistoryFile
from reconciler.files.ledger_file import LedgerFile
from reconciler.files.request_inbox import RequestInbox
from reconciler.files.snapshot_file import Snapshots, agent_user
from reconciler.files.status_file import STATUS_FILE
from reconciler.ports.systemd import SystemdError
from reconciler.settings.model import Settings

log = structlog.get_logger()

AGENT_UNIT = "mlflow-registry-agent.service"


def snapshots() -> Snapshots:
    """The agent's snapshot, and the last one that was accepted."""
    return Snapshots(
        Path(paths.REGISTRY_FILE), Path(paths.STATE_DIRECTORY) / "snapshot.json", agent_user(paths.AGENT_USER)
    )


def unit_files() -> UnitFiles:
    """The unit files of this host."""
    return UnitFiles(
        Path(paths.UNIT_DIRECTORY),
        Path(paths.STATE_DIRECTORY) / "rendered",
        [Path(directory) for directory in paths.OTHER_UNIT_DIRECTORIES],
        Path(paths.EXPORTED_DIRECTORY),
    )


def renderer(systemd: int = OLDEST_SYSTEMD) -> Renderer:
    """The templates of this host, its own before the shipped ones; `systemd` is the version that reads the units."""
    return Renderer([Path(paths.OWN_TEMPLATES), Path(paths.SHIPPED_TEMPLATES)], verify_with_systemd, systemd)


def signer() -> Signer | None:
    """Return the key of the audit log. One that cannot be used stops nothing: then lines have no signature."""
    try:
        return audit_signer()
    except AuditKeyError as error:
        log.error(f"cannot sign the audit log: {error}; its lines have no signature until it is mended")  # noqa: TRY400 - the sentence says all
        return None


def reconciler(settings: Settings, after_action: AfterAction = ignore_action) -> Reconciler:
    """Make the reconciler of this host; `after_action` is for fault tests. Raises SystemdError without systemd."""
    # First: nothing else makes sense without it, and its error is the command's answer.
    systemd = SystemdOverDbus(float(settings.reconcile.job_timeout))
    files, ledger = unit_files(), LedgerFile(Path(paths.STATE_DIRECTORY) / "ledger.json")

    def agent_says() -> str:
        try:
            return systemd.status_text(AGENT_UNIT)
        except SystemdError as error:
            return str(error)  # it becomes part of the status: no reason to end a pass

    publisher = StatusPublisher(STATUS_FILE, time.time, agent_says)
    notes = Notes(Clock(time.monotonic, random.random))
    executor = Executor(systemd, files, renderer(systemd.version()), ledger)

    return Reconciler(
        systemd=systemd,
        files=files,
        snapshots=snapshots(),
        ledger=ledger,
        desk=OperatorDesk(RequestInbox(), HistoryFile(HISTORY_FILE, AuditFile(AUDIT_DIRECTORY, signer()))),
        publisher=publisher,
        notes=notes,
        runner=ActionRunner(executor, publisher, notes, after_action),
        settings=settings,
    )
