"""Carries out one action of a plan."""

from reconciler.apply.render import Renderer
from reconciler.apply.unit_files import UnitFiles
from reconciler.core.planner import actions as act
from reconciler.core.planner.actions import Action
from reconciler.files.ledger_file import LedgerFile
from reconciler.ports.systemd import Systemd


class Executor:
    """Knows for each kind of action who does it."""

    def __init__(self, systemd: Systemd, files: UnitFiles, renderer: Renderer, ledger: LedgerFile) -> None:
        """Act through `systemd`, on `files`, with what `renderer` makes; `ledger` is what is remembered."""
        self._systemd = systemd
        self._files = files
        self._renderer = renderer
        self._ledger = ledger
        self.patience = 5.0
        """Seconds that a server may take to step aside or to come back."""

    def execute(self, action: Action) -> None:
        """Do it. Raises SystemdError, RenderError or OSError; what succeeded is judged by observing again."""
        match action:
            case act.Render(unit=unit):
                self._files.write(unit, self._renderer.render(action))
            case act.RestoreFile(unit=unit):
                self._files.install(unit)
            case act.RemoveDropIns(unit=unit):
                self._files.remove_drop_ins(unit)
            case act.Remove(unit=unit):
                self._files.remove(unit)
            case act.Reload():
                self._systemd.reload()
            case act.Start(unit=unit) if unit.endswith(".socket"):
                self._systemd.start_and_wait(unit)
            case act.Start(unit=unit):
                self._systemd.start(unit)
            case act.Stop(unit=unit):
                self._systemd.stop(unit)
            case act.Kill(unit=unit):
                self._systemd.kill(unit)
            case act.StandBy(unit=unit):
                self._systemd.stand_by(unit, self.patience)
            case act.Resume(unit=unit):
                self._systemd.resume(unit, self.patience)
            case act.Note():
                self._ledger.write(action.change(self._ledger.ledger))
            case act.ShowPin(pin=pin):
                self._ledger.show_pin(pin)
            case act.Enable(unit=unit):
                self._systemd.enable(unit)
            case act.Disable(unit=unit):
                self._systemd.disable(unit)
            case act.ResetFailed(unit=unit):
                self._systemd.reset_failed(unit)
            case act.Clean(unit=unit):
                self._systemd.clean(unit)
            case _:
                raise TypeError(f"cannot carry out {action!r}: it is no action of a plan")
