"""What is decided for one deployment: its actions before and after the pass's one reload."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from reconciler.core.planner import actions as act
from reconciler.core.planner.actions import Action
from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.units import addresses
from reconciler.core.units.observed import File


@dataclass
class DeploymentPlan(DeploymentView):
    """Actions of one deployment before and after the pass's one reload, and the questions they are decided by."""

    shared: dict[str, act.Render]
    """What this plan already renders for other deployments and must not clash with: environments and sockets."""
    signals: list[act.Signal] = field(default_factory=list)
    """Sent before anything else of any deployment is done, also while this one waits for its next turn."""
    before: list[Action] = field(default_factory=list)
    after: list[Action] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)
    """What is done because of drift, in words."""
    deadlines: list[float] = field(default_factory=list)
    """When, on the monotonic clock, it is worth looking again although nothing happened."""

    def fork(self) -> "DeploymentPlan":
        """Begin an attempt that may be given up."""
        return replace(
            self,
            shared=dict(self.shared),
            signals=list(self.signals),
            before=list(self.before),
            after=list(self.after),
            repairs=list(self.repairs),
            deadlines=list(self.deadlines),
        )

    def join(self, attempt: "DeploymentPlan") -> None:
        """Do as an attempt would."""
        self.shared, self.signals = attempt.shared, attempt.signals
        self.before, self.after = attempt.before, attempt.after
        self.repairs, self.deadlines = attempt.repairs, attempt.deadlines

    def note_repair(self, unit: str, what: str) -> None:
        """Take note that something is mended that nobody asked the registry for."""
        self.repairs.append(f"{what} {unit}")

    def note_start(self, unit: str) -> None:
        """Take note that a unit is started that somebody stopped: it is not under way, and not tried again either."""
        stopped = self.seen.unit(unit).active == "inactive" and self.socket in self.seen.enabled
        if stopped and unit not in self.inputs.failed:
            self.note_repair(unit, "started")

    def resume(self, units_: Iterable[str]) -> None:
        """Have those accept again that stand by."""
        self.signals += [act.Resume(self.name, unit) for unit in units_ if self.seen.unit(unit).stands_by]

    def stand_by(self, units_: Iterable[str]) -> None:
        """Have those step aside that accept."""
        self.signals += [act.StandBy(self.name, unit) for unit in units_ if self.seen.unit(unit).is_up]

    def stop(self, unit: str) -> bool:
        """Have a unit stopped and its failure cleared; True when it is already down."""
        seen = self.seen.unit(unit)
        if seen.active == "failed":
            self.before.append(act.ResetFailed(self.name, unit))
        elif not seen.is_down and not seen.is_going_down:
            self.before.append(act.Stop(self.name, unit))
        return seen.is_down

    def stop_after_reload(self, unit: str) -> bool:
        """Have a unit stopped that the socket must not name any more, or it would start it again; True when down."""
        seen = self.seen.unit(unit)
        if seen.active == "failed":
            self.after.append(act.ResetFailed(self.name, unit))
        elif not seen.is_down and not seen.is_going_down:
            self.after.append(act.Stop(self.name, unit))
        return seen.is_down

    def disable(self, units_: Iterable[str]) -> None:
        """Have a boot not start units."""
        doing = [act.Disable(self.name, unit) for unit in units_ if unit in self.seen.enabled]
        self.before += [one for one in doing if one not in self.before]

    def start(self, unit: str) -> None:
        """Have a unit started once systemd has read the files."""
        if self.seen.unit(unit).active == "failed":
            self.after.append(act.ResetFailed(self.name, unit))
        self.after.append(act.Start(self.name, unit))

    def write(self, render: act.Render) -> None:
        """Have a unit rendered, instead of restored where that was decided before."""
        self.before = [one for one in self.before if not (isinstance(one, act.RestoreFile) and one.unit == render.unit)]
        self.before.append(render)
        self.shared[render.unit] = render

    def restore_files(self, desired: Iterable[str]) -> None:
        """Have the files restored that somebody changed or removed, and drop-ins removed."""
        for unit in desired:
            file = self.seen.files.get(unit)
            if file is None or act.RestoreFile(self.name, unit) in self.before:
                continue
            if not file.intact:
                self.before.append(act.RestoreFile(self.name, unit))
                self.note_repair(unit, "restored")
            if file.drop_ins:
                self.before.append(act.RemoveDropIns(self.name, unit))
                self.note_repair(unit, "removed drop-ins of")

    def choose_port(self) -> int | None:
        """Pick a port that no deployment has and nobody else was found to hold; None when there is none."""
        facts = [file.facts for unit, file in self.seen.files.items() if unit != self.socket]
        facts += [render.facts for unit, render in self.shared.items() if unit != self.socket]
        taken = {one.port for one in facts if one.port is not None}
        first, last = self.inputs.port_range
        return addresses.choose_port(self.name, first, last, taken | self.inputs.busy_ports)


def clean(deployment: str, unit: str, file: File) -> list[Action]:
    """Have systemd remove a stopped unit's directory, then forget the unit; systemd must know the unit for that."""
    if not file.intact:
        return [act.RestoreFile(deployment, unit)]
    return [act.Clean(deployment, unit), act.Remove(deployment, unit)]
