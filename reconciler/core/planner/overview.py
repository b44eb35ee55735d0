"""Where deployments stand, for people who ask something of them and for the history."""

from collections.abc import Collection, Mapping

from reconciler.core.operators.context import DeploymentSummary, RequestContext
from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.planner.guard import DesiredReleases, waiting
from reconciler.core.planner.inputs import PlannerInputs
from reconciler.core.planner.reused_version import is_taken, origin
from reconciler.core.state.ledger import Agreed
from reconciler.core.state.release import Release
from reconciler.core.units.names import ReleaseId
from reconciler.core.units.observed import Observed


def request_context(desired: DesiredReleases, seen: Observed, inputs: PlannerInputs) -> RequestContext:
    """What has to be known of each deployment to carry out a request."""
    waits = waiting(desired, seen, inputs)
    found = {}
    for name in {*seen.by_deployment, *desired}:
        deployment, release = DeploymentView(name, seen, inputs), desired.get(name)
        found[name] = DeploymentSummary(
            releases=deployment.releases(),
            active=deployment.active_release,
            desired=release.id if isinstance(release, Release) else None,
            desired_asked=release.asked if isinstance(release, Release) else "",
            selected=name in desired,
            held=name in waits and waits[name].removal,
            waits=name in waits and not waits[name].removal,
            asked={release: deployment.facts(release).asked or "" for release in deployment.releases()},
            taken=origin(release) if isinstance(release, Release) and is_taken(deployment, release) else None,
        )
    agreed = Agreed(source=inputs.source, rules=inputs.rules) if inputs.source else None
    return RequestContext(agreed, found)


def serving(deployments: Collection[str], seen: Observed, inputs: PlannerInputs) -> Mapping[str, ReleaseId | None]:
    """The release of each deployment that answers requests, or would start to at the next one."""
    deployments_ = [DeploymentView(name, seen, inputs) for name in deployments]
    return {deployment.name: deployment.serving_release or _idle(deployment) for deployment in deployments_}


def _idle(deployment: DeploymentView) -> ReleaseId | None:
    active = deployment.active_release
    return active if active and deployment.is_idle(active) else None
