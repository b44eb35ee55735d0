"""What a deployment is to be brought to: the wanted release, or one of which only the files are known."""

from dataclasses import dataclass, replace

from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.state.release import Release, Rollout
from reconciler.core.units import names
from reconciler.core.units.names import ReleaseId


@dataclass(frozen=True)
class Target:
    """A release, as far as bringing it up needs to know it."""

    id: ReleaseId
    runtime: str
    rollout: Rollout
    release: Release | None = None
    """None for one that is no longer wanted: what it was made from is not known any more, its files are."""

    @property
    def version(self) -> int:
        """The model version."""
        return self.id.version

    def asked(self, deployment: DeploymentView) -> str:
        """What of it is not this host's settings; empty where that is not known."""
        return self.release.asked if self.release else deployment.facts(self.id).asked or ""

    def units(self, name: str) -> list[str]:
        """Its server units, in the order in which they are started."""
        return [names.server_unit(name, self.id, number) for number in range(1, self.rollout.replicas + 1)]


def of_release(release: Release) -> Target:
    """The release that the registry wants."""
    return Target(release.id, release.parameters.runtime, release.rollout, release)


def of_files(deployment: DeploymentView, release: ReleaseId) -> Target:
    """A release that is on this host, run as it was."""
    rollout = replace(
        deployment.inputs.rollout,
        replicas=max(1, len(deployment.servers(release))),
        strategy="recreate" if deployment.facts(release).recreate else "hand-over",
    )
    return Target(release, deployment.facts(release).runtime or "native", rollout)


def as_it_is(deployment: DeploymentView, release: ReleaseId, rollout: Rollout) -> Target:
    """A release that is on this host, brought up as today; its files alone do for no more servers than it has."""
    there = max(1, len(deployment.servers(release)))
    rollout = replace(rollout, replicas=min(rollout.replicas, there))
    return replace(of_files(deployment, release), rollout=rollout)


def fallback(deployment: DeploymentView, unwanted: ReleaseId | None) -> Target | None:
    """The release to keep to while the wanted one is out of the question: the active one, else the good one."""
    record, active = deployment.record, deployment.active_release
    if active and active != unwanted and deployment.servers(active) and record.rejection(active) is None:
        return of_files(deployment, active)
    good = deployment.good_release
    return of_files(deployment, good) if good and good != unwanted else None


def releases_to_keep(deployment: DeploymentView, target: Target | None) -> list[ReleaseId]:
    """The releases whose files stay: the target, what is active or good, and some of those that were good before."""
    record = deployment.record
    before = [one for one in record.before if deployment.servers(one)][: deployment.inputs.retention.releases]
    found = [target.id if target else None, deployment.active_release, deployment.good_release, *before]
    return [one for one in dict.fromkeys(found) if one is not None]
