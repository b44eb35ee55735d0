"""Takes note of failures, pauses, repairs and selections from pass to pass, so that retries get their time."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from reconciler.core.planner.actions import Action, Start
from reconciler.core.planner.deployment_view import MAX_MESSAGE
from reconciler.core.state.backoff import RetryPolicy
from reconciler.core.state.memory import Memory
from reconciler.core.state.snapshot import Snapshot
from reconciler.core.text.quote import one_line
from reconciler.core.units.observed import Observed
from reconciler.daemon.clock import Clock
from reconciler.files.atomic import in_words
from reconciler.settings.model import ReconcileSettings


@dataclass
class Notes:
    """The current memory, and the ways in which a pass changes it. A restart loses it, which costs an early retry."""

    clock: Clock
    memory: Memory = field(default_factory=Memory)

    def note_failures(self, seen: Observed, rhythm: ReconcileSettings) -> None:
        """Note which units failed, when each may be tried again, and which ports somebody else holds."""
        self.memory = self.memory.note_failures(seen, self.clock.monotonic(), self._retry_policy(rhythm))

    def note_selection(self, present: Collection[str], snapshot: Snapshot) -> None:
        """Note since when each deployment that is there is known not to be selected."""
        selected = {model.name for model in snapshot.models}
        self.memory = self.memory.note_selection(present, selected, self.clock.monotonic())

    def note_failed_job(self, name: str, uid: str, why: str, rhythm: ReconcileSettings) -> None:
        """Note that a Job of a cluster failed, once for each `uid`: another Job of its name is another try."""
        policy = self._retry_policy(rhythm)
        self.memory = self.memory.note_failed_job(name, uid, one_line(why, MAX_MESSAGE), self.clock.monotonic(), policy)

    def note_mended(self, names: Collection[str], rhythm: ReconcileSettings) -> None:
        """Note the deployments that were repaired in this pass; too many repairs within the window stall one."""
        self.memory = self.memory.note_mended(names, self.clock.monotonic(), float(rhythm.mend_window))

    def note_done_job(self, name: str) -> None:
        """Note that a Job of a cluster worked: its next failure is a first one."""
        self.memory = replace(self.memory, backoff=self.memory.backoff.without({name}))

    def note_failed_action(self, turn: str, action: Action, error: Exception, rhythm: ReconcileSettings) -> None:
        """Pause the deployment, or the shared unit, whose action failed."""
        is_socket_start = isinstance(action, Start) and action.unit.endswith(".socket")
        if is_socket_start:
            return  # the socket itself shows that it failed, and it may get another port at once
        # Everything else of that deployment waits with it: its later actions rely on the earlier ones.
        why = one_line(in_words(error), MAX_MESSAGE)
        self.memory = self.memory.note_failed_action(turn, why, self.clock.monotonic(), self._retry_policy(rhythm))

    def note_worked(self, turn: str) -> None:
        """End the pause of a deployment, or of a shared unit, all of whose actions worked."""
        self.memory = self.memory.forget_pause(turn)

    def note_reload_due(self, due: bool) -> None:
        """Note whether unit files changed since systemd read them last."""
        self.memory = replace(self.memory, reload_due=due)

    def forgive(self, name: str, shared: Collection[str]) -> None:
        """Let a deployment, and the shared units that it needs, be tried again at once."""
        self.memory = self.memory.forgive(name, shared)

    def paused(self) -> dict[str, str]:
        """Return the deployments and shared units whose turn has not come again, each with the reason."""
        return self.memory.paused(self.clock.monotonic())

    def _retry_policy(self, rhythm: ReconcileSettings) -> RetryPolicy:
        """Return how long the settings say to wait after a failure."""
        return RetryPolicy(rhythm.retry_min, rhythm.retry_max, self.clock.jitter)
