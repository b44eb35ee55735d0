"""The part of the plan that stops and removes what no release needs any more."""

from reconciler.core.planner import actions as act
from reconciler.core.planner.actions import Action
from reconciler.core.planner.deployment_plan import DeploymentPlan, clean
from reconciler.core.planner.target import Target, releases_to_keep
from reconciler.core.planner.watching import stop_watching
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import Outlook, State
from reconciler.core.units import names
from reconciler.core.units.names import Step


def stop_unneeded(deployment: DeploymentPlan, target: Target | None) -> None:
    """Stop what neither serves nor stands by, and remove what is no longer kept: units, then their directories."""
    kept = releases_to_keep(deployment, target)
    active, good = deployment.active_release, deployment.good_release
    proving = target is not None and good != target.id
    may_run = {target.id if target else None, active, good if proving else None}
    versions = {release.version for release in kept}
    for release in deployment.releases():
        if release not in may_run or deployment.record.rejection(release):
            deployment.disable(deployment.servers(release))
        if deployment.record.rejection(release) and target is not None and deployment.is_partly_up(target.id):
            deployment.stand_by(
                deployment.servers(release)
            )  # systemd may have started it again, and a stop has to wait its turn
        if release in may_run:
            continue
        for unit in deployment.servers(release):
            if not deployment.stop(unit):
                versions.add(release.version)
            elif release not in kept and unit not in deployment.seen.enabled:
                deployment.before += _remove_server(deployment, unit)
    for unit in deployment.files():
        watch = names.parse_watch(unit)
        if watch and (active is None or watch.version != active.version) and stop_watching(deployment, watch.version):
            deployment.before.append(act.Remove(deployment.name, unit))
        step = names.parse_step(unit)
        if step is None or step.version in versions or not deployment.stop(unit):
            continue
        if step.step is Step.VERIFY:
            deployment.before.append(act.Remove(deployment.name, unit))
        elif names.verify_unit(deployment.name, step.version) not in deployment.seen.files:
            deployment.before += clean(deployment.name, unit, deployment.seen.files[unit])

    going = [one for one in deployment.before if isinstance(one, act.Remove)]
    if going and {one.unit for one in going} >= set(deployment.files()):
        # Without a file the deployment is not seen any more, and neither is its directory.
        deployment.before.insert(
            deployment.before.index(going[0]), act.Clean(deployment.name, names.directory_unit(deployment.name))
        )


def _remove_server(deployment: DeploymentPlan, unit: str) -> list[Action]:
    """Remove a server that is down, with the directory that it could write to."""
    file = deployment.seen.files[unit]
    return clean(deployment.name, unit, file) if file.facts.has_cache else [act.Remove(deployment.name, unit)]


def remove_deployment(deployment: DeploymentPlan) -> Outlook:
    """Take out of service what is no longer selected; after a while have everything of it removed."""
    why = "the registry no longer selects it"
    down = _out_of_service(deployment)
    ends = (
        deployment.inputs.unselected.get(deployment.name, deployment.inputs.now)
        + deployment.inputs.retention.removal_grace
    )
    if down and deployment.inputs.now < ends and deployment.releases():
        deployment.deadlines.append(ends)
        kept = f"{why}; its files are kept for a while in case it is selected again"
        return deployment.outlook(State.REMOVING, None, Reason.KEPT_FOR_A_WHILE, kept)
    if down:
        _remove(deployment)
    return deployment.outlook(State.REMOVING, None, Reason.NOT_SELECTED, why)


def remove_at_once(deployment: DeploymentPlan) -> None:
    """Take a deployment out of service and have everything of it removed."""
    if _out_of_service(deployment):
        _remove(deployment)


def _out_of_service(deployment: DeploymentPlan) -> bool:
    """Close the address and stop all that serves; True when it is down."""
    files = deployment.files()
    # What is disabled has to be there.
    deployment.before += [
        act.RestoreFile(deployment.name, unit)
        for unit in files
        if unit in deployment.seen.enabled and not deployment.seen.files[unit].intact
    ]
    deployment.disable(files)
    slices = [unit for unit in files if names.parse_slice(unit)]
    # The socket first: one that outlives its server would start it again.
    watches = {unit: watch.version for unit in files if (watch := names.parse_watch(unit))}
    serving = sorted(
        set(files) - {*slices, *_steps(deployment), *watches}, key=lambda unit: (unit != deployment.socket, unit)
    )
    down = [deployment.stop(unit) for unit in serving]
    down += [stop_watching(deployment, version) for version in watches.values()]
    down += [all(down) and deployment.stop(unit) for unit in slices]
    return all(down)


def _remove(deployment: DeploymentPlan) -> None:
    """Have systemd remove the directory of a deployment that is out of service, and forget its units."""
    down = [deployment.stop(unit) for unit in _steps(deployment)]
    if not all(down):
        return
    if (
        deployment.record != deployment.record.forget_deployment()
        or deployment.name in deployment.inputs.ledger.prune_confirmed
    ):
        deployment.before.append(act.ForgetDeployment(deployment.name, ""))
    deployment.before.append(act.Clean(deployment.name, names.directory_unit(deployment.name)))
    for unit in deployment.files():
        deployment.before += (
            _remove_server(deployment, unit) if names.parse_server(unit) else [act.Remove(deployment.name, unit)]
        )


def _steps(deployment: DeploymentPlan) -> list[str]:
    return [unit for unit in deployment.files() if names.parse_step(unit)]
