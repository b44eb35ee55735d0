"""With `reconcile.mode = "confirm"`: which changes wait until an operator applies the plan that shows them.

Only a change that begins waits: another release, or the end of a deployment that serves. What serves is repaired, a bad
release is taken back, and what was confirmed goes on to its end without another yes.
"""

from collections.abc import Iterator

from reconciler.core.planner import actions as act
from reconciler.core.planner.bridge import brokers_change
from reconciler.core.planner.decide import ToRollOut, case_of
from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.planner.guard import DesiredReleases, Wait
from reconciler.core.planner.inputs import PlannerInputs
from reconciler.core.planner.removal import is_ended
from reconciler.core.state.ledger import REMOVAL, Change
from reconciler.core.state.release import Refused, Release
from reconciler.core.units.observed import Observed


def unconfirmed(desired: DesiredReleases, seen: Observed, inputs: PlannerInputs) -> dict[str, Change]:
    """Return the changes that wait for `reconciler apply`, by deployment, as the ledger notes the yes to each.

    Suspended deployments are not in the answer: they say so themselves.
    """
    waiting = {}
    for name in sorted({*seen.by_deployment, *desired}):
        view = DeploymentView(name, seen, inputs)
        change = _change(view, desired.get(name))
        if change is not None and not view.record.has_yes(change) and view.record.suspended is None:
            waiting[name] = change
    return waiting


def yes_to(release: Release) -> Change:
    """Return what a yes to a release is to."""
    return Change(release.id, release.agreed)


def wait_for(change: Change) -> Wait:
    """Return how a deployment waits whose change nobody confirmed."""
    what = "its removal" if change.to == REMOVAL else f"version {change.to.version}"
    why = f"{what} waits for reconciler apply; reconciler plan shows what it would do"
    return Wait(why, removal=change.is_removal, for_apply=True)


def withdrawn(desired: DesiredReleases, seen: Observed, inputs: PlannerInputs) -> Iterator[act.Action]:
    """Yield the notes that a yes does not hold any more: it was to one change, and does not lie in wait for another.

    A yes holds while the registry selects what it was given to, also after that serves. One to a removal that began
    holds until the deployment is gone, whatever is selected meanwhile.
    """
    for name, record in sorted(inputs.ledger.records.items()):
        if record.confirmed is None:
            continue
        is_here = name in seen.by_deployment
        goes_on = is_here and is_ended(DeploymentView(name, seen, inputs))
        is_asked = (is_here or name in desired) and record.has_yes(_asked(desired.get(name)))
        if not goes_on and not is_asked:
            yield act.WithdrawYes(name, "")


def _asked(desired: Release | Refused | None) -> Change | None:
    """Return what a yes to what the registry selects would be to; None where there is nothing to say yes to."""
    if desired is None:
        return Change(REMOVAL)
    return yes_to(desired) if isinstance(desired, Release) else None


def _change(view: DeploymentView, desired: Release | Refused | None) -> Change | None:
    """Return what needs a yes before it begins; None where nothing new would begin."""
    if desired is None:
        # A boot would not start one that is being removed already: it goes on being removed.
        is_live = view.socket in view.seen.enabled
        return Change(REMOVAL) if is_live and view.name not in view.inputs.ledger.prune_confirmed else None
    if isinstance(desired, Refused):
        return None
    if is_ended(view):
        return yes_to(desired)
    if view.active_release == desired.id:
        # Its other tags change how many servers there are, or how it would come into service.
        return yes_to(desired) if brokers_change(view, desired) else None
    # In all other cases the release does not come into service, or an operator asked for just that.
    return yes_to(desired) if isinstance(case_of(view, desired), ToRollOut) else None
