"""One pass: read everything, plan, apply, and tell. Whoever calls it again afterwards observes what became of it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from reconciler.apply.execute import Executor
from reconciler.apply.render import RenderError
from reconciler.apply.unit_files import UnitFiles
from reconciler.core.operators.context import RequestContext
from reconciler.core.operators.suspension import next_expiry
from reconciler.core.planner import actions as act
from reconciler.core.planner.actions import Action
from reconciler.core.planner.deployment_view import MAX_MESSAGE
from reconciler.core.planner.evidence import heard
from reconciler.core.planner.guard import DesiredReleases
from reconciler.core.planner.inputs import PlannerInputs
from reconciler.core.planner.overview import request_context, serving
from reconciler.core.planner.plan import Plan, plan, without_snapshot
from reconciler.core.state.backoff import RetryPolicy
from reconciler.core.state.ledger import Ledger
from reconciler.core.state.memory import Memory
from reconciler.core.state.reason import Reason
from reconciler.core.state.snapshot import Snapshot
from reconciler.core.state.status import Outlook, State
from reconciler.core.text.quote import one_line
from reconciler.core.units import status_lines
from reconciler.core.units.observed import Observed
from reconciler.daemon.desired import (
    desired,
    listening,
    not_deployable,
    retention,
    rollout_settings,
    rules,
    step_settings,
)
from reconciler.daemon.operators import OperatorDesk
from reconciler.daemon.publish import StatusPublisher
from reconciler.files.atomic import in_words
from reconciler.files.ledger_file import LedgerFile
from reconciler.files.snapshot_file import Reading, Snapshots
from reconciler.ports.systemd import Systemd, SystemdBusyError, SystemdError
from reconciler.settings.model import Settings

AHEAD = 60.0
"""Seconds by which the agent's clock may seem ahead."""
AfterAction = Callable[[int, Action], None]


def ignore_action(_number: int, _action: Action) -> None:
    """Nothing follows an action but in fault tests."""


@dataclass(frozen=True)
class Clock:
    """Time and randomness, passed in so that tests decide them."""

    monotonic: Callable[[], float]
    """Seconds; never jumps."""
    jitter: Callable[[], float]
    """0 to 1."""
    wall: Callable[[], float] = time.time
    """Seconds since the epoch."""


