"""One pass: read everything, plan, apply, publish. The caller runs another pass, which observes what came of it."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from reconciler.apply.unit_files import UnitFiles
from reconciler.core.operators.context import Proposal, RequestContext
from reconciler.core.operators.suspension import next_expiry
from reconciler.core.planner.evidence import heard
from reconciler.core.planner.guard import DesiredReleases
from reconciler.core.planner.inputs import PlannerInputs
from reconciler.core.planner.overview import request_context
from reconciler.core.planner.plan import Plan, plan, without_snapshot
from reconciler.core.planner.show import propose, show
from reconciler.core.registry.elsewhere import why_not_yet
from reconciler.core.state.backoff import Backoff
from reconciler.core.state.ledger import Ledger
from reconciler.core.state.plan_document import ShownPlan
from reconciler.core.state.reason import Reason
from reconciler.core.state.snapshot import Snapshot
from reconciler.core.state.status import Outlook, State, Status
from reconciler.core.state.tries import tries
from reconciler.core.units import names
from reconciler.core.units.observed import Observed
from reconciler.daemon.action_runner import ActionRunner
from reconciler.daemon.desired import (
    bridge_settings,
    compose_settings,
    listening,
    not_deployable,
    retention,
    rollout_settings,
    rules,
    step_settings,
)
from reconciler.daemon.freshness import registry_status
from reconciler.daemon.metrics import MetricsPublisher
from reconciler.daemon.notes import Notes
from reconciler.daemon.operators import OperatorDesk
from reconciler.daemon.origins import files_on_host, origins
from reconciler.daemon.publish import StatusPublisher
from reconciler.daemon.selection import Selection
from reconciler.files.ledger_file import LedgerFile
from reconciler.files.snapshot_file import SnapshotReading, Snapshots
from reconciler.ports.systemd import Systemd
from reconciler.settings.model import Settings

_NOT_CHANGED_BY_A_PAUSE = (State.SUSPENDED, State.STALLED, State.HELD)
"""States in which a deployment waits for a person; a failed action is not the reason why it waits."""


AT_LEAST_AT_ONCE = 2
"""Servers that load at once on the smallest host: one that hangs must not hold up all others."""


@dataclass
class Reconciler:
    """Everything that a pass reads, and everything through which it acts."""

    systemd: Systemd
    files: UnitFiles
    snapshots: Snapshots
    ledger: LedgerFile
    desk: OperatorDesk
    publisher: StatusPublisher
    notes: Notes
    """The little that is remembered from pass to pass."""
    runner: ActionRunner
    settings: Settings
    selection: Selection = field(default_factory=Selection, init=False)
    settings_trouble: str = field(default="", init=False)
    """Why the settings on disk are not those in force; "" when they are."""
    metrics: MetricsPublisher = field(default_factory=MetricsPublisher, init=False)
    deadline: float | None = field(default=None, init=False)
    """When, on the monotonic clock, the last plan is to be made again although nothing happened."""

    def on_progress(self, call: Callable[[], None]) -> None:
        """Have `call` called after each action, whether it worked or not."""
        self.runner.progress = call

    def one_pass(self) -> bool:
        """Read, plan, apply, publish. Return whether something was done, so that another pass is worth while at once.

        The order matters: failures and the selection are noted before anything is decided from them, requests are
        carried out before the plan that they change, and the status tells what the actions of this very pass came to.
        """
        began = self.notes.clock.monotonic()
        reading = self.snapshots.read()
        self.ledger.keep()  # a full disk may have room again
        seen = self.observe()
        self.take_note(reading, seen)
        self._serve_operators(reading, seen)
        decided = self.decide(reading, seen)
        self.deadline = decided.deadline
        acted = self.runner.run(decided.actions, self.settings)
        # A repair that failed did not take place; its deployment is paused already.
        repairs = {name: done for name, done in decided.repairs.items() if name not in self.runner.failed}
        self.notes.note_mended(repairs, self.settings.reconcile)
        for name, done in repairs.items():
            self.publisher.log_repair(name, done)
        status = self._publish(decided, reading, seen)
        self._measure(status, seen, began)
        return acted

    def observe(self) -> Observed:
        """Look at the unit files, at systemd, and at the recorded digests that units are shown."""
        on_disk = self.files.observe()
        units = self.systemd.units()
        # Made from a template of somebody's own, such a unit has no file of its name.
        foreign = on_disk.foreign | {
            unit
            for unit, one in units.items()
            if names.parse_compose(unit) and unit not in on_disk.files and one.load != "not-found"
        }
        seen = Observed(units, on_disk.files, on_disk.enabled, foreign, self.ledger.lost_pins())
        return heard(seen, self.ledger.ledger)

    def take_note(self, reading: SnapshotReading, seen: Observed) -> None:
        """Take note of what failed and of what is selected, before anything is decided from that."""
        self.notes.note_failures(seen, self.settings.reconcile)
        if reading.snapshot is not None:
            self.notes.note_selection(seen.by_deployment.keys(), reading.snapshot)

    def decide(self, reading: SnapshotReading, seen: Observed) -> Plan:
        """Plan from a reading and an observation. Without any snapshot the plan changes nothing."""
        ledger = self.ledger.ledger
        inputs = self._inputs(reading.snapshot, ledger)
        if reading.snapshot is None:
            return without_snapshot(seen, inputs)
        releases = self._desired(reading.snapshot, ledger, seen)
        decided = plan(releases, seen, inputs)
        return replace(decided, outlooks=(*decided.outlooks, *not_deployable(reading.snapshot, releases)))

    def show(self, reading: SnapshotReading, seen: Observed) -> ShownPlan:
        """Plan as `decide` does, and return the plan as people are shown it, with what waits for their yes."""
        decided = self.decide(reading, seen)
        inputs = self._inputs(reading.snapshot, self.ledger.ledger)
        proposal = Proposal()
        desired: DesiredReleases = {}
        if reading.snapshot is not None:
            desired = self._desired(reading.snapshot, self.ledger.ledger, seen)
            proposal = propose(desired, seen, inputs)
        paused = self.notes.paused()
        outlooks = tuple(with_pause(outlook, paused) for outlook in decided.outlooks)
        memory = self.notes.memory
        retries = Backoff({**memory.backoff.retry_later, **memory.pauses.retry_later})
        shown = show(
            replace(decided, outlooks=outlooks), proposal, desired, seen, inputs, retries, self.notes.clock.moment()
        )
        return shown.model_copy(update={"registry_read": reading.snapshot is not None})

    def next_deadline(self) -> float | None:
        """Return when the next retry or the end of a wait is due, on the monotonic clock; None when none is."""
        now = self.notes.clock.monotonic()
        retry = self.notes.memory.next_deadline(now)
        expiry = next_expiry(self.ledger.ledger)
        # A suspension ends at a time of the wall clock; the loop waits on the monotonic one.
        resume = now + expiry.timestamp() - self.notes.clock.wall() if expiry else None
        due = [deadline for deadline in (retry, self.deadline, resume) if deadline is not None]
        return min(due, default=None)

    def _desired(self, snapshot: Snapshot, ledger: Ledger, seen: Observed) -> DesiredReleases:
        return self.selection.desired(snapshot, self.settings, ledger, seen.by_deployment.keys())

    def _inputs(self, snapshot: Snapshot | None, ledger: Ledger) -> PlannerInputs:
        """Gather what the planner is told beside the desired and the observed."""
        now, rhythm = self.notes.clock.monotonic(), self.settings.reconcile
        memory = self.notes.memory
        return PlannerInputs(
            steps=step_settings(self.settings),
            port_range=self.settings.deploy.port_range,
            listening=listening(self.settings),
            bridge=bridge_settings(self.settings),
            compose=compose_settings(self.settings),
            now=now,
            ledger=ledger,
            source=snapshot.source if snapshot else None,
            known=frozenset(snapshot.known if snapshot else ()),
            not_yet=not_yet(snapshot, self.settings.rollout.after, self.notes.clock.moment()),
            rules=rules(self.settings),
            rollout=rollout_settings(self.settings),
            retention=retention(self.settings),
            confirm=rhythm.mode == "confirm",
            verify_interval=self.settings.deploy.verify_interval,
            require_example=self.settings.policy.require_example,
            parallel_steps=rhythm.parallel_steps,
            parallel_starts=rhythm.parallel_starts or max(AT_LEAST_AT_ONCE, len(os.sched_getaffinity(0))),
            unselected=memory.unselected,
            exhausted=memory.exhausted(rhythm.mend_budget, now, rhythm.mend_window),
            retry_later=memory.backoff.waiting(now),
            failed=frozenset(memory.backoff.retry_later),
            busy_ports=frozenset(memory.busy_ports),
            paused=frozenset(memory.paused(now)),
            reload_due=memory.reload_due,
            tries={unit: retry.count for unit, retry in memory.backoff.retry_later.items()},
            unwritten=self.ledger.unwritten,
            patience=float(self.settings.deploy.hand_over_timeout),
        )

    def _serve_operators(self, reading: SnapshotReading, seen: Observed) -> None:
        """Carry out what people asked, before the plan that it changes is made."""

        def context(ledger: Ledger) -> RequestContext:
            if reading.snapshot is None:
                return RequestContext(None, {}, confirms=self.settings.reconcile.mode == "confirm")
            inputs = self._inputs(reading.snapshot, ledger)
            desired = self._desired(reading.snapshot, ledger, seen)
            context = request_context(desired, seen, inputs)
            return replace(context, confirms=inputs.confirm, proposal=lambda: propose(desired, seen, inputs))

        moment = self.notes.clock.moment()
        for name in self.desk.serve_requests(
            self.ledger, context, lambda: self.show(reading, seen), self.publisher, moment
        ):
            self.notes.forgive(name, seen.builds_of(name))

    def _publish(self, decided: Plan, reading: SnapshotReading, seen: Observed) -> Status:
        """Publish the status, then record in the history what runs."""
        paused = self.notes.paused()
        outlooks = tuple(with_pause(outlook, paused) for outlook in decided.outlooks)
        clock = self.notes.clock
        registry = registry_status(reading, self.settings.registry, clock.wall(), self.publisher.agent_says)
        problems = (self.settings_trouble, self.ledger.problem, self.desk.history.problem)
        trouble = "; ".join(filter(None, problems))
        status = self.publisher.publish(outlooks, registry, trouble, self._tries(outlooks, seen))
        deployable = {outlook.name for outlook in outlooks if outlook.state is not State.NOT_DEPLOYABLE}
        running = {name: release for name, release in decided.serving.items() if name in deployable}
        origin_of = origins(files_on_host(seen, self.ledger.ledger), reading.snapshot)
        self.desk.record_history(running, outlooks, self.ledger.ledger, origin_of, clock.moment())
        return status

    def _measure(self, status: Status, seen: Observed, began: float) -> None:
        """Publish metrics of a pass that began at a time of the monotonic clock."""
        clock = self.notes.clock
        seconds, path = clock.monotonic() - began, self.settings.metrics.textfile
        self.metrics.publish(path, status, seen, self.notes.memory, clock.wall(), seconds, self.runner.done)

    def _tries(self, outlooks: tuple[Outlook, ...], seen: Observed) -> dict[str, tuple[int, datetime | None]]:
        """Return, by deployment, how often it was tried in vain, and when it is tried next, on the wall clock."""
        clock, found = self.notes.clock, {}
        now, moment = clock.monotonic(), clock.moment()
        for name, one in tries(outlooks, seen, self.notes.memory, self.ledger.ledger, now).items():
            at = None if one.not_before is None else moment + timedelta(seconds=round(one.not_before - now))
            found[name] = one.failures, at
        return found


def with_pause(outlook: Outlook, paused: dict[str, str]) -> Outlook:
    """Show a deployment's failed action in its outlook, unless it is in a state that waits for a person."""
    why = paused.get(outlook.name)
    if why is None or outlook.state in _NOT_CHANGED_BY_A_PAUSE:
        return outlook
    if outlook.state is State.REMOVING:  # it goes on being removed, only later
        state = State.REMOVING
    else:
        state = State.DEGRADED if outlook.active_version else State.FAILED
    return outlook.model_copy(update={"state": state, "reason": Reason.ACTION_FAILED, "message": why})


def not_yet(snapshot: Snapshot | None, hosts: Sequence[str], now: datetime) -> dict[str, str]:
    """Find the selected versions that other hosts are to have first, by model, and why they do not begin yet."""
    if snapshot is None or not hosts:
        return {}
    found = {model.name: why_not_yet(model.version, model.reports, hosts, now) for model in snapshot.models}
    return {name: why for name, why in found.items() if why}
