"""Where deployments stand, for people who ask something of them and for the history."""

from collections.abc import Collection, Mapping
from dataclasses import replace

from reconciler.core.operators.context import DeploymentSummary, RequestContext
from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.planner.guard import DesiredReleases, Wait, waiting
from reconciler.core.planner.inputs import PlannerInputs
from reconciler.core.planner.reused_version import is_taken, origin
from reconciler.core.state.ledger import Agreed
from reconciler.core.state.release import Refused, Release
from reconciler.core.units.names import ReleaseId
from reconciler.core.units.observed import Observed


def request_context(desired: DesiredReleases, seen: Observed, inputs: PlannerInputs) -> RequestContext:
    """Return what has to be known to carry out a request, of each deployment that is seen or desired.

    It goes by the ledger in `inputs`: after one request was carried out, it is to be asked for anew.
    """
    waits = waiting(desired, seen, inputs)
    summaries = {}
    for name in {*seen.by_deployment, *desired}:
        deployment = DeploymentView(name, seen, inputs)
        summaries[name] = _summary(deployment, desired.get(name), waits.get(name))
    agreed = Agreed(source=inputs.source, rules=inputs.rules) if inputs.source else None
    return RequestContext(agreed, summaries)


def _summary(deployment: DeploymentView, desired: Release | Refused | None, wait: Wait | None) -> DeploymentSummary:
    """Return where one deployment stands; `wait` is what the guard says of it."""
    releases = deployment.releases()
    summary = DeploymentSummary(
        releases=releases,
        active=deployment.active_release,
        # Refused by this host or not: the registry has not taken it out of production.
        selected=desired is not None,
        held=wait is not None and wait.removal,
        waits=wait is not None and not wait.removal,
        asked={release: deployment.facts(release).asked or "" for release in releases},
    )
    # To people who ask for something, a version that this host refuses is as good as none.
    if not isinstance(desired, Release):
        return summary
    taken = origin(desired) if is_taken(deployment, desired) else None
    return replace(summary, desired=desired.id, desired_asked=desired.asked, taken=taken)


def serving(deployments: Collection[str], seen: Observed, inputs: PlannerInputs) -> Mapping[str, ReleaseId | None]:
    """Return the release of each deployment that answers requests, or would start to at the next one.

    None for a deployment of which no release does.
    """
    found = {}
    for name in deployments:
        deployment = DeploymentView(name, seen, inputs)
        found[name] = deployment.serving_release or _idle_release(deployment)
    return found


def _idle_release(deployment: DeploymentView) -> ReleaseId | None:
    """Return the active release, if none of its servers runs because nobody asks it anything; else None."""
    active = deployment.active_release
    if active is not None and deployment.is_idle(active):
        return active
    return None
