"""Listens to systemd's signals: a job ended, a unit changed. No unit can send so many that they do harm."""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable

from gi.repository import Gio, GLib

from reconciler.adapters.kept_units import KeptUnits
from reconciler.core.planner.flooding import SPAN, TOO_MANY
from reconciler.core.units import names

BUS = "org.freedesktop.systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
KEPT_JOBS = 1000
TOO_MANY_IN_ALL = 5000
"""Changes of all units of the host within `SPAN`; more where many servers tell their counters once a second."""
OF_EACH_SERVER = 10
"""Changes of each server within `SPAN` that are not too many in all."""
SILENCE = 10
"""Seconds without signals after there were too many; the units are looked at once a second instead."""
NOW_AND_THEN = 0.2
"""Seconds after which a wait looks again without a signal."""
_ESCAPED = re.compile(r"_([0-9a-f]{2})")


class Signals:
    """Listens in a thread of its own, which never waits: signals that it does not take in time fill our memory.

    A model can change its unit as often as it likes, by a status line for instance, and each change is a signal of some
    kilobytes. So the changes are counted; when there are too many, the bus is asked to send none of them for a while.
    """

    def __init__(self, connection: Gio.DBusConnection, kept: KeptUnits) -> None:
        """Begin to listen; `kept` is told what changed, and when changes may have been missed."""
        self._connection = connection
        self._kept = kept
        self._stirred = threading.Event()
        self._finished: dict[str, str] = {}
        self._floods: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._in_all = 0
        self._span_ends = 0.0
        self._changes: int | None = None
        self._silent_for = 0
        self.servers = 0
        """How many servers may change."""
        self.wake: Callable[[], None] = lambda: None
        """Called, in that thread, when something of ours changed; it may not wait."""
        for name in ("JobRemoved", "UnitRemoved", "UnitFilesChanged", "Reloading"):
            self._subscribe(MANAGER, name, None, self._on_manager)
        self._listen()
        self._loop = GLib.MainLoop()
        threading.Thread(target=self._loop.run, name="dbus-signals", daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._loop.quit()

    def take_result(self, job: str) -> str | None:
        """Return the result of a job that ended, once; its signal may come before the call that started it returns."""
        return self._finished.pop(job, None)

    def wait_for(self, done: Callable[[], bool], patience: float) -> bool:
        """Wait until `done()`, which is called after each signal and now and then. False after `patience` seconds."""
        end = time.monotonic() + patience
        while True:
            # Cleared before it looks: a signal that comes meanwhile makes it look again.
            self._stirred.clear()
            if done():
                return True
            left = end - time.monotonic()
            if left <= 0:
                return False
            self._stirred.wait(min(left, NOW_AND_THEN))

    @property
    def hears(self) -> bool:
        """Whether changes are listened to; what was read before one was missed does not hold."""
        return self._changes is not None

    def flooding(self) -> frozenset[str]:
        """Return the units that changed too often, until they are killed or their signals are listened to again."""
        return frozenset(self._floods)

    def was_killed(self, unit: str) -> None:
        """Forget that a unit flooded: its processes were killed."""
        self._floods.discard(unit)

    def _subscribe(self, interface: str, name: str, arg0: str | None, called: Callable[..., None]) -> int:
        # Of systemd alone: every user of the host may send signals that look like its own.
        number: int = self._connection.signal_subscribe(
            BUS, interface, name, None, arg0, Gio.DBusSignalFlags.NONE, called
        )
        return number

    def _listen(self) -> None:
        self._begin_to_count()
        self._floods.clear()
        self._changes = self._subscribe(
            "org.freedesktop.DBus.Properties", "PropertiesChanged", f"{BUS}.Unit", self._on_change
        )
        # After that: the bus keeps the order, so what a look reads from here on is told when it changes.
        self._kept.forget()

    def _on_manager(
        self, _bus: Gio.DBusConnection, _sender: str, _path: str, _interface: str, signal: str, parameters: GLib.Variant
    ) -> None:
        about = parameters.unpack()
        if signal == "Reloading":
            self._kept.note_doubt()
        if signal == "JobRemoved" and names.is_ours(about[2]):
            # What systemd has loaded anew since is told once without a change.
            self._kept.note_change(about[2])
            self._finished[about[1]] = about[3]
            while len(self._finished) > KEPT_JOBS:
                self._finished.pop(next(iter(self._finished)))
        self._stirred.set()
        unit = {"JobRemoved": 2, "UnitRemoved": 0}.get(signal)
        if unit is None or names.is_ours(about[unit]):
            self.wake()

    def _on_change(self, _bus: Gio.DBusConnection, _sender: str, path: str, *_rest: object) -> None:
        """Count before anything else, and unpack nothing: this has to be quicker than a unit that floods."""
        now = time.monotonic()
        if now > self._span_ends:
            self._begin_to_count()
            self._span_ends = now + SPAN
        # Paths of units that are not ours are counted as well: any of them can flood the connection.
        self._counts[path] += 1
        self._in_all += 1
        unit = path.rpartition("/")[2]
        if self._counts[path] > TOO_MANY:
            self._floods.add(unit_named(unit))
            self._be_silent()
        elif self._in_all > max(TOO_MANY_IN_ALL, OF_EACH_SERVER * self.servers):
            self._be_silent()
        is_ours = unit.startswith(("model_2d", "mlflow_2d", "nats_2dbridge_40", "docker_2dcompose_2dmodel_40"))
        if is_ours:
            # Before anybody is woken to look.
            self._kept.note_change(unit_named(unit))
        self._stirred.set()
        if is_ours:
            self.wake()

    def _begin_to_count(self) -> None:
        self._counts.clear()
        self._in_all = 0

    def _be_silent(self) -> None:
        """Ask for no changes for a while. Queued ones are dropped with the subscription."""
        if self._changes is None:
            return
        self._connection.signal_unsubscribe(self._changes)
        self._changes = None
        self._silent_for = 0
        GLib.timeout_add_seconds(1, self._look)

    def _look(self) -> bool:
        """Wake the reconciler to look by itself, once a second; False when changes are listened to again."""
        self._silent_for += 1
        is_over = self._silent_for >= SILENCE
        if is_over:
            self._listen()
        self._stirred.set()
        self.wake()
        return not is_over


def unit_named(escaped: str) -> str:
    """Read a unit's name from the last part of its object's path."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), escaped)
