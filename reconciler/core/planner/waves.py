"""Which deployments leave a new release to other hosts first (`rollout.after`): they stay as they are meanwhile."""

from reconciler.core.planner.decide import ToRollOut, case_of
from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.planner.guard import DesiredReleases, Wait
from reconciler.core.planner.inputs import PlannerInputs
from reconciler.core.state.release import Release
from reconciler.core.units.observed import Observed


def other_hosts_first(desired: DesiredReleases, seen: Observed, inputs: PlannerInputs) -> dict[str, Wait]:
    """Return the deployments whose selected release may not begin yet, and why.

    What has begun goes on: a host that falls silent later stops nothing half-way.
    """
    waits = {}
    for name, why in inputs.not_yet.items():
        release = desired.get(name)
        if isinstance(release, Release) and _would_begin(DeploymentView(name, seen, inputs), release):
            waits[name] = Wait(why, removal=False, for_hosts=True)
    return waits


def _would_begin(view: DeploymentView, release: Release) -> bool:
    """Whether bringing the release into service would begin now, and its version was never proved here.

    What proved itself here needs nobody else's word: going back must not wait for a host that is away.
    """
    has_begun = view.active_release == release.id or bool(view.running(release.id))
    if view.record.has_proven(release.version):
        return False
    # In all other cases it does not come into service, and the status says why.
    return not has_begun and isinstance(case_of(view, release), ToRollOut)
