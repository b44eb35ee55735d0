"""From a snapshot and the settings to what this host should run."""

from collections.abc import Collection

from reconciler.core.planner.guard import DesiredReleases
from reconciler.core.registry.containers import fit_for_containers
from reconciler.core.registry.policy import Defaults, Policy, desired_release, limit_deployments
from reconciler.core.state.ledger import Ledger
from reconciler.core.state.release import Refused, Release
from reconciler.core.state.snapshot import SelectedVersion, Snapshot
from reconciler.daemon.desired import compose_settings, defaults, policy
from reconciler.settings.model import Settings


class Selection:
    """Makes releases of what the registry selects.

    Snapshot and settings are the same in most passes, and so are the releases: they are made anew when one of the two
    is another one, or when a person asked for a rollout.
    """

    def __init__(self) -> None:
        self._made_of: tuple[Snapshot, Settings] | None = None
        self._made: dict[str, tuple[int, Release | Refused]] = {}
        """By model, the generation and what was made of it."""

    def desired(self, snapshot: Snapshot, settings: Settings, ledger: Ledger, here: Collection[str]) -> DesiredReleases:
        """Give each selected version its parameters, or the reason why it gets none; `here`: the deployments there are.

        A model that is missing from the answer is not selected: the planner may remove its deployment.
        """
        usual, allowed = defaults(settings), policy(settings)
        self._forget_others(snapshot, settings)
        found: dict[str, Release | Refused] = {}
        for model in snapshot.models:
            generation = ledger.record(model.name).generation
            made = self._made.get(model.name)
            if made is None or made[0] != generation:
                made = generation, _release(model, settings, usual, allowed, generation)
                self._made[model.name] = made
            found[model.name] = made[1]
        for model_not_deployable in snapshot.not_deployable:
            name = model_not_deployable.name
            # What is selected and cannot be deployed is no reason to take down what serves.
            if name in here:
                found[name] = Refused(name, 0, model_not_deployable.why)
        return limit_deployments(found, here, allowed.max_deployments)

    def _forget_others(self, snapshot: Snapshot, settings: Settings) -> None:
        # The objects, not what they say: comparing them would cost as much as making the releases. Both are kept, so
        # that no other object can have their identity.
        is_same = self._made_of is not None and self._made_of[0] is snapshot and self._made_of[1] is settings
        if not is_same:
            self._made_of, self._made = (snapshot, settings), {}


def _release(
    model: SelectedVersion, settings: Settings, usual: Defaults, allowed: Policy, generation: int
) -> Release | Refused:
    """Make the release, and fit it to the containers of this host if it runs in some."""
    release = desired_release(model, usual, allowed, generation)
    if isinstance(release, Refused):
        return release
    compose = compose_settings(settings)
    has_image = bool(compose.image or compose.base)
    return fit_for_containers(release, has_image=has_image, asks_itself=compose.asks_itself)
