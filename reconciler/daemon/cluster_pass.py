"""One pass over a namespace of a cluster, as one_pass.py is one over this host: read, plan, apply, publish."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from reconciler.apply.manifests import ManifestRenderer
from reconciler.apply.render import RenderError
from reconciler.core.cluster import labels
from reconciler.core.cluster import plan as plans
from reconciler.core.cluster.actions import Apply, Delete
from reconciler.core.cluster.inputs import ClusterInputs
from reconciler.core.cluster.objects import Object
from reconciler.core.cluster.observed import ClusterObserved, observed
from reconciler.core.cluster.plan import ClusterPlan
from reconciler.core.cluster.values import ClusterSettings, fit_for_cluster
from reconciler.core.operators.context import RequestContext
from reconciler.core.operators.suspension import next_expiry
from reconciler.core.planner import ledger_updates as note
from reconciler.core.planner.guard import DesiredReleases
from reconciler.core.planner.unit_actions import Action
from reconciler.core.state.audit import Origin
from reconciler.core.state.ledger import Ledger
from reconciler.core.state.plan_document import ShownPlan
from reconciler.core.state.reason import Reason
from reconciler.core.state.release import Release
from reconciler.core.state.snapshot import Snapshot
from reconciler.core.state.status import Outlook, State
from reconciler.core.text.quote import one_line
from reconciler.core.units.names import ReleaseId
from reconciler.daemon.desired import not_deployable, pick, retention, rules, step_settings
from reconciler.daemon.freshness import registry_status
from reconciler.daemon.notes import Notes
from reconciler.daemon.one_pass import not_yet, with_pause
from reconciler.daemon.operators import OperatorDesk
from reconciler.daemon.origins import origins
from reconciler.daemon.publish import StatusPublisher
from reconciler.daemon.selection import Selection
from reconciler.files.ledger_file import LedgerFile
from reconciler.files.snapshot_file import SnapshotReading, Snapshots
from reconciler.ports.cluster import Cluster, ClusterError
from reconciler.settings.model import Settings


@dataclass
class ClusterRunner:
    """Carries out the actions of a pass; a failed one ends the turn of its own deployment only."""

    cluster: Cluster
    renderer: ManifestRenderer
    ledger: LedgerFile
    publisher: StatusPublisher
    notes: Notes
    progress: Callable[[], None] = lambda: None
    """Called after each action, whether it worked or not."""
    applied: dict[str, str] = field(default_factory=dict)
    """What each object was like right after we applied it, by kind and name; see `Object.marker`."""

    def run(self, decided: ClusterPlan, settings: Settings) -> bool:
        """Carry out a plan's actions in their order. Return whether another pass is worth while at once."""
        failed, worked = set(), set()
        for action in decided.actions:
            if action.deployment in failed:
                continue
            try:
                self._do(action, settings)
            except (ClusterError, RenderError, OSError) as error:
                failed.add(action.deployment)
                self.publisher.log_failed_action(action, error)
                self.notes.note_failed_action(action.deployment, action, error, settings.reconcile)
            else:
                worked.add(action.deployment)
                if settings.reconcile.log_actions:
                    self.publisher.log_action(action, is_event=False)
            finally:
                self.progress()
        self.ledger.keep_notes()
        for name in worked - failed:
            self.notes.note_worked(name)
        return bool(worked or failed)

    def untouched(self, seen: ClusterObserved) -> frozenset[str]:
        """Return the objects that nobody changed since we applied them."""
        there = {unit: one.marker for each in seen.deployments.values() for unit, one in each.objects.items()}
        self.applied = {unit: marker for unit, marker in self.applied.items() if unit in there}
        return frozenset(unit for unit, marker in self.applied.items() if there[unit] == marker)

    def _do(self, action: Action, settings: Settings) -> None:
        if not isinstance(action, note.Note):
            self.ledger.keep_notes()  # what was decided before is on disk before anything follows from it
        match action:
            case note.Note():
                self.ledger.note(action.change(self.ledger.ledger))
            case Apply():
                manifest = self.renderer.render(action, settings.kubernetes.namespace)
                self.applied[action.unit] = Object.model_validate(self.cluster.apply(manifest)).marker
            case Delete():
                kind, _, name = action.unit.partition("/")
                self.cluster.delete(kind, name)
            case _:
                raise TypeError(f"cannot carry out {action!r}: it is no action in a cluster")


