"""Carries out one action of a plan."""

from collections.abc import Callable

from reconciler.apply.render import Renderer
from reconciler.apply.unit_files import UnitFiles
from reconciler.core.planner import actions as act
from reconciler.core.planner.actions import Action
from reconciler.files.ledger_file import LedgerFile
from reconciler.ports.systemd import Systemd


class Executor:
    """Knows for each kind of action which file, call of systemd or record of the ledger it changes."""

    def __init__(self, systemd: Systemd, files: UnitFiles, renderer: Renderer, ledger: LedgerFile) -> None:
        """Act through `systemd`, on `files` and on `ledger`; `renderer` makes the texts of units."""
        self._systemd = systemd
        self._files = files
        self._renderer = renderer
        self._ledger = ledger
        self.patience = 5.0
        """Seconds that a server may take to go into standby, or to come back from it."""

    def execute(self, action: Action) -> None:
        """Carry out an action. Raises SystemdError, RenderError or OSError; the next pass observes what came of it.

        Notes are in force at once, and on disk before the next action of another kind, or with `finish`.
        """
        if not isinstance(action, act.Note):
            self._ledger.keep_notes()
        match action:
            case act.Render() | act.RestoreFile() | act.RemoveDropIns() | act.Remove():
                self._change_file(action)
            case act.Note() | act.ShowPin():
                self._remember(action)
            case act.StandBy(unit=unit):
                self._systemd.stand_by(unit, self.patience)
            case act.Resume(unit=unit):
                self._systemd.resume(unit, self.patience)
            case act.Start(unit=unit) if unit.endswith(".socket"):
                self._systemd.start_and_wait(unit)  # a port that is taken shows only in the job's result
            case act.Reload():
                self._systemd.reload()
            case _:
                self._method_for(action)(action.unit)

    def finish(self) -> None:
        """Bring the last notes to the disk."""
        self._ledger.keep_notes()

    def _change_file(self, action: Action) -> None:
        match action:
            case act.Render():
                self._files.write(action.unit, self._renderer.render(action))
            case act.RestoreFile():
                self._files.install(action.unit)
            case act.RemoveDropIns():
                self._files.remove_drop_ins(action.unit)
            case act.Remove():
                self._files.remove(action.unit)

    def _remember(self, action: act.Note | act.ShowPin) -> None:
        match action:
            case act.Note():
                self._ledger.note(action.change(self._ledger.ledger))
            case act.ShowPin(pin=pin):
                self._ledger.show_pin(pin)

    def _method_for(self, action: Action) -> Callable[[str], None]:
        """Return the call of systemd that an action names, for one unit."""
        calls: dict[type[Action], Callable[[str], None]] = {
            act.Start: self._systemd.start,
            act.Stop: self._systemd.stop,
            act.Kill: self._systemd.kill,
            act.Enable: self._systemd.enable,
            act.Disable: self._systemd.disable,
            act.ResetFailed: self._systemd.reset_failed,
            act.Clean: self._systemd.clean,
        }
        call = calls.get(type(action))
        if call is None:
            raise TypeError(f"cannot carry out {action!r}: it is no action of a plan")
        return call
