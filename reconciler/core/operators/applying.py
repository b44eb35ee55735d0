"""An operator's yes to the plan that was shown: all of it or nothing."""

from reconciler.core.operators.context import RequestContext
from reconciler.core.operators.requests import RefusedRequestError, Request
from reconciler.core.state.ledger import Ledger

MAX_SAID = 20
"""How many deployments a sentence has."""


def apply_plan(ledger: Ledger, request: Request, context: RequestContext) -> tuple[Ledger, str]:
    """Take note of the yes to every change of a plan. Raises RefusedRequestError if the plan is another one by now."""
    if not context.confirms:
        raise RefusedRequestError(
            f'{request.cannot}: changes of this host need no yes (reconcile.mode is "automatic"); see reconciler plan'
        )
    proposal = context.proposal()
    if not proposal.id:
        raise RefusedRequestError(f"{request.cannot}: nothing waits for it; see reconciler plan")
    said = _listed(proposal.sentences)
    if request.plan != proposal.id:
        raise RefusedRequestError(
            f"{request.cannot}: it is not what would be done now ({proposal.id}: {said}); look at reconciler plan again"
        )
    for name, change in proposal.changes.items():
        ledger = ledger.with_record(name, ledger.record(name).confirm(change))
    return ledger, f"applying plan {proposal.id}: {said}"


def _listed(sentences: tuple[str, ...]) -> str:
    more = len(sentences) - MAX_SAID
    return "; ".join((*sentences[:MAX_SAID], *([f"and {more} more"] if more > 0 else [])))