@dataclass
class ClusterReconciler:
    """Everything that a pass reads, and everything through which it acts."""

    cluster: Cluster
    snapshots: Snapshots
    ledger: LedgerFile
    desk: OperatorDesk
    publisher: StatusPublisher
    notes: Notes
    runner: ClusterRunner
    settings: Settings
    selection: Selection = field(default_factory=Selection, init=False)
    settings_trouble: str = field(default="", init=False)
    cluster_trouble: str = field(default="", init=False)
    """Why the cluster could not be looked at; "" when it could."""
    deadline: float | None = field(default=None, init=False)

    def on_progress(self, call: Callable[[], None]) -> None:
        """Have `call` called after each action, whether it worked or not."""
        self.runner.progress = call

    def one_pass(self) -> bool:
        """Read, plan, apply, publish. Return whether something was done.

        A cluster that does not answer ends nothing: the status says so, and what it showed last is not acted on.
        """
        reading = self.snapshots.read()
        self.ledger.keep()
        try:
            seen = observed(self.cluster.list())
        except ClusterError as error:
            self._tell_of_trouble(str(error), reading)
            return False
        self.cluster_trouble = ""
        self._take_note(seen, reading)
        self._serve_operators(reading, seen)
        decided = self._decide(reading, seen)
        self.deadline = decided.deadline
        acted = self.runner.run(decided, self.settings)
        self._publish(decided, reading, seen)
        return acted

    def next_deadline(self) -> float | None:
        """Return when the next retry or the end of a wait is due, on the monotonic clock; None when none is."""
        now = self.notes.clock.monotonic()
        expiry = next_expiry(self.ledger.ledger)
        resume = now + expiry.timestamp() - self.notes.clock.wall() if expiry else None
        due = [self.notes.memory.next_deadline(now), self.deadline, resume]
        return min((moment for moment in due if moment is not None), default=None)

    def _tell_of_trouble(self, trouble: str, reading: SnapshotReading) -> None:
        """Publish the last status again with the reason why there is no newer one."""
        self.cluster_trouble = trouble
        last = self.publisher.last
        registry = registry_status(reading, self.settings.registry, self.notes.clock.wall(), self.publisher.agent_says)
        self.publisher.publish(last.deployments if last else (), registry, self._trouble(), is_current=False)

    def _take_note(self, seen: ClusterObserved, reading: SnapshotReading) -> None:
        for name, one in seen.deployments.items():
            for key, job in one.preparations.items():
                called, uid = labels.files_name(name, key), job.object.metadata.uid
                if job.has_failed:
                    self.notes.note_failed_job(called, uid, job.why, self.settings.reconcile)
                elif job.is_done:
                    self.notes.note_done_job(called)
        if reading.snapshot is not None:
            self.notes.note_selection(seen.deployments.keys(), reading.snapshot)

    def _decide(self, reading: SnapshotReading, seen: ClusterObserved) -> ClusterPlan:
        inputs = self._inputs(reading.snapshot, seen)
        if reading.snapshot is None:
            return plans.without_snapshot(seen, inputs)
        desired = self._desired(reading.snapshot, seen)
        decided = plans.plan(desired, seen, inputs)
        told = (*decided.outlooks, *not_deployable(reading.snapshot, desired))
        return ClusterPlan(decided.actions, told, decided.serving, decided.deadline)

    def _desired(self, snapshot: Snapshot, seen: ClusterObserved) -> DesiredReleases:
        found = self.selection.desired(snapshot, self.settings, self.ledger.ledger, seen.deployments.keys())
        return {name: fit_for_cluster(one) if isinstance(one, Release) else one for name, one in found.items()}

    def _inputs(self, snapshot: Snapshot | None, seen: ClusterObserved) -> ClusterInputs:
        settings, memory, now = self.settings, self.notes.memory, self.notes.clock.monotonic()
        return ClusterInputs(
            settings=pick(ClusterSettings, settings.kubernetes),
            steps=step_settings(settings),
            ledger=self.ledger.ledger,
            rules=rules(settings),
            retention=retention(settings),
            require_example=settings.policy.require_example,
            parallel_steps=settings.reconcile.parallel_steps,
            public_url=settings.deploy.public_url,
            source=snapshot.source if snapshot else None,
            known=frozenset(snapshot.known if snapshot else ()),
            not_yet=not_yet(snapshot, settings.rollout.after, self.notes.clock.moment()),
            unselected=memory.unselected,
            retry_later=memory.backoff.waiting(now),
            paused=frozenset(memory.paused(now)),
            untouched=self.runner.untouched(seen),
            now=now,
        )

    def _serve_operators(self, reading: SnapshotReading, seen: ClusterObserved) -> None:
        def context(_ledger: Ledger) -> RequestContext:
            if reading.snapshot is None:
                return RequestContext(None, {})
            # The ledger of `_inputs` is the one in force, which the request before may have changed.
            return plans.request_context(
                self._desired(reading.snapshot, seen), seen, self._inputs(reading.snapshot, seen)
            )

        def shown() -> ShownPlan:
            desired = self._desired(reading.snapshot, seen) if reading.snapshot else {}
            plan = plans.show(self._decide(reading, seen), seen, desired)
            return plan.model_copy(update={"registry_read": reading.snapshot is not None})

        moment = self.notes.clock.moment()
        for name in self.desk.serve_requests(self.ledger, context, shown, self.publisher, moment):
            self.notes.forgive(name, [labels.files_name(name, key) for key in seen.of(name).preparations])

    def _publish(self, decided: ClusterPlan, reading: SnapshotReading, seen: ClusterObserved) -> None:
        clock, paused = self.notes.clock, self.notes.paused()
        outlooks = tuple(with_pause(outlook, paused) for outlook in decided.outlooks)
        registry = registry_status(reading, self.settings.registry, clock.wall(), self.publisher.agent_says)
        self.publisher.publish(outlooks, registry, self._trouble(), self._tries(seen, outlooks))
        deployable = {outlook.name for outlook in outlooks if outlook.state is not State.NOT_DEPLOYABLE}
        running = {name: release for name, release in decided.serving.items() if name in deployable}

        def files(name: str, release: ReleaseId) -> Origin:
            values = seen.of(name).kept.get(release, {})
            digests = (str(values.get(key, "")) for key in ("files", "environment_files"))
            of_version, of_environment = (one_line(digest, 100) for digest in digests)
            return Origin(files=of_version, environment_files=of_environment)

        ledger = self.ledger.ledger
        self.desk.record_history(running, outlooks, ledger, origins(files, reading.snapshot), clock.moment())

    def _trouble(self) -> str:
        problems = (self.settings_trouble, self.cluster_trouble, self.ledger.problem, self.desk.history.problem)
        return "; ".join(filter(None, problems))

    def _tries(self, seen: ClusterObserved, outlooks: Iterable[Outlook]) -> dict[str, tuple[int, datetime | None]]:
        """Return, by deployment, how often its files were prepared or its servers started in vain, and the next try.

        The cluster itself starts servers again, at moments that it does not tell.
        """
        now, moment = self.notes.clock.monotonic(), self.notes.clock.moment()
        found: dict[str, tuple[int, datetime | None]] = {}
        for outlook in outlooks:
            good = self.ledger.ledger.record(outlook.name).good
            is_about_good = good is not None and outlook.desired_version == str(good.version)
            if is_about_good and outlook.reason is Reason.START_FAILED:
                found[outlook.name] = 1 + seen.of(outlook.name).restarts, None
        for name, one in seen.deployments.items():
            for key, job in one.preparations.items():
                retry = self.notes.memory.backoff.retry_later.get(labels.files_name(name, key))
                if retry is not None and job.has_failed:
                    found[name] = retry.count, moment + timedelta(seconds=max(0, round(retry.not_before - now)))
        return found
