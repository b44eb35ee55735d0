"""The part of the plan that stops and removes the units that no release needs any more, and their directories.

Invariants: nothing is removed before it is down; a version's files stay while any unit may use them; the deployment's
directory goes with its last unit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.core.planner import actions as act
from reconciler.core.planner.actions import Action
from reconciler.core.planner.deployment_plan import DeploymentPlan, clean, forget_compiled
from reconciler.core.planner.target import Target, releases_to_keep
from reconciler.core.planner.watching import stop_watching
from reconciler.core.units import names
from reconciler.core.units.names import ReleaseId, Step, StepUnit


@dataclass(frozen=True)
class _Needed:
    """Which releases of a deployment are still needed, and what for."""

    kept: Sequence[ReleaseId]
    """Their units and files stay."""
    may_run: Sequence[ReleaseId | None]
    """Their servers may run. The others are stopped, also those of releases that are kept."""
    target_answers: bool
    """Whether the target accepts requests already, so that no other release has to."""


def stop_unneeded(deployment: DeploymentPlan, target: Target | None) -> None:
    """Add the stop of every unit that no release needs, and the removal of what is no longer kept.

    `target` is the release that the deployment is brought to, None when there is none. A stop takes time, and what is
    to be removed after it is removed in a later pass.
    """
    needed = _needed(deployment, target)
    versions = {release.version for release in needed.kept}
    for release in deployment.releases():
        all_down = _stop_unneeded_servers(deployment, release, needed)
        if not all_down:
            versions.add(release.version)
    # One loop for both, so that the actions follow the names of the units.
    for unit in deployment.files():
        _remove_unneeded_watch(deployment, unit)
        _remove_unneeded_step(deployment, unit, versions)
    _remove_directory_with_last_unit(deployment)


def _needed(deployment: DeploymentPlan, target: Target | None) -> _Needed:
    """Return which releases are kept and which may run while the deployment is brought to a target.

    Without a target, the active release may go on running; the caller stops it if it has to end.
    """
    # What is kept is not only what may run: also earlier good releases, for a rollback.
    kept = releases_to_keep(deployment, target)
    active, good = deployment.active_release, deployment.good_release
    if target is None:
        return _Needed(kept, [active], target_answers=False)
    # While the target proves itself, the good release stands by to take over again.
    has_to_prove_itself = target.id != good
    may_run = [target.id, active, good] if has_to_prove_itself else [target.id, active]
    return _Needed(kept, may_run, target_answers=deployment.is_partly_up(target.id))


def _stop_unneeded_servers(deployment: DeploymentPlan, release: ReleaseId, needed: _Needed) -> bool:
    """Add what has to happen to the servers of one release. Return False while one of them is to stop and still runs.

    A rejected release may still run, for instance until the good release has taken over. A boot must not start it, and
    as soon as the target answers it must not answer, too.
    """
    servers = deployment.servers(release)
    may_run = release in needed.may_run
    is_rejected = deployment.record.rejection(release) is not None
    if is_rejected or not may_run:
        deployment.disable(servers)
    if is_rejected and needed.target_answers:
        # systemd may have started it again. A stop has to wait its turn, a signal does not.
        deployment.stand_by(servers)
    if may_run:
        return True
    is_kept = release in needed.kept
    return _stop_servers(deployment, servers, is_kept=is_kept)


def _stop_servers(deployment: DeploymentPlan, servers: Sequence[str], *, is_kept: bool) -> bool:
    """Add the stop of servers, and the removal of those that are down. Return True when all are down.

    The servers of a release that is kept are stopped and not removed: they mark that the release is here.
    """
    all_down = True
    for unit in servers:
        is_down = deployment.stop(unit)
        if not is_down:
            all_down = False
            continue
        # systemd disables only a unit that has its file: an enabled one keeps its file for another pass.
        has_to_stay = is_kept or unit in deployment.seen.enabled
        if not has_to_stay:
            deployment.before += removal_of_server(deployment, unit)
    return all_down


def removal_of_server(deployment: DeploymentPlan, unit: str) -> list[Action]:
    """Return the actions that remove a server that is down, with what it compiled and its cache directory, if any.

    These are the only directories of a server's own; its other files belong to the fetch and the build.
    """
    file = deployment.seen.files[unit]
    server = names.parse_server(unit)
    # All servers of a release use what the first one compiled.
    is_first = server is not None and server.replica == 1
    forget = forget_compiled(deployment, unit) if is_first else []
    if file.facts.has_cache:
        return [*forget, *clean(deployment.name, unit, file)]
    return [*forget, act.Remove(deployment.name, unit)]


def _remove_unneeded_watch(deployment: DeploymentPlan, unit: str) -> None:
    """If a unit watches files: add its stop, and then its removal, unless these are files of the active release.

    Only the files of the active release are watched. Those of others are verified before they are used.
    """
    watch = names.parse_watch(unit)
    if watch is None:
        return
    # Two releases of one version have the same files, so the versions are compared.
    active = deployment.active_release
    is_needed = active is not None and active.version == watch.version
    if not is_needed and stop_watching(deployment, watch.version):
        deployment.before.append(act.Remove(deployment.name, unit))


def _remove_unneeded_step(deployment: DeploymentPlan, unit: str, versions: set[int]) -> None:
    """If a unit fetches or verifies: add its stop, and then its removal, unless its version is one of `versions`.

    The removal of the fetch unit removes the files of the version. It waits for the removal of the verify unit, which
    would say otherwise that files are fine which are gone.
    """
    step = names.parse_step(unit)
    if step is None or step.version in versions:
        return
    is_down = deployment.stop(unit)
    if is_down:
        deployment.before += _removal_of_step(deployment, unit, step)


def _removal_of_step(deployment: DeploymentPlan, unit: str, step: StepUnit) -> list[Action]:
    """Return the actions that remove a step that is down; none for a fetch while there is still a verification.

    The unit of a fetch marks that the version's directory may exist. So the unit goes after the directory, or nobody
    would know of the directory.
    """
    if step.step is Step.VERIFY:
        return [act.Remove(deployment.name, unit)]
    verify = names.verify_unit(deployment.name, step.version)
    if verify in deployment.seen.files:
        return []
    return clean(deployment.name, unit, deployment.seen.files[unit])


def _remove_directory_with_last_unit(deployment: DeploymentPlan) -> None:
    """Add the removal of the deployment's directory if this plan removes all of its units.

    Without a file the deployment is not seen any more, and neither is its directory: so the directory goes first.
    Nobody would remove it later.
    """
    removals = [action for action in deployment.before if isinstance(action, act.Remove)]
    removed = {action.unit for action in removals}
    removes_all = removed.issuperset(deployment.files())
    if removals and removes_all:
        first = deployment.before.index(removals[0])
        directory = names.directory_unit(deployment.name)
        deployment.before.insert(first, act.Clean(deployment.name, directory))
