"""The part of the plan that takes a whole deployment out of service, and then removes everything of it.

The order keeps two promises. The socket stops first, so that no request starts a server again. And everything is down
before the first file is removed.
"""

from collections.abc import Iterable

from reconciler.core.planner import actions as act
from reconciler.core.planner.cleanup import removal_of_server
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.planner.watching import stop_watching
from reconciler.core.state.ledger import REMOVAL
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import Outlook, State
from reconciler.core.units import names


def remove_deployment(deployment: DeploymentPlan) -> Outlook:
    """Plan the removal of a deployment that the registry does not select any more.

    It is taken out of service at once. Its units and files stay for `removal_grace` seconds: a model that is selected
    again within that time need not be fetched again.
    """
    why = "the registry no longer selects it"
    is_down = _take_out_of_service(deployment)
    # A deployment that nobody missed before is missed from now on.
    since = deployment.inputs.unselected.get(deployment.name, deployment.inputs.now)
    ends = since + deployment.inputs.retention.removal_grace
    is_in_grace = deployment.inputs.now < ends
    has_releases = bool(deployment.releases())
    if is_down and is_in_grace and has_releases:
        deployment.deadlines.append(ends)
        kept = f"{why}; its files are kept for a while in case it is selected again"
        return deployment.outlook(State.REMOVING, None, Reason.KEPT_FOR_A_WHILE, kept)
    if is_down:
        _remove_everything(deployment)
    return deployment.outlook(State.REMOVING, None, Reason.NOT_SELECTED, why)


def is_ended(view: DeploymentView) -> bool:
    """Whether a deployment was taken out of service with an operator's yes, after which nobody said yes to another.

    Then it stays out of service: that the registry selects something again is no yes.
    """
    was_agreed_to = view.inputs.confirm and view.record.confirmed == REMOVAL
    # The mark alone is not enough: a removal that did not begin must not lie in wait. Nor is the socket: one that
    # somebody disabled is drift.
    return was_agreed_to and view.socket not in view.seen.enabled


def keep_out_of_service(deployment: DeploymentPlan) -> None:
    """Plan that a deployment is taken out of service, and that its files stay."""
    _take_out_of_service(deployment)


def remove_at_once(deployment: DeploymentPlan) -> None:
    """Plan that a deployment is taken out of service and then removed, without a time of grace.

    It is removed in a later pass than this one while anything of it runs.
    """
    is_down = _take_out_of_service(deployment)
    if is_down:
        _remove_everything(deployment)


def _take_out_of_service(deployment: DeploymentPlan) -> bool:
    """Add what closes the address and stops everything but the steps. Return True when all of that is down.

    The steps are left to the removal: until then, they mark that the files are there.
    """
    files = deployment.files()
    _restore_enabled_units(deployment)
    deployment.disable(files)
    # The bridge comes first: it may have requests that the servers are to answer.
    bridge_is_down = _stop_all(deployment, filter(names.parse_bridge, files))
    if not bridge_is_down:
        return False
    servers_down = _stop_all(deployment, _socket_and_servers(deployment))
    watches_down = _stop_watches(deployment)
    if not (servers_down and watches_down):
        return False
    # The slice comes last: its stop would stop everything in it, in no order.
    return _stop_all(deployment, filter(names.parse_slice, files))


def _restore_enabled_units(deployment: DeploymentPlan) -> None:
    """Add the restore of enabled units whose files somebody changed or removed.

    They are about to be disabled, and systemd disables only a unit that has its file.
    """
    for unit in deployment.files():
        is_enabled = unit in deployment.seen.enabled
        is_intact = deployment.seen.files[unit].intact
        if is_enabled and not is_intact:
            deployment.before.append(act.RestoreFile(deployment.name, unit))


def _socket_and_servers(deployment: DeploymentPlan) -> list[str]:
    """Return the units that answer requests, in the order in which they are stopped."""
    files = deployment.files()
    others = [*filter(names.parse_slice, files), *filter(names.parse_step, files), *filter(names.parse_watch, files)]
    units = set(files).difference(others)
    # The socket first: one that outlives its server would start it again.
    return sorted(units, key=lambda unit: (unit != deployment.socket, unit))


def _stop_watches(deployment: DeploymentPlan) -> bool:
    """Add the stop of every unit that watches files. Return True when all are down."""
    all_down = True
    for watch in map(names.parse_watch, deployment.files()):
        if watch is not None:
            is_down = stop_watching(deployment, watch.version)
            all_down = all_down and is_down
    return all_down


def _stop_all(deployment: DeploymentPlan, units: Iterable[str]) -> bool:
    """Add the stop of each unit, so that they stop at the same time. Return True when all are down."""
    down = [deployment.stop(unit) for unit in units]
    return all(down)


def _remove_everything(deployment: DeploymentPlan) -> None:
    """Add the stop of the steps, and once they are down the removal of the directory and of all units.

    The deployment must be out of service. What the ledger remembers of it is forgotten first: once the files are gone,
    the deployment is not seen any more.
    """
    steps_down = _stop_all(deployment, filter(names.parse_step, deployment.files()))
    if not steps_down:
        return
    record = deployment.record
    has_something_to_forget = record != record.forget_deployment()
    was_confirmed = deployment.name in deployment.inputs.ledger.prune_confirmed
    if has_something_to_forget or was_confirmed:
        deployment.before.append(act.ForgetDeployment(deployment.name, ""))
    deployment.before.append(act.Clean(deployment.name, names.directory_unit(deployment.name)))
    # A cache directory is not below the deployment's own, so it is cleaned with its server.
    for unit in deployment.files():
        if names.parse_server(unit):
            deployment.before += removal_of_server(deployment, unit)
        else:
            deployment.before.append(act.Remove(deployment.name, unit))
