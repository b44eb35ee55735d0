"""The daemon: wakes up, runs passes until nothing is left to do, tells systemd that it is well, and waits."""

import os
import queue
import signal
import time
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Protocol

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from reconciler.adapters.journal import notify
from reconciler.core.units import paths
from reconciler.daemon import journal_messages
from reconciler.settings.load import SettingsError
from reconciler.settings.model import Settings

log = structlog.get_logger()

PASSES_IN_A_ROW = 50
"""More than any sequence of steps needs. If more are needed, something undoes the actions: continue more slowly."""
BREATH = 1.0
AFTER_A_FAILED_PASS = 5.0
"""Seconds, both."""
REST = 4
"""How many times as long as a pass that found nothing to do the loop rests after it, whatever happens meanwhile.

Every server under traffic tells its counters now and then. On a host with many of them there is always news, and one
pass after the other would take a whole processor."""
LONGEST_REST = 3.0
"""Seconds."""
TIMER_JITTER = 2
"""Seconds."""
AFTER_THE_TIMER = 5.0
"""Seconds after which the loop no longer waits for the timer, whose clock may have jumped back."""
FIRST_PASS_STEP_USEC = 60_000_000
"""Microseconds that the next action of the first pass may take before the start counts as failed."""


class Publisher(Protocol):
    """What tells how things stand."""

    @property
    def sentence(self) -> str:
        """One sentence for people about everything."""


class Passes(Protocol):
    """Whose passes are run: those over this host (one_pass.py), or over a namespace (cluster_pass.py)."""

    settings: Settings
    settings_trouble: str
    """Why the settings on disk are not those in force; "" when they are."""

    @property
    def publisher(self) -> Publisher:
        """Tells how things stand."""

    def on_progress(self, call: Callable[[], None]) -> None:
        """Have `call` called after each action, whether it worked or not."""

    def one_pass(self) -> bool:
        """Run one pass; return whether another one is worth while at once."""

    def next_deadline(self) -> float | None:
        """Return when, on the monotonic clock, a pass is due although nothing happened; None when none is."""


