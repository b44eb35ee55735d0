"""The registry agent: reads the registry at intervals, and keeps the snapshot file in step with it."""

import errno
import os
import queue
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from pydantic import ValidationError

from reconciler.adapters.journal import configure, notify
from reconciler.adapters.registry_mlflow import MlflowRegistry
from reconciler.agent.abilities import AbilitiesTeller
from reconciler.agent.fleet import FleetTeller
from reconciler.agent.report import Reporter
from reconciler.core.registry.reading import RegistryReading
from reconciler.core.registry.selection import InconsistentReadingError, refusals, select
from reconciler.core.registry.selection_changes import changes
from reconciler.core.registry.tag_words import Place
from reconciler.core.state.snapshot import MAX_SNAPSHOT_BYTES, Snapshot
from reconciler.core.text.quote import one_line
from reconciler.core.units import paths, status_lines
from reconciler.files.atomic import replace_file
from reconciler.files.status_file import STATUS_FILE
from reconciler.files.untrusted import UnacceptableFileError, read_foreign_file
from reconciler.ports.registry import Registry, RegistryError
from reconciler.settings.load import SettingsError, load, settings_files
from reconciler.settings.model import Settings

REGISTRY_FILE = Path(paths.REGISTRY_FILE)
JITTER = 0.1
"""Share of the poll interval by which each poll is moved at random, so that many hosts do not ask at once."""
MENDED_BY_A_START = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS}
"""Errors of a write after somebody removed or changed our directory: systemd makes it anew when it starts us."""

log = structlog.get_logger()


class Agent:
    """Polls one registry. Invariant: the file changes only when a complete reading selects something else."""

    def __init__(self, settings: Settings, registry_file: Path, reporter: Reporter, registry: Registry) -> None:
        """Go on from what `registry_file` holds already: a restart announces nothing twice."""
        self._settings = settings
        self._file = registry_file
        self._reporter = reporter
        self._registry = registry
        self._abilities = AbilitiesTeller()
        self._fleet = FleetTeller(registry_file.with_name(Path(paths.FLEET_FILE).name))
        self._failures = 0
        self._content = _read_own(registry_file)
        self._written = self._announced = _parse(self._content)

    def use(self, settings: Settings, registry: Registry) -> None:
        """Go by new settings from now on, and by a registry that was made from them."""
        self._settings, self._registry = settings, registry

    def poll(self) -> None:
        """Read the registry once and write what it selects. A failure leaves the file as it is."""
        settings = self._settings.registry
        try:
            source = settings.source
            reading = self._registry.read(source.selectors, source.choose)
            snapshot = select(reading, source, datetime.now(UTC), self._settings.rollout.after)
            self._write(snapshot)
        except (RegistryError, InconsistentReadingError, ValidationError, OSError) as error:
            self._note_failure(error)
            return
        self._note_success(reading, snapshot)
        self._fleet.tell(reading)
        if settings.report:
            refused = refusals(reading, snapshot.source) if snapshot.not_deployable else ()
            why = {Place(refusal.name, refusal.version): refusal.why for refusal in refused}
            self._reporter.report(reading, self._registry, why)
            if self._reporter.host is not None:
                self._abilities.tell(self._settings, self._reporter.host, self._registry)

    def _write(self, snapshot: Snapshot) -> None:
        """Write the file if it says something else, or only confirm it with a new time stamp."""
        selects_the_same = self._written is not None and self._written.same_selection(snapshot)
        if selects_the_same:
            # Its content is compared too: somebody with more rights may have changed the file.
            if _read_own(self._file) == self._content:
                os.utime(self._file)
                return
            log.warning(f"somebody else changed {self._file}; it is written again")
        content = snapshot.model_dump_json(by_alias=True, indent=1).encode()
        if len(content) > MAX_SNAPSHOT_BYTES:
            raise InconsistentReadingError("it selects more than the snapshot may hold")
        # Logged before the file is written: the reconciler acts on it at once, and its lines should come after these.
        for change in changes(self._announced, snapshot):
            log.info(change.sentence, MODEL=change.name, MODEL_VERSION=change.version)
        # None until the write has worked, so that a failed one is repeated even if the selection stays the same.
        self._announced, self._written = snapshot, None
        replace_file(self._file, content, 0o644)
        self._content, self._written = content, snapshot

    def _note_failure(self, error: Exception) -> None:
        """Log the first failure in a row, and show each in the status. A lost directory ends the process."""
        line = self._describe_failure(error)
        if self._failures == 0:
            log.warning(f"{line}; what is deployed stays as it is")
        self._failures += 1
        notify(STATUS=f"{line} (try {self._failures}); what is deployed stays as it is")
        if isinstance(error, OSError) and error.errno in MENDED_BY_A_START:
            log.warning(
                f"cannot use the directory of {self._file}; the agent ends, and systemd starts it with a new one"
            )
            sys.exit(1)

    def _describe_failure(self, error: Exception) -> str:
        if isinstance(error, OSError):
            return f"cannot write {self._file}: {error.strerror}"
        is_odd_answer = isinstance(error, ValidationError)  # whose own text would quote the answer
        why = "its answer makes no snapshot" if is_odd_answer else one_line(str(error), 200)
        return status_lines.cannot_read_registry(self._settings.registry.uri, why)

    def _note_success(self, reading: RegistryReading, snapshot: Snapshot) -> None:
        if self._failures:
            tries = "1 failed try" if self._failures == 1 else f"{self._failures} failed tries"
            log.info(f"reads the registry at {self._settings.registry.uri} again after {tries}")
            self._failures = 0
        count = "1 model" if len(reading.models) == 1 else f"{len(reading.models)} models"
        notify(STATUS=f"read {count} at {self._settings.registry.uri}, {len(snapshot.models)} selected")


