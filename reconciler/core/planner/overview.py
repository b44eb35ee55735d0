"""Where deployments stand, for people who ask something of them and for the history."""

from collections.abc import Collection, Mapping

from reconciler.core.operators.requests import Facts
from reconciler.core.operators.rollback import Standing
from reconciler.core.planner.deployment_plan import Draft, Situation
from reconciler.core.planner.guard import Wanted, waiting
from reconciler.core.planner.reused_version import is_taken, origin
from reconciler.core.state.ledger import Agreed
from reconciler.core.state.release import Release
from reconciler.core.units.names import ReleaseId
from reconciler.core.units.observed import Observed


def facts(wanted: Wanted, seen: Observed, situation: Situation) -> Facts:
    """What has to be known of each deployment to carry out a request."""
    waits = waiting(wanted, seen, situation)
    found = {}
    for name in {*seen.by_deployment, *wanted}:
        draft, want = Draft(name, seen, situation, {}), wanted.get(name)
        found[name] = Standing(
            releases=draft.releases(),
            active=draft.active_release,
            wanted=want.id if isinstance(want, Release) else None,
            wanted_asked=want.asked if isinstance(want, Release) else "",
            selected=name in wanted,
            held=name in waits and waits[name].removal,
            waits=name in waits and not waits[name].removal,
            asked={release: draft.facts(release).asked or "" for release in draft.releases()},
            taken=origin(want) if isinstance(want, Release) and is_taken(draft, want) else None,
        )
    agreed = Agreed(source=situation.source, rules=situation.rules) if situation.source else None
    return Facts(agreed, found)


def serving(deployments: Collection[str], seen: Observed, situation: Situation) -> Mapping[str, ReleaseId | None]:
    """The release of each deployment that answers requests, or would start to at the next one."""
    drafts = [Draft(name, seen, situation, {}) for name in deployments]
    return {draft.name: draft.serving_release or _idle(draft) for draft in drafts}


def _idle(draft: Draft) -> ReleaseId | None:
    active = draft.active_release
    return active if active and draft.is_idle(active) else None
