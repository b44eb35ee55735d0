"""The release that the reconciler works towards: the desired one, or one of which only the files are known."""

from dataclasses import dataclass, replace

from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.state.release import Release, Rollout, Strategy
from reconciler.core.units import names
from reconciler.core.units.names import ReleaseId


@dataclass(frozen=True)
class Target:
    """A release, as far as bringing it up needs to know it."""

    id: ReleaseId
    runtime: str
    rollout: Rollout
    release: Release | None = None
    """None for one that the registry does not select: what it was made from is not known any more, its files are."""

    @property
    def version(self) -> int:
        """The model version."""
        return self.id.version

    def asked(self, view: DeploymentView) -> str:
        """Return the digest of everything in it that is not this host's settings; empty where that is not known."""
        if self.release is not None:
            return self.release.asked
        # Its unit file has the line, unless somebody edited it.
        return view.facts(self.id).asked or ""

    def units(self, name: str) -> list[str]:
        """List the server units of deployment `name` that it should have, in the order in which they are started.

        Some may have no file yet. `DeploymentView.servers` lists those that have one, which may be more or fewer.
        """
        return [names.server_unit(name, self.id, number) for number in range(1, self.rollout.replicas + 1)]


def of_release(release: Release) -> Target:
    """Return the release that the registry selects, as a target.

    Everything about it is known, so it can be fetched, built and rendered anew.
    """
    return Target(release.id, release.parameters.runtime, release.rollout, release)


def of_files(view: DeploymentView, release: ReleaseId) -> Target:
    """Return a release that is on this host, to be run as it was: with as many servers and the same strategy.

    Its soak and its limit of errors are those of this host's settings, whatever its tags say: its unit files do not
    have them.
    """
    facts = view.facts(release)
    strategy: Strategy = "recreate" if facts.recreate else "hand-over"
    replicas = _servers_on_host(view, release)
    rollout = replace(view.inputs.rollout, replicas=replicas, strategy=strategy)
    # The line is missing only if somebody edited the file: the default is the best guess.
    runtime = facts.runtime or "native"
    return Target(release, runtime, rollout)


def as_it_is(view: DeploymentView, release: ReleaseId, rollout: Rollout) -> Target:
    """Return a release that is on this host, to be brought up with other rollout settings than it had: today's.

    It never has more servers than now: a server unit is rendered from what the registry says, which is not known here.
    """
    replicas = min(rollout.replicas, _servers_on_host(view, release))
    as_it_was = of_files(view, release)
    return replace(as_it_was, rollout=replace(rollout, replicas=replicas))


def _servers_on_host(view: DeploymentView, release: ReleaseId) -> int:
    """Count the server units of a release; 1 without any, because a target always has a server."""
    return max(1, len(view.servers(release)))


def fallback_target(view: DeploymentView, unwanted: ReleaseId | None) -> Target | None:
    """Return the release to keep to while the desired one is out of the question; None when there is none.

    It only chooses the target; `fall_back.fall_back` plans that it serves.

    The active release comes first, even one in its soak, because it serves; then the good one. `unwanted` is the
    desired release, if it is known: it is never returned.
    """
    active = view.active_release
    if active is not None and active != unwanted and _may_serve(view, active):
        return of_files(view, active)

    good = view.good_release
    if good is None or good == unwanted:
        return None
    return of_files(view, good)


def _may_serve(view: DeploymentView, release: ReleaseId) -> bool:
    """Whether the active release was not rejected and is on this host.

    Somebody may have removed its unit files, and left the socket that names it.
    """
    is_on_host = bool(view.servers(release))
    is_rejected = view.record.rejection(release) is not None
    return is_on_host and not is_rejected


def active_besides(view: DeploymentView, target: Target) -> ReleaseId | None:
    """Return the active release if it is another one than the target; None if it is not, or if there is none.

    It serves, or did: while the target is made ready it decides what clients see.
    """
    active = view.active_release
    if active == target.id:
        return None
    return active


def releases_to_keep(view: DeploymentView, target: Target | None) -> list[ReleaseId]:
    """List the releases whose files stay, each once.

    The target comes first, then the active and the good release, then as many of those that were good before as the
    settings say, the latest first.
    """
    # What was good before is remembered longer than its files are kept.
    earlier_good = [release for release in view.record.before if view.servers(release)]
    kept = earlier_good[: view.inputs.retention.releases]
    target_id = target.id if target else None
    found = [target_id, view.active_release, view.good_release, *kept]
    return [release for release in dict.fromkeys(found) if release is not None]
