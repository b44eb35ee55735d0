"""Makes of a plan what people and programs are shown, and names it, so that an operator can confirm just that."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from reconciler.core.operators.context import Proposal
from reconciler.core.planner import actions as act
from reconciler.core.planner.actions import Action
from reconciler.core.planner.confirmation import unconfirmed
from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.planner.guard import DesiredReleases, live_on_host, waiting
from reconciler.core.planner.inputs import PlannerInputs
from reconciler.core.planner.plan import Plan, plan
from reconciler.core.planner.plan_changes import Users, changes_of, environment_users
from reconciler.core.planner.what_follows import what_follows
from reconciler.core.state.backoff import Backoff, Retry
from reconciler.core.state.plan_document import DeploymentChange, ShownAction, ShownPlan, Waiting
from reconciler.core.state.release import Release
from reconciler.core.state.status import Outlook, State
from reconciler.core.text.quote import one_line
from reconciler.core.units import names
from reconciler.core.units.observed import Observed

NO_LIMIT = 1_000_000
"""What waits for a yes is shown as a whole, not as far as a turn for it is free just now."""
MAX_SOURCE = 2000
"""Characters of it that are shown."""
_AT_REST = (State.SERVING, State.IDLE)


def propose(desired: DesiredReleases, seen: Observed, inputs: PlannerInputs) -> Proposal:
    """Plan what waits for a yes as if it were given, and name it by a digest of what is shown of it."""
    if not inputs.confirm:
        return Proposal()
    held = waiting(desired, live_on_host(seen), inputs)
    changes = {name: change for name, change in unconfirmed(desired, seen, inputs).items() if name not in held}
    if not changes:
        return Proposal()
    agreed = inputs.ledger
    for name, change in changes.items():
        agreed = agreed.with_record(name, agreed.record(name).confirm(change))
    limitless = replace(inputs, ledger=agreed, confirm=False, parallel_steps=NO_LIMIT, parallel_starts=NO_LIMIT)
    confirmed = plan(desired, seen, limitless)
    outlooks = {outlook.name: outlook for outlook in confirmed.outlooks}
    users = environment_users(seen, confirmed.actions)
    by_deployment = _grouped(confirmed.actions)
    deployments, content = [], []
    for name in sorted(changes):
        view = DeploymentView(name, seen, limitless)
        shown = _deployment(view, desired, outlooks[name], by_deployment.get(name, ()), users)
        deployments.append(shown.model_copy(update={"waits_for_apply": True}))
        # What is done first, what is up just now and how long files are kept is left out: it changes by itself.
        change = changes[name]
        follows = () if change.is_removal else shown.then
        content.append([name, change.to, change.commitment, view.active_release, follows])
    digest = hashlib.sha256(json.dumps([content, repr(inputs.steps)]).encode()).hexdigest()
    return Proposal(digest[:12], changes, tuple(deployments))


def show(
    decided: Plan,
    proposal: Proposal,
    desired: DesiredReleases,
    seen: Observed,
    inputs: PlannerInputs,
    retries: Backoff,
    moment: datetime,
) -> ShownPlan:
    """Return a plan as it is shown. `retries`: what failed, by unit or deployment. `moment`: now, with a time zone."""
    users = environment_users(seen, decided.actions)
    by_deployment = _grouped(decided.actions)
    moving: dict[str, list[str]] = {}
    for unit in seen.under_way:
        for name in _deployments_of(unit, users):
            moving.setdefault(name, []).append(unit)
    failures = _by_deployment(retries, users)
    shown, waits = [], []
    for outlook in decided.outlooks:
        name, own = outlook.name, by_deployment.get(outlook.name, ())
        if own or name in moving:
            view = DeploymentView(name, seen, inputs)
            change = _deployment(view, desired, outlook, own, users)
            shown.append(change.model_copy(update={"under_way": tuple(moving.get(name, ()))}))
        elif name not in proposal.changes and outlook.state not in _AT_REST:
            waiting_one = _waiting(outlook, failures.get(name), inputs.now, moment)
            then = what_follows(DeploymentView(name, seen, inputs), desired.get(name), outlook)
            waits.append(waiting_one.model_copy(update={"then": then}))
    told = {outlook.name for outlook in decided.outlooks}
    shared = [action for action in decided.actions if action.deployment not in told]
    # It only follows where files change.
    if any(isinstance(action, act.CHANGES_FILES) for action in decided.actions):
        shared = [action for action in shared if not isinstance(action, act.Reload)]
    return ShownPlan(
        schema=1,
        id=proposal.id,
        mode="confirm" if inputs.confirm else "automatic",
        actions=tuple(
            ShownAction(do=action.verb, unit=action.unit, deployment=action.deployment) for action in decided.actions
        ),
        under_way=tuple(seen.under_way),
        deployments=(*shown, *proposal.deployments),
        shared=changes_of(shared, seen, users),
        waits=tuple(waits),
    )


def _grouped(actions: Iterable[Action]) -> Mapping[str, Sequence[Action]]:
    """Return the actions of each deployment, in their order."""
    found: dict[str, list[Action]] = {}
    for action in actions:
        found.setdefault(action.deployment, []).append(action)
    return found


def _deployment(
    view: DeploymentView, desired: DesiredReleases, outlook: Outlook, own: Iterable[Action], users: Users
) -> DeploymentChange:
    release = desired.get(view.name)
    is_another = isinstance(release, Release) and release.id != view.active_release
    return DeploymentChange(
        name=view.name,
        active_version=outlook.active_version,
        desired_version=outlook.desired_version,
        state=outlook.state,
        changes=changes_of(own, view.seen, users),
        source=one_line(release.source, MAX_SOURCE) if isinstance(release, Release) and is_another else "",
        then=what_follows(view, release, outlook),
    )


def _deployments_of(unit: str, users: Users) -> Iterable[str]:
    name = names.deployment_of(unit)
    return users.get(unit, ()) if name is None else (name,)


def _by_deployment(retries: Backoff, users: Users) -> Mapping[str, Retry]:
    """Return of each deployment the failure that is tried again last."""
    found: dict[str, Retry] = {}
    for name, retry in retries.retry_later.items():
        for deployment in _deployments_of(name, users) if "." in name else (name,):
            former = found.get(deployment)
            if former is None or former.not_before < retry.not_before:
                found[deployment] = retry
    return found


def _waiting(outlook: Outlook, retry: Retry | None, now: float, moment: datetime) -> Waiting:
    due = moment + timedelta(seconds=retry.not_before - now) if retry and retry.not_before > now else None
    return Waiting(
        name=outlook.name,
        state=outlook.state,
        reason=outlook.reason,
        message=outlook.message,
        tries=retry.count if retry else 0,
        retry_at=due.replace(microsecond=0) if due else None,
    )