def run_agent(
    settings: Settings, config: Path | None = None, *, registry_file: Path = REGISTRY_FILE, status: Path = STATUS_FILE
) -> None:
    """Run until SIGTERM, which ends the process. SIGHUP makes it read the settings again from `config`."""
    configure("registry-agent")
    # SimpleQueue, because its put() may be called from a signal handler that interrupts its get().
    wakes: queue.SimpleQueue[str] = queue.SimpleQueue()
    signal.signal(signal.SIGTERM, _end_at_once)
    signal.signal(signal.SIGINT, _end_at_once)
    signal.signal(signal.SIGHUP, lambda _number, _frame: wakes.put("reload"))
    notify(READY="1", STATUS=f"reading the registry at {settings.registry.uri}")
    scheduler = BackgroundScheduler(timezone=UTC)
    scheduler.start()
    _schedule(scheduler, settings, wakes)
    agent = Agent(settings, registry_file, Reporter(status), _connect(settings))
    stamp = _stamp(config)
    while True:
        agent.poll()
        woken = _await(wakes, 2.0 * settings.registry.poll_interval, time.monotonic)
        changed = "reload" in woken or _stamp(config) != stamp
        if changed:
            stamp = _stamp(config)
            settings = _reloaded(settings, config)
            agent.use(settings, _connect(settings))
        # Without a wake for two intervals the scheduler is behind a clock that jumped back: it starts anew.
        if changed or "poll" not in woken:
            _schedule(scheduler, settings, wakes)


def _connect(settings: Settings) -> Registry:
    registry = settings.registry
    return MlflowRegistry(registry.uri, registry.timeout, plain_http=registry.plain_http, workspace=registry.workspace)


def _schedule(scheduler: BackgroundScheduler, settings: Settings, wakes: "queue.SimpleQueue[str]") -> None:
    interval = settings.registry.poll_interval
    scheduler.add_job(
        wakes.put,
        "interval",
        args=["poll"],
        seconds=interval,
        jitter=JITTER * interval,
        id="poll",
        replace_existing=True,
        coalesce=True,
        misfire_grace_time=None,
    )


def _await(wakes: "queue.SimpleQueue[str]", patience: float, monotonic: Callable[[], float]) -> set[str]:
    """Wait for a wake and return all that have gathered; nothing after `patience` seconds.

    The scheduler goes by the wall clock: after a jump back it would be silent until the clock has caught up.
    """
    end = monotonic() + patience
    while (left := end - monotonic()) > 0:
        notify(WATCHDOG="1")
        try:
            woken = {wakes.get(timeout=min(left, 20.0))}
        except queue.Empty:
            continue
        while not wakes.empty():
            woken.add(wakes.get())
        return woken
    return set()


def _stamp(config: Path | None) -> tuple[tuple[str, int, int], ...]:
    """Return something that differs once a settings file has changed; the next poll compares it."""
    try:
        return tuple((str(file), file.stat().st_mtime_ns, file.stat().st_ino) for file in settings_files(config))
    except (OSError, SettingsError):
        return ()


def _reloaded(settings: Settings, config: Path | None) -> Settings:
    try:
        new = load(config)
    except SettingsError as error:
        log.warning(f"{error}; the old settings stay in force")
        return settings
    log.info("read the settings again")
    return new


def _end_at_once(_number: int, _frame: FrameType | None) -> None:
    # Even in the middle of a poll: the file is replaced atomically, and nothing depends on a request under way.
    notify(STOPPING="1", STATUS="stopped")
    sys.stderr.flush()
    os._exit(0)


def _read_own(path: Path) -> bytes | None:
    """Read what this or an earlier run wrote; None when the reconciler would not accept the file."""
    try:
        return read_foreign_file(path, os.getuid(), MAX_SNAPSHOT_BYTES).content
    except UnacceptableFileError:
        return None


def _parse(content: bytes | None) -> Snapshot | None:
    try:
        return None if content is None else Snapshot.model_validate_json(content)
    except ValidationError:
        return None
