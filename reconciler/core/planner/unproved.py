"""Versions with which nothing is tried before they serve: the host may refuse them, and says of those that serve."""

from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.state.reason import Reason
from reconciler.core.state.release import Release
from reconciler.core.state.status import Outlook, State
from reconciler.core.units.logged_example import LoggedExample, why_refused, why_unproved

_LESS_URGENT = (Reason.NONE, Reason.SEVERAL_SELECTED, Reason.SETTINGS_CHANGED)
"""Reasons beside `serving` and `idle` that ask nobody to do anything."""


def why_not_taken_unproved(view: DeploymentView, release: Release, example: LoggedExample | None) -> Outlook | None:
    """Return the status when this host does not take a release for want of an example, None when it does.

    `example` is what the fetch of its files says. Invariant: a release that has a server here is never refused for it,
    so the rule takes nothing out of service that was taken before the rule was made, and a boot brings it back.
    """
    has_proof = example is not None and example.is_proof
    was_taken = bool(view.servers(release.id))
    if has_proof or was_taken or not view.inputs.require_example:
        return None
    return view.blocked(release.version, Reason.NO_EXAMPLE, why_refused(release.name, release.version, example))


def tell_unproved(view: DeploymentView, outlook: Outlook) -> Outlook:
    """Add to the status of a deployment whose wanted version has traffic that nothing was tried with it before.

    Nothing is added where that is not known, as of releases that were rolled out by an earlier version of this product.
    """
    serving = view.serving_release
    is_at_rest = outlook.state in (State.SERVING, State.IDLE)
    if serving is None or not (is_at_rest or outlook.reason is Reason.SOAKING):
        return outlook
    # The file was rendered with what the fetch said. The server is not asked: the model's code runs in its process.
    why = why_unproved(serving.version, view.facts(serving).example)
    if not why:
        return outlook
    message = "; ".join(filter(None, (outlook.message, why)))
    may_be_replaced = is_at_rest and outlook.reason in _LESS_URGENT
    reason = Reason.NO_EXAMPLE if may_be_replaced else outlook.reason
    return outlook.model_copy(update={"reason": reason, "message": message})
