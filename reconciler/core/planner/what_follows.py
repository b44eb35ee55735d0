"""What follows the next actions of a deployment if nothing fails, in words for people who look at a plan."""

from collections.abc import Sequence

from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.state.reason import Reason
from reconciler.core.state.release import Refused, Release
from reconciler.core.state.status import Outlook, State
from reconciler.core.units.names import ReleaseId

_DONE = {
    Reason.FETCHING: 0,
    Reason.BUILDING: 1,
    Reason.VERIFYING: 2,
    Reason.STARTING: 3,
    Reason.TAKING_OVER: 4,
    Reason.SOAKING: 5,
}
"""By what a rollout does just now, how many of its steps after the fetch are no longer to come."""


def what_follows(view: DeploymentView, desired: Release | Refused | None, outlook: Outlook) -> tuple[str, ...]:
    """Return the later steps in their order; none where nothing follows, or where nobody can know.

    `outlook` says how far the deployment has come.
    """
    if outlook.state is State.REMOVING:
        return _removal(view)
    done = _DONE.get(outlook.reason)
    if done is None or not isinstance(desired, Release):
        return ()
    steps = _rollout(view, desired)
    return tuple(step for number, step in enumerate(steps) if step and number >= done)


def _rollout(view: DeploymentView, release: Release) -> Sequence[str]:
    """Return the steps of a rollout after its fetch; those that this one does not have are empty."""
    former = next((one for one in (view.active_release, view.good_release) if one not in (None, release.id)), None)
    start = f"start version {release.version}"
    prepared = ["build its environment unless it is here", "verify the files"]
    if former is None:
        return [*prepared, start]
    called = _called(former, release)
    soak = release.rollout.soak
    recreated = release.rollout.strategy == "recreate"
    return [
        *prepared,
        f"stop {called}, then {start}" if recreated else f"{start} beside {called}",
        "" if recreated else "have it take over the address",
        f"watch it for {soak} s" if soak else "",
        *_end_of_former(view, former, release),
    ]


def _end_of_former(view: DeploymentView, former: ReleaseId, release: Release) -> list[str]:
    """Say which releases are stopped or removed once the new one has passed its soak."""
    proven = [one for one in view.record.proven() if one != release.id and view.servers(one)]
    kept = proven[: view.inputs.retention.releases]
    gone = [one for one in proven if one not in kept]
    if former not in proven:
        gone.insert(0, former)
    stays = [f"stop {_called(former, release)} and keep it for a rollback"] if former in kept else []
    return [*stays, *(f"remove {_called(one, release)}" for one in gone)]


def _called(former: ReleaseId, release: Release) -> str:
    if former.version == release.version:
        return f"the former release of version {former.version}"
    return f"version {former.version}"


def _removal(view: DeploymentView) -> tuple[str, ...]:
    since = view.inputs.unselected.get(view.name, view.inputs.now)
    left = since + view.inputs.retention.removal_grace - view.inputs.now
    kept = (f"keep its files for {left:.0f} s",) if left > 0 and view.releases() else ()
    return (*kept, "remove its units and files")
