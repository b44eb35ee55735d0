"""What is planned for one deployment: its actions before and after the one reload of a pass."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from reconciler.core.planner import actions as act
from reconciler.core.planner.actions import Action
from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.units import addresses, names
from reconciler.core.units.observed import File


@dataclass
class DeploymentPlan(DeploymentView):
    """The actions of one deployment, and the questions that they are decided by.

    A pass carries out the signals of all deployments first, then `before`, then one reload of systemd's unit files if
    a file changed, then `after`. Each list keeps the order in which actions were added. So what needs the new files
    (a start) belongs into `after`, and all else into `before`.

    `stop`, `disable`, `resume`, `stand_by` and `restore_files` add nothing where nothing is to be done. So the plan for
    a host that is as it should be is empty.
    """

    shared: dict[str, act.Render]
    """Units that this pass already renders, for this or another deployment: environments and sockets (their ports)."""
    signals: list[act.Signal] = field(default_factory=list)
    """Sent before anything else of any deployment is done, also while this one waits for its next turn."""
    before: list[Action] = field(default_factory=list)
    after: list[Action] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)
    """What is done because of drift, in words."""
    deadlines: list[float] = field(default_factory=list)
    """When, on the monotonic clock, it is worth looking again although nothing happened."""

    def fork(self) -> "DeploymentPlan":
        """Return a copy to try something with. It has what is planned so far, and changes nothing here.

        Pass it to `join` to take over what was tried, or drop it.
        """
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
        """Take over everything that an attempt planned; `attempt` was forked from this plan as it is now."""
        self.shared, self.signals = attempt.shared, attempt.signals
        self.before, self.after = attempt.before, attempt.after
        self.repairs, self.deadlines = attempt.repairs, attempt.deadlines

    def drop(self) -> None:
        """Drop everything that is planned, so that the deployment is left alone in this pass."""
        self.signals, self.before, self.after = [], [], []
        self.repairs, self.deadlines = [], []

    def note_repair(self, unit: str, what: str) -> None:
        """Count an action as a repair: it undoes drift. `what` says in the past tense what is done to the unit.

        Repairs have a budget (`mend_budget`). A deployment that used it up is stalled instead of repaired again.
        """
        self.repairs.append(f"{what} {unit}")

    def note_start(self, unit: str) -> None:
        """Count the start of a unit as a repair if somebody stopped the unit.

        A unit that is starting by itself, or that is tried again after it failed, is no drift.
        """
        # The socket of a deployment that has not served yet is not enabled: then nobody stopped anything.
        was_stopped = self.seen.unit(unit).active == "inactive" and self.socket in self.seen.enabled
        if was_stopped and unit not in self.inputs.failed:
            self.note_repair(unit, "started")

    def resume(self, servers: Iterable[str]) -> None:
        """Add the signals that make servers in standby accept requests again.

        Servers in any other state are left as they are.
        """
        for server in servers:
            if self.seen.unit(server).stands_by:
                self.signals.append(act.Resume(self.name, server))

    def stand_by(self, servers: Iterable[str]) -> None:
        """Add the signals that put servers into standby.

        Servers that do not accept requests, for instance while they start, are left as they are.
        """
        for server in servers:
            if self.seen.unit(server).is_up:
                self.signals.append(act.StandBy(self.name, server))

    def stop(self, unit: str, *, after_reload: bool = False) -> bool:
        """Add the stop of a unit, and clear its failure if it failed. Return True when it is down already.

        A caller that needs the unit to be down goes on only when that is so; a later pass sees it.
        `after_reload` is for a server that the socket's present file names: systemd would start it again with the next
        request, so the new file has to come first.
        """
        actions = self.after if after_reload else self.before
        seen = self.seen.unit(unit)
        has_to_stop = not seen.is_down and not seen.is_going_down
        # A failed unit is down. Its failure is cleared so that systemd forgets a unit whose file is removed next.
        if seen.active == "failed":
            actions.append(act.ResetFailed(self.name, unit))
        elif has_to_stop:
            actions.append(act.Stop(self.name, unit))
        return seen.is_down

    def disable(self, units: Iterable[str]) -> None:
        """Add what keeps a boot from starting units. They go on running.

        Units that are not enabled are passed over, and so are those that this plan disables already.
        """
        # A boot comes without a warning. So a unit is disabled in the pass that decides against it, before it is down.
        for unit in units:
            action = act.Disable(self.name, unit)
            is_needed = unit in self.seen.enabled and action not in self.before
            if is_needed:
                self.before.append(action)

    def start(self, unit: str) -> None:
        """Add the start of a unit, after systemd has read the new files.

        A former failure is cleared first: it was taken note of, and must not be mistaken for one of this start.
        """
        if self.seen.unit(unit).active == "failed":
            self.after.append(act.ResetFailed(self.name, unit))
        self.after.append(act.Start(self.name, unit))

    def write(self, render: act.Render) -> None:
        """Add the rendering of a unit.

        It takes the place of a restore of the same file, if one was planned: the old content must not win.
        """

        restore = act.RestoreFile(self.name, render.unit)
        self.before = [action for action in self.before if action != restore]
        self.before.append(render)
        self.shared[render.unit] = render

    def restore_files(self, units: Iterable[str]) -> None:
        """Add what undoes changes of units' files: restore what was edited or removed, and remove drop-ins.

        Each is a repair. Units that have no file of ours are passed over, and so are those whose restore is planned
        already.
        """
        for unit in units:
            file = self.seen.files.get(unit)
            restore = act.RestoreFile(self.name, unit)
            if file is None or restore in self.before:
                continue
            if not file.intact:
                self.before.append(restore)
                self.note_repair(unit, "restored")
            # A drop-in changes a unit as much as an edit does, and leaves its file intact.
            if file.drop_ins:
                self.before.append(act.RemoveDropIns(self.name, unit))
                self.note_repair(unit, "removed drop-ins of")

    def choose_port(self) -> int | None:
        """Return a port for the socket, the same in each pass while it is free; None when the range has none left.

        A port is taken when the file of another unit names it, on disk or in this pass's plan, or when somebody else
        was found to hold it.
        """
        first, last = self.inputs.port_range
        # The socket itself may keep its port, or come back to it. One that moves counts twice: its former port is free
        # only once the new file is there.
        taken = {port for port, units in self.seen.ports.items() if any(unit != self.socket for unit in units)}
        planned = {render.facts.port or 0 for unit, render in self.shared.items() if unit != self.socket}
        return addresses.choose_port(self.name, first, last, taken | planned | self.inputs.busy_ports)


def forget_compiled(deployment: DeploymentView, unit: str) -> list[Action]:
    """Return the action that removes what the servers of a unit's release compiled; none where nothing is kept."""
    file, server = deployment.seen.files.get(unit), names.parse_server(unit)
    temp_size = file.facts.temp_size if file is not None else None
    if server is None or temp_size is None:
        return []
    first = names.server_unit(server.name, server.release)
    return [act.Clean(deployment.name, names.compiled_unit(first, temp_size))]


def clean(deployment: str, unit: str, file: File) -> list[Action]:
    """Return the actions that have systemd remove the directories of a stopped unit, then remove the unit.

    systemd must know the unit to clean it. So a unit whose file was changed or removed is restored first, and cleaned
    in a later pass.
    """
    if not file.intact:
        return [act.RestoreFile(deployment, unit)]
    return [act.Clean(deployment, unit), act.Remove(deployment, unit)]
