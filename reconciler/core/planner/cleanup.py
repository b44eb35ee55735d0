"""The part of the plan that stops and removes what no release needs any more."""

from reconciler.core.planner import actions as act
from reconciler.core.planner.actions import Action
from reconciler.core.planner.deployment_plan import Draft, clean
from reconciler.core.planner.prepare import stop_watching
from reconciler.core.planner.target import Target, keeps
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import Outlook, State
from reconciler.core.units import names
from reconciler.core.units.names import Step


def let_go(draft: Draft, target: Target | None) -> None:
    """Stop what neither serves nor stands by, and remove what is no longer kept: units, then their directories."""
    kept = keeps(draft, target)
    active, good = draft.active_release, draft.good_release
    proving = target is not None and good != target.id
    may_run = {target.id if target else None, active, good if proving else None}
    versions = {release.version for release in kept}
    for release in draft.releases():
        if release not in may_run or draft.record.rejection(release):
            draft.disable(draft.servers(release))
        if draft.record.rejection(release) and target is not None and draft.is_partly_up(target.id):
            draft.stand_by(draft.servers(release))  # systemd may have started it again, and a stop has to wait its turn
        if release in may_run:
            continue
        for unit in draft.servers(release):
            if not draft.stop(unit):
                versions.add(release.version)
            elif release not in kept and unit not in draft.seen.enabled:
                draft.before += _remove_server(draft, unit)
    for unit in draft.files():
        watch = names.parse_watch(unit)
        if watch and (active is None or watch.version != active.version) and stop_watching(draft, watch.version):
            draft.before.append(act.Remove(draft.name, unit))
        step = names.parse_step(unit)
        if step is None or step.version in versions or not draft.stop(unit):
            continue
        if step.step is Step.VERIFY:
            draft.before.append(act.Remove(draft.name, unit))
        elif names.verify_unit(draft.name, step.version) not in draft.seen.files:
            draft.before += clean(draft.name, unit, draft.seen.files[unit])

    going = [one for one in draft.before if isinstance(one, act.Remove)]
    if going and {one.unit for one in going} >= set(draft.files()):
        # Without a file the deployment is not seen any more, and neither is its directory.
        draft.before.insert(draft.before.index(going[0]), act.Clean(draft.name, names.directory_unit(draft.name)))


def _remove_server(draft: Draft, unit: str) -> list[Action]:
    """Remove a server that is down, with the directory that it could write to."""
    file = draft.seen.files[unit]
    return clean(draft.name, unit, file) if file.facts.has_cache else [act.Remove(draft.name, unit)]


def take_down(draft: Draft) -> Outlook:
    """Take out of service what is no longer selected; after a while have everything of it removed."""
    why = "the registry no longer selects it"
    down = _out_of_service(draft)
    ends = draft.situation.unselected.get(draft.name, draft.situation.now) + draft.situation.keeping.removal_grace
    if down and draft.situation.now < ends and draft.releases():
        draft.deadlines.append(ends)
        kept = f"{why}; its files are kept for a while in case it is selected again"
        return draft.outlook(State.REMOVING, None, Reason.KEPT_FOR_A_WHILE, kept)
    if down:
        _remove(draft)
    return draft.outlook(State.REMOVING, None, Reason.NOT_SELECTED, why)


def remove_at_once(draft: Draft) -> None:
    """Take a deployment out of service and have everything of it removed."""
    if _out_of_service(draft):
        _remove(draft)


def _out_of_service(draft: Draft) -> bool:
    """Close the address and stop all that serves; True when it is down."""
    files = draft.files()
    # What is disabled has to be there.
    draft.before += [
        act.Install(draft.name, unit)
        for unit in files
        if unit in draft.seen.enabled and not draft.seen.files[unit].intact
    ]
    draft.disable(files)
    slices = [unit for unit in files if names.parse_slice(unit)]
    # The socket first: one that outlives its server would start it again.
    watches = {unit: watch.version for unit in files if (watch := names.parse_watch(unit))}
    serving = sorted(set(files) - {*slices, *_steps(draft), *watches}, key=lambda unit: (unit != draft.socket, unit))
    down = [draft.stop(unit) for unit in serving]
    down += [stop_watching(draft, version) for version in watches.values()]
    down += [all(down) and draft.stop(unit) for unit in slices]
    return all(down)


def _remove(draft: Draft) -> None:
    """Have systemd remove the directory of a deployment that is out of service, and forget its units."""
    down = [draft.stop(unit) for unit in _steps(draft)]
    if not all(down):
        return
    if draft.record != draft.record.forget_deployment() or draft.name in draft.situation.ledger.prune_confirmed:
        draft.before.append(act.Forget(draft.name, ""))
    draft.before.append(act.Clean(draft.name, names.directory_unit(draft.name)))
    for unit in draft.files():
        draft.before += _remove_server(draft, unit) if names.parse_server(unit) else [act.Remove(draft.name, unit)]


def _steps(draft: Draft) -> list[str]:
    return [unit for unit in draft.files() if names.parse_step(unit)]