@dataclass
class Reconciler:
    """Carries the little that is remembered from pass to pass."""

    systemd: Systemd
    files: UnitFiles
    executor: Executor
    snapshots: Snapshots
    ledger: LedgerFile
    desk: OperatorDesk
    publisher: StatusPublisher
    chance: Clock
    settings: Settings
    after_action: AfterAction = ignore_action
    progress: Callable[[], None] = lambda: None
    """Called after each action, whether it worked or not."""
    memory: Memory = field(default_factory=Memory)
    failed: frozenset[str] = frozenset()
    """Deployments and shared units of which an action failed in the last pass."""
    killed: Mapping[str, float] = field(default_factory=dict)
    """When, on the monotonic clock, units were killed last."""
    done: int = 0
    """Actions carried out since the start."""
    deadline: float | None = None
    """When, on the monotonic clock, the last plan wants to be made again although nothing happened."""

    def one_pass(self) -> bool:
        """Read, plan, apply, tell; True when something was done, so that it is worth looking again at once."""
        reading = self.snapshots.read()
        self.ledger.keep()
        seen = self.observe()
        self.memory = self.memory.note_failures(seen, self.chance.monotonic(), self._retry_policy)
        if reading.snapshot is not None:
            self._note_selection(seen, reading.snapshot)
        self._serve_operators(reading, seen)
        decided = self.decide(reading, seen)
        self.deadline = decided.deadline
        self.executor.patience = float(self.settings.deploy.hand_over_timeout)
        acted = self._apply(decided.actions)
        self._note_mended(decided)
        paused = self.memory.paused(self.chance.monotonic())
        outlooks = tuple(_with_pause(outlook, paused) for outlook in decided.outlooks)
        self.publisher.tell(outlooks, self._registry(reading), self.ledger.problem)
        deployments = [one.name for one in outlooks if one.state is not State.NOT_DEPLOYABLE]
        running = serving(deployments, seen, self._inputs(None, self.ledger.ledger))
        self.desk.remember(running, outlooks, self.ledger.ledger, self._moment())
        return acted

    def observe(self) -> Observed:
        """Look at the unit files, at systemd, and at what units are shown."""
        files, foreign = self.files.observe()
        seen = Observed(self.systemd.units(), files, self.files.enabled(), foreign, self.ledger.lost_pins())
        return heard(seen, self.ledger.ledger)

    def decide(self, reading: Reading, seen: Observed) -> Plan:
        """Plan from a reading and an observation; without any snapshot nothing is decided about anything."""
        ledger = self.ledger.ledger
        inputs = self._inputs(reading.snapshot, ledger)
        if reading.snapshot is None:
            return without_snapshot(seen, inputs)
        release = self._desired(reading.snapshot, ledger, seen)
        decided = plan(release, seen, inputs)
        return replace(decided, outlooks=(*decided.outlooks, *not_deployable(reading.snapshot, release)))

    def _desired(self, snapshot: Snapshot, ledger: Ledger, seen: Observed) -> DesiredReleases:
        return desired(snapshot, self.settings, ledger, seen.by_deployment.keys())

    def _inputs(self, snapshot: Snapshot | None, ledger: Ledger) -> PlannerInputs:
        """What the planner is told beside the wanted and the observed."""
        now, rhythm = self.chance.monotonic(), self.settings.reconcile
        return PlannerInputs(
            steps=step_settings(self.settings),
            port_range=self.settings.deploy.port_range,
            listening=listening(self.settings),
            now=now,
            ledger=ledger,
            source=snapshot.source if snapshot else None,
            known=frozenset(snapshot.known if snapshot else ()),
            rules=rules(self.settings),
            rollout=rollout_settings(self.settings),
            retention=retention(self.settings),
            verify_interval=self.settings.deploy.verify_interval,
            parallel_steps=rhythm.parallel_steps,
            unselected=self.memory.unselected,
            exhausted=self.memory.exhausted(rhythm.mend_budget, now, rhythm.mend_window),
            retry_later=self.memory.backoff.waiting(now),
            failed=frozenset(self.memory.backoff.retry_later),
            busy_ports=frozenset(self.memory.busy_ports),
            paused=frozenset(self.memory.paused(now)),
            reload_due=self.memory.reload_due,
            tries={unit: retry.count for unit, retry in self.memory.backoff.retry_later.items()},
            unwritten=self.ledger.unwritten,
            patience=float(self.settings.deploy.hand_over_timeout),
        )

    def next_deadline(self) -> float | None:
        """When the next retry or the end of a wait is due, on the monotonic clock."""
        now = self.chance.monotonic()
        retry, resumes = self.memory.next_deadline(now), next_expiry(self.ledger.ledger)
        resume = now + resumes.timestamp() - self.chance.wall() if resumes else None
        return min((one for one in (retry, self.deadline, resume) if one is not None), default=None)

    def _serve_operators(self, reading: Reading, seen: Observed) -> None:
        def standing(ledger: Ledger) -> RequestContext:
            if reading.snapshot is None:
                return RequestContext(None, {})
            inputs = self._inputs(reading.snapshot, ledger)
            return request_context(self._desired(reading.snapshot, ledger, seen), seen, inputs)

        for name in self.desk.listen(self.ledger, standing, self.publisher, self._moment()):
            self.memory = self.memory.forgive(name, seen.builds_of(name))

    def _moment(self) -> datetime:
        return datetime.fromtimestamp(self.chance.wall(), UTC)

    def _note_selection(self, seen: Observed, snapshot: Snapshot) -> None:
        selected = {model.name for model in snapshot.models}
        self.memory = self.memory.note_selection(seen.by_deployment.keys(), selected, self.chance.monotonic())

    def _note_mended(self, decided: Plan) -> None:
        window = float(self.settings.reconcile.mend_window)
        self.memory = self.memory.note_mended(decided.mended - self.failed, self.chance.monotonic(), window)

    @property
    def _retry_policy(self) -> RetryPolicy:
        """How long the settings say to wait after a failure."""
        rhythm = self.settings.reconcile
        return RetryPolicy(rhythm.retry_min, rhythm.retry_max, self.chance.jitter)

    def _apply(self, actions: Sequence[Action]) -> bool:
        """Do one action after the other. One that fails ends the turn of its own deployment, or of the unit it shares.

        The reload is everybody's, so nobody's failure keeps it from being tried; without it nothing is started.
        """
        failed: set[str] = set()
        worked: set[str] = set()
        noted = False
        for action in actions:
            turn = action.deployment or action.unit
            is_safety = isinstance(action, act.SAFETY)
            if (turn in failed and not is_safety) or (self.memory.reload_due and _needs_reload(action)):
                continue
            if isinstance(action, act.Reload) and not self.memory.reload_due:
                continue  # what it was planned for was put off
            if isinstance(action, act.Kill) and not self._may_kill(action.unit):
                continue  # the kernel has not ended it yet
            if isinstance(action, act.CHANGES_FILES):
                self.memory = replace(self.memory, reload_due=True)
            try:
                self.executor.execute(action)
            except SystemdBusyError as error:
                self.publisher.tell_delay(action, error)
                failed.add(turn)
                continue
            except (SystemdError, RenderError, OSError) as error:
                failed.add(turn)
                noted = True
                self._note_failed_action(turn, action, error)
                continue
            finally:
                self.progress()
            if isinstance(action, act.Reload):
                self.memory = replace(self.memory, reload_due=False)
            if is_safety:
                noted = True  # what its deployment waits for is another matter
            else:
                worked.add(turn)
            self.done += 1
            self.publisher.tell_action(action)
            self.after_action(self.done, action)
        self.failed = frozenset(failed)
        for name in worked - failed:
            self.memory = self.memory.forget_pause(name)
        return bool(worked or noted)

    def _may_kill(self, unit: str) -> bool:
        """Whether a unit was not killed a moment ago; from now on it was."""
        now = self.chance.monotonic()
        may = now >= self.killed.get(unit, -self.executor.patience) + self.executor.patience
        if may:
            recent = {one: at for one, at in self.killed.items() if now < at + self.executor.patience}
            self.killed = {**recent, unit: now}
        return may

    def _note_failed_action(self, turn: str, action: Action, error: Exception) -> None:
        """Pause the deployment; a socket that did not start shows that by itself and may have another port at once."""
        self.publisher.tell_failed_action(action, error)
        if isinstance(action, act.Start) and action.unit.endswith(".socket"):
            return
        why = one_line(in_words(error), MAX_MESSAGE)
        self.memory = self.memory.note_failed_action(turn, why, self.chance.monotonic(), self._retry_policy)

    def _registry(self, reading: Reading) -> tuple[bool, datetime | None, str]:
        """Tell how fresh the snapshot is: whether the agent confirmed it lately, when, and what it says of itself."""
        registry = self.settings.registry
        lately = 3 * registry.poll_interval + registry.timeout
        age = None if reading.touched is None else self.chance.wall() - reading.touched
        if age is not None and not -AHEAD <= age <= self.chance.wall():
            return (
                False,
                None,
                "cannot tell when the registry was read: its file's time stamp is odd; restart the agent",
            )
        at = None if reading.touched is None else datetime.fromtimestamp(reading.touched, UTC)
        if age is not None and age <= lately:
            return True, at, reading.problem
        said = self.publisher.agent_says()
        if status_lines.says_why_it_failed(said):
            return False, at, said
        if reading.problem:  # the agent knows of no problem: somebody else touched its file
            return False, at, reading.problem
        agent = f"mlflow-registry-agent says {said!r}" if said else "mlflow-registry-agent does not run"
        return False, at, f"the snapshot was not confirmed lately; {agent}, see systemctl status mlflow-registry-agent"


def _needs_reload(action: Action) -> bool:
    """A unit must not be started from a file that systemd has not read."""
    return isinstance(action, act.Start | act.Enable)


def _with_pause(outlook: Outlook, paused: dict[str, str]) -> Outlook:
    why = paused.get(outlook.name)
    if why is None or outlook.state in (State.SUSPENDED, State.STALLED, State.HELD):
        return outlook
    state = State.DEGRADED if outlook.active_version else State.FAILED
    if outlook.state is State.REMOVING:
        state = State.REMOVING
    return outlook.model_copy(update={"state": state, "reason": Reason.ACTION_FAILED, "message": why})
