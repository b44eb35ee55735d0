"""Versions with which nothing is tried before they serve: the host may refuse them, and says of those that serve."""

from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.state.reason import Reason
from reconciler.core.state.release import Release
from reconciler.core.state.status import Outlook, State
from reconciler.core.units.logged_example import LoggedExample, why_refused, why_unproved


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
    """Add to the message of a deployment whose wanted version has traffic that nothing was tried with it before.

    Nothing is added where that is not known, as of releases that were rolled out by an earlier version of this product.
    """
    serving = view.serving_release
    has_traffic = outlook.state in (State.SERVING, State.IDLE) or outlook.reason is Reason.SOAKING
    if serving is None or not has_traffic:
        return outlook
    why = why_unproved(serving.version, view.facts(serving).example)
    if not why:
        return outlook
    message = "; ".join(filter(None, (outlook.message, why)))
    return outlook.model_copy(update={"message": message})
