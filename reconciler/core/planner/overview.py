"""Where deployments stand, for people who ask something of them and for the history."""

from dataclasses import replace

from reconciler.core.operators.context import DeploymentSummary, RequestContext
from reconciler.core.planner.confirmation import yes_to
from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.planner.guard import DesiredReleases, Wait, live_on_host, waiting
from reconciler.core.planner.inputs import PlannerInputs
from reconciler.core.planner.reused_version import is_taken, origin
from reconciler.core.state.ledger import Agreed
from reconciler.core.state.release import Refused, Release
from reconciler.core.units.observed import Observed


def request_context(desired: DesiredReleases, seen: Observed, inputs: PlannerInputs) -> RequestContext:
    """Return what has to be known to carry out a request, of each deployment that is seen or desired.

    It goes by the ledger in `inputs`: after one request was carried out, it is to be asked for anew.
    """
    waits = waiting(desired, live_on_host(seen), inputs)
    summaries = {}
    # Also what is here and not desired any more: it may be held, and a person may be asked about it.
    for name in {*seen.by_deployment, *desired}:
        deployment = DeploymentView(name, seen, inputs)
        summaries[name] = _summary(deployment, desired.get(name), waits.get(name))
    # Without a snapshot there is no source that a person could agree to.
    agreed = Agreed(source=inputs.source, rules=inputs.rules) if inputs.source else None
    return RequestContext(agreed, summaries)


def _summary(deployment: DeploymentView, desired: Release | Refused | None, wait: Wait | None) -> DeploymentSummary:
    """Return where one deployment stands.

    `desired` is None for a deployment that the registry does not select. `wait` is what the guard says of the
    deployment; None when it need not wait for a person.
    """
    releases = deployment.releases()
    removal_waits = wait is not None and wait.removal
    replacement_waits = wait is not None and not wait.removal
    summary = DeploymentSummary(
        releases=releases,
        active=deployment.active_release,
        # Refused by this host or not: the registry has not taken it out of production.
        selected=desired is not None,
        held=removal_waits,
        waits=replacement_waits,
        asked={release: deployment.facts(release).asked or "" for release in releases},
    )
    # To people who ask for something, a version that this host refuses is as good as none.
    if not isinstance(desired, Release):
        return summary
    taken = origin(desired) if is_taken(deployment, desired) else None
    change = yes_to(desired) if deployment.inputs.confirm else None
    return replace(summary, desired=desired.id, desired_asked=desired.asked, change=change, taken=taken)
