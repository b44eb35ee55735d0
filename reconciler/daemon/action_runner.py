"""Carries out the actions of a plan, one after the other; a failed one ends the turn of its own deployment only."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.apply.execute import Executor
from reconciler.apply.render import RenderError
from reconciler.core.planner import actions as act
from reconciler.core.planner.actions import Action
from reconciler.daemon.notes import Notes
from reconciler.daemon.publish import StatusPublisher
from reconciler.ports.systemd import SystemdBusyError, SystemdError
from reconciler.settings.model import Settings

AfterAction = Callable[[int, Action], None]


def ignore_action(_number: int, _action: Action) -> None:
    """Do nothing: only fault tests want to know of each action."""


@dataclass
class _Turns:
    """What came of the actions of one pass. A turn is a deployment's name, or a unit that deployments share."""

    failed: set[str] = field(default_factory=set)
    worked: set[str] = field(default_factory=set)
    noted: bool = False
    """Whether something happened that is worth another pass at once, although no turn moved on."""


@dataclass
class ActionRunner:
    """Invariants: nothing starts from a file that systemd has not read, and no failure stops another deployment.

    The reload is everybody's, so no deployment's failure keeps it from being tried.
    """

    executor: Executor
    publisher: StatusPublisher
    notes: Notes
    after_action: AfterAction = ignore_action
    """Called after each action that worked, with its number since the start."""
    progress: Callable[[], None] = lambda: None
    """Called after each action, whether it worked or not."""
    failed: frozenset[str] = frozenset()
    """Deployments and shared units of which an action failed in the last pass."""
    killed: Mapping[str, float] = field(default_factory=dict)
    """When, on the monotonic clock, units were killed last."""
    done: int = 0
    """Actions that worked since the start."""

    def run(self, actions: Sequence[Action], settings: Settings) -> bool:
        """Carry out a plan's actions in their order. Return whether another pass is worth while at once."""
        self.executor.patience = float(settings.deploy.hand_over_timeout)
        turns = _Turns()
        for action in actions:
            if not self._is_skipped(action, turns):
                self._run(action, turns, settings)
        self.executor.finish()
        self.failed = frozenset(turns.failed)
        for turn in turns.worked - turns.failed:
            self.notes.note_worked(turn)
        return bool(turns.worked) or turns.noted

    def _is_skipped(self, action: Action, turns: _Turns) -> bool:
        if _turn(action) in turns.failed and not isinstance(action, act.SAFETY):
            return True
        reload_due = self.notes.memory.reload_due
        if isinstance(action, act.Start | act.Enable):
            return reload_due  # systemd would start the old file
        if isinstance(action, act.Reload):
            return not reload_due  # the change that it was planned for was put off
        if isinstance(action, act.Kill):
            return self._was_killed_lately(action.unit)  # the kernel has not ended it yet
        return False

    def _run(self, action: Action, turns: _Turns, settings: Settings) -> None:
        """Carry out one action and note what came of it."""
        turn = _turn(action)
        # Both before the action: one that fails half-way may have changed a file, or have sent the signal.
        if isinstance(action, act.CHANGES_FILES):
            self.notes.note_reload_due(True)
        if isinstance(action, act.Kill):
            self._note_kill(action.unit)
        try:
            self.executor.execute(action)
        except SystemdBusyError as error:
            # Not a failure: systemd goes on with it, and the unit's change wakes the next pass.
            self.publisher.log_delay(action, error)
            turns.failed.add(turn)
            return
        except (SystemdError, RenderError, OSError) as error:
            turns.failed.add(turn)
            turns.noted = True
            self.publisher.log_failed_action(action, error)
            self.notes.note_failed_action(turn, action, error, settings.reconcile)
            return
        finally:
            self.progress()
        if isinstance(action, act.Reload):
            self.notes.note_reload_due(False)
        if isinstance(action, act.SAFETY):
            turns.noted = True  # it worked, but what its deployment waits for may still fail
        else:
            turns.worked.add(turn)
        self.done += 1
        is_event = isinstance(action, act.Kill)  # nothing else tells people why a server was ended
        if is_event or settings.reconcile.log_actions:
            self.publisher.log_action(action, is_event=is_event)
        self.after_action(self.done, action)

    def _was_killed_lately(self, unit: str) -> bool:
        killed_at = self.killed.get(unit)
        return killed_at is not None and self.notes.clock.monotonic() < killed_at + self.executor.patience

    def _note_kill(self, unit: str) -> None:
        now = self.notes.clock.monotonic()
        recent = {other: at for other, at in self.killed.items() if now < at + self.executor.patience}
        self.killed = {**recent, unit: now}


def _turn(action: Action) -> str:
    """Return the deployment whose turn an action is part of, or the unit where deployments share it."""
    return action.deployment or action.unit