class Loop:
    """Events only wake; a pass reads everything again, so none of them can be missed or come too often."""

    def __init__(
        self,
        reconciler: Passes,
        load_settings: Callable[[], Settings],
        refresh_watches: Callable[[], None] = lambda: None,
    ) -> None:
        """Run `reconciler`; `load_settings` is called for a reload and may raise SettingsError.

        `refresh_watches` is called before passes: directories that were made meanwhile are watched from then on.
        """
        self._reconciler = reconciler
        self._refresh_watches = refresh_watches
        self._load_settings = load_settings
        # SimpleQueue, because its put() may be called from a signal handler that interrupts its get().
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._ends_of_rest: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stopping = False
        self._tired = 0.0
        """Seconds to rest after the last pass."""
        self._settings_changed = False
        self._ready = False
        reconciler.on_progress(self._notify_progress)

    def wake(self) -> None:
        """Ask for a pass soon; safe from any thread and from a signal handler."""
        if self._wakes.empty():  # one is enough, and thousands would be memory
            self._wakes.put(None)

    def hurry(self) -> None:
        """Ask for a pass at once, because a person waits for it; safe from any thread."""
        if self._ends_of_rest.empty():
            self._ends_of_rest.put(None)
        self.wake()

    def stop(self) -> None:
        """Ask for the end of the loop; safe from any thread and from a signal handler."""
        self._stopping = True
        self._ends_of_rest.put(None)
        self.wake()

    def settings_changed(self) -> None:
        """Ask for the settings to be read again before the next pass."""
        self._settings_changed = True
        self.wake()

    def run(self) -> None:
        """Run until SIGTERM or SIGINT. READY follows the first pass; it never waits for the registry."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: self.stop())
        signal.signal(signal.SIGHUP, lambda _number, _frame: self.settings_changed())
        timer = BackgroundScheduler(timezone=UTC)
        self._schedule(timer)
        timer.start()
        while not self._stopping:
            if self._take_settings():
                self._schedule(timer)
            lost = _lost_directory()
            if lost:
                # systemd mounts the unit's own directories when it starts the unit, and never again.
                log.warning(f"the directory {lost} is gone, so this ends and systemd starts it again")
                break
            self._refresh_watches()
            patience = self._pass_until_done()
            self._rest()
            self._wait(patience - self._tired)
            timer.wakeup()
        notify(STOPPING="1", STATUS="stopped; the models go on serving")
        timer.shutdown(wait=False)

    def _pass_until_done(self) -> float:
        """Run passes until one finds nothing to do; gives the seconds to wait for events after it."""
        self._tired = 0.0
        for _ in range(PASSES_IN_A_ROW):
            began = time.monotonic()
            try:
                acted = self._reconciler.one_pass()
            except Exception as error:
                # No WATCHDOG: passes that fail again and again end with a restart by systemd.
                log.exception(f"cannot complete a pass: {error}; it is tried again")
                notify(STATUS=f"cannot complete a pass: {error}; see journalctl -u mlflow-reconciler")
                return AFTER_A_FAILED_PASS
            if self._stopping:
                return 0.0
            if not acted:
                self._tired = min(LONGEST_REST, REST * (time.monotonic() - began))
                self._notify_done()
                return self._patience()
            self._notify_progress()
        log.warning("passes still find something to do; going on more slowly")
        return BREATH

    def _notify_done(self) -> None:
        """Notify systemd that a pass found nothing left to do: the first time, that is when the service is ready."""
        ready = {} if self._ready else {"READY": "1"}
        notify(STATUS=self._reconciler.publisher.sentence, WATCHDOG="1", **ready)
        self._ready = True

    def _notify_progress(self) -> None:
        """Notify systemd of progress: a pass over many models may take long, the first one too."""
        extended = {} if self._ready else {"EXTEND_TIMEOUT_USEC": str(FIRST_PASS_STEP_USEC)}
        notify(WATCHDOG="1", **extended)

    def _rest(self) -> None:
        """Rest after a pass, so that passes take a part of the time only; a stop or a person's request ends it."""
        try:
            self._ends_of_rest.get(timeout=self._tired)
        except queue.Empty:
            return

    def _wait(self, patience: float) -> None:
        """Wait for an event; a timer of wall-clock time stalls when the clock jumps back, this one cannot."""
        if patience <= 0:
            return
        try:
            self._wakes.get(timeout=patience)
        except queue.Empty:
            return
        while not self._wakes.empty():  # one pass answers all of them
            self._wakes.get()

    def _patience(self) -> float:
        """Seconds to wait when nothing happens."""
        longest = self._reconciler.settings.reconcile.interval + AFTER_THE_TIMER
        watchdog = int(os.environ.get("WATCHDOG_USEC", "0"))
        if watchdog > 0:
            longest = min(longest, watchdog / 1e6 / 3)  # well before systemd would end the process
        deadline = self._reconciler.next_deadline()
        if deadline is None:
            return longest
        return max(0.01, min(longest, deadline - time.monotonic()))  # at least: a due deadline must not spin

    def _schedule(self, timer: BackgroundScheduler) -> None:
        interval = self._reconciler.settings.reconcile.interval
        timer.add_job(self.wake, "interval", seconds=interval, jitter=TIMER_JITTER, id="pass", replace_existing=True)

    def _take_settings(self) -> bool:
        """Take new settings if they can be used; a running daemon keeps the old ones otherwise."""
        if not self._settings_changed:
            return False
        self._settings_changed = False
        try:
            settings = self._load_settings()
        except SettingsError as error:
            trouble = f"{error}; the old settings stay in force"
            log.error(  # noqa: TRY400 - the sentence says all; a traceback would say less
                trouble, MESSAGE_ID=journal_messages.SETTINGS_REFUSED
            )
            self._reconciler.settings_trouble = trouble
            return False
        self._reconciler.settings_trouble = ""
        if settings == self._reconciler.settings:
            return False
        self._reconciler.settings = settings
        log.info("took new settings")
        return True


def _lost_directory() -> str | None:
    """Find the directory of ours that somebody removed; one on a disk that refuses to write is still there."""
    if not os.access(paths.RUN_DIRECTORY, os.W_OK):
        return paths.RUN_DIRECTORY
    return None if Path(paths.STATE_DIRECTORY).is_dir() else paths.STATE_DIRECTORY
