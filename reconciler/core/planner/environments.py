"""The part of the plan that removes environments that no release of any deployment needs any more."""

from reconciler.core.planner import actions as act
from reconciler.core.planner.actions import Action
from reconciler.core.planner.deployment_plan import clean
from reconciler.core.planner.guard import DesiredReleases
from reconciler.core.state.release import Release
from reconciler.core.units import names
from reconciler.core.units.observed import Observed


def unused_environments(desired: DesiredReleases, seen: Observed, starting: set[str]) -> list[Action]:
    """Return the actions that stop and then remove the builds of unused environments, with their directories.

    `starting` has the units that this pass starts or would start: these stay. The files of builds that are used are
    restored where somebody changed or removed them.

    Releases that are kept for a rollback still have servers, so their environments count as used.
    """
    used = _used_environments(desired, seen)
    found: list[Action] = []
    # By the files, not by the directories: the file of a build marks that its directory may exist.
    for unit in sorted(seen.files):
        environment = names.parse_build(unit)
        if environment is None or unit in starting:
            continue
        if environment in used:
            found += _restore(unit, seen)
        else:
            found += _remove(unit, seen)
    return found


def _used_environments(desired: DesiredReleases, seen: Observed) -> set[str | None]:
    """Return the environments that servers run in, and those that desired releases were found to need.

    The fetch unit of a desired release says what the release needs before any server does. None is in the answer when
    one does not say it; no build has that name.
    """
    used = {file.facts.environment for unit, file in seen.files.items() if names.parse_server(unit)}
    for release in desired.values():
        if isinstance(release, Release):
            fetch = names.fetch_unit(release.name, release.version)
            used.add(seen.unit(fetch).environment)
    return used


def _restore(unit: str, seen: Observed) -> list[Action]:
    """Return the restore of a build's file if somebody changed or removed it.

    A build belongs to no deployment, so the restore counts as nobody's repair.
    """
    return [] if seen.files[unit].intact else [act.RestoreFile("", unit)]


def _remove(unit: str, seen: Observed) -> list[Action]:
    """Return the next action towards the removal of a build: its stop, or the removal once it is down.

    Nothing else uses the environment: no server names it, so none can start with it in this pass.
    """
    state = seen.unit(unit)
    if state.is_down:
        return clean("", unit, seen.files[unit])
    # systemd may stop it or remove its directory just now: there is nothing to ask for meanwhile.
    return [] if state.is_going_down else [act.Stop("", unit)]
