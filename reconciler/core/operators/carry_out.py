"""What becomes of the ledger when a request is carried out.

Nothing else changes: what follows from the new ledger is the next plan's business.
"""

import difflib
from collections.abc import Sequence
from datetime import datetime

from reconciler.core.operators.adoption import adopt, give_back, given_back
from reconciler.core.operators.applying import apply_plan
from reconciler.core.operators.context import DeploymentSummary, RequestContext
from reconciler.core.operators.requests import MAX_WHO, RefusedRequestError, Request
from reconciler.core.operators.rollback import roll_back
from reconciler.core.operators.suspension import resume, suspend
from reconciler.core.operators.verbs import Verb
from reconciler.core.state.ledger import REMOVAL, Change, Ledger, Record, Replacement
from reconciler.core.text.quote import one_line

MAX_LISTED = 20
"""How many names a sentence has."""


def carry_out(ledger: Ledger, request: Request, context: RequestContext, now: datetime) -> tuple[Ledger, str]:
    """Return the ledger as a person asked it to be, and the sentence to tell that person.

    Raises RefusedRequestError; the ledger stays as it is then. `now` has a time zone.
    """
    if request.verb is Verb.CONFIRM_PRUNE:
        return _confirm_prune(ledger, request, context)
    if request.verb is Verb.CONFIRM_REGISTRY:
        return _confirm_registry(ledger, request, context)
    if request.verb is Verb.APPLY:
        return apply_plan(ledger, request, context)
    name = _known_name(ledger, request, context)
    record = ledger.record(name)
    summary = context.deployments.get(name, DeploymentSummary())
    record, said = _carry_out_for_one(record, request, summary, now)
    # A suspended deployment stays as it is whatever is asked of it: people must not wait for what does not come.
    if record.suspended is not None and request.verb is not Verb.SUSPEND:
        said = f"{said}, but not before reconciler resume {name}: it is {record.suspended.sentence}"
    elif context.confirms and _waits_for_yes(record, request, summary):
        when = " once" if request.verb is Verb.ROLLOUT else ", but not before"
        said = f"{said}{when} that is confirmed: reconciler plan shows it"
    return ledger.with_record(name, record), said


def _carry_out_for_one(
    record: Record, request: Request, summary: DeploymentSummary, now: datetime
) -> tuple[Record, str]:
    """Return what is remembered of a deployment from now on, and the sentence; raises RefusedRequestError."""
    match request.verb:
        case Verb.SUSPEND:
            return suspend(record, request, now)
        case Verb.RESUME:
            return resume(record, request)
        case Verb.RETRY:
            return _retry(record, request, summary)
        case Verb.ROLLOUT:
            return _roll_out(record, request, summary)
        case Verb.REPLACE:
            return _replace_files(record, request, summary)
        case Verb.ADOPT:
            return adopt(record, request)
        case Verb.GIVE_BACK:
            return give_back(record, request)
        case Verb.GIVEN_BACK:
            return given_back(record, request)
        case _:
            return roll_back(record, request, summary)


def _waits_for_yes(record: Record, request: Request, summary: DeploymentSummary) -> bool:
    """Whether the release that was asked for waits all the same for a yes to the plan."""
    if request.verb is Verb.ROLLOUT:
        return True
    if request.verb is not Verb.RETRY or summary.desired is None:
        return False
    begins = summary.desired != summary.active or record.confirmed == REMOVAL
    return begins and not record.has_yes(summary.change)


def _known_name(ledger: Ledger, request: Request, context: RequestContext) -> str:
    """Return the name of the deployment that a request is about; raises RefusedRequestError when there is none.

    A deployment that is gone counts as long as something is remembered of it: that may keep a promotion from serving.
    """
    name = request.name or ""
    if name in context.deployments:
        return name
    if context.agreed is None:
        raise RefusedRequestError(
            f"{request.cannot}: no snapshot of the registry was accepted yet; see reconciler status"
        )
    if name not in ledger.records:
        raise RefusedRequestError(f"{request.cannot}: there is no such deployment; {_hint(name, context)}")
    return name


def _hint(name: str, context: RequestContext) -> str:
    # Names come from people at a terminal: most that are unknown are mistyped.
    close = difflib.get_close_matches(name, context.deployments, n=1)
    return f"did you mean {close[0]}?" if close else "reconciler status lists those that there are"


def _retry(record: Record, request: Request, summary: DeploymentSummary) -> tuple[Record, str]:
    """Forget what failed. The reconciler forgets what waits for its next try as well, which the ledger does not know.

    So this is never refused.
    """
    name, desired = request.name, summary.desired
    if desired is not None and record.rejection(desired):
        said = f"version {desired.version} of {name} is tried again"
    elif record.stalled:
        said = f"{name} is mended again"
    elif record.rejected:
        said = f"what was rejected of {name} is tried again when the registry selects it"
    else:
        said = f"nothing of {name} was rejected; what waits for its next try is tried at once"
    return record.forgive(), said


def _roll_out(record: Record, request: Request, summary: DeploymentSummary) -> tuple[Record, str]:
    """Make a new release of the desired version: its generation is a part of the release's digest."""
    _refuse_what_waits(request, summary)
    name, desired = request.name, summary.desired
    # A version that this host refuses would be refused anew.
    if desired is None:
        raise RefusedRequestError(
            f"{request.cannot}: the registry selects no version that this host would run; promote one"
        )
    generation = record.generation + 1
    record = record.forgive(desired).model_copy(update={"generation": generation})
    return record, f"version {desired.version} of {name} is rolled out anew"


def _replace_files(record: Record, request: Request, summary: DeploymentSummary) -> tuple[Record, str]:
    """Let the files of another model with the same number take the place of those here, which go first.

    Both have one directory, so nothing serves in between.
    """
    _refuse_what_waits(request, summary)
    name, desired = request.name, summary.desired
    if desired is None or summary.taken is None:
        raise RefusedRequestError(
            f"{request.cannot}: what the registry selects has a number of its own here; "
            f"reconciler rollout {name} rolls it out anew, files that changed under their number need a new version"
        )
    # Bound to the origin that the person saw: should the registry give the number once more, another word is needed.
    replacement = Replacement(origin=summary.taken, by=one_line(request.by, MAX_WHO))
    # It is a yes as well: the model must not go and then wait for another one.
    record = record.forgive(desired).confirm(summary.change).model_copy(update={"replacing": replacement})
    return record, (
        f"{name} is taken out of service and its files are removed; what the registry has under number "
        f"{desired.version} now takes their place, and until it serves requests are refused"
    )


def _refuse_what_waits(request: Request, summary: DeploymentSummary) -> None:
    """Raise RefusedRequestError for a deployment whose replacement waits for a person.

    To roll it out would be a yes to a change of the registry that nobody was shown.
    """
    if summary.waits:
        raise RefusedRequestError(
            f"{request.cannot}: the registry or the selectors of this host changed and nobody agreed to that; "
            "reconciler apply says what waits"
        )


def _confirm_prune(ledger: Ledger, request: Request, context: RequestContext) -> tuple[Ledger, str]:
    """Confirm the removals that are held now."""
    held = context.held()
    if not held:
        raise RefusedRequestError(f"{request.cannot}: none is held back; see reconciler status")
    # Earlier confirmations are replaced: a yes is to what was shown, so none of them lies in wait for later.
    confirmed = ledger.model_copy(update={"prune_confirmed": frozenset(held)})
    if context.confirms:
        for name in held:
            confirmed = confirmed.with_record(name, confirmed.record(name).confirm(Change(REMOVAL)))
    return confirmed, f"removing what the registry no longer selects: {_listed(held)}"


def _confirm_registry(ledger: Ledger, request: Request, context: RequestContext) -> tuple[Ledger, str]:
    """Go by the source of now: what it selects takes the place of what serves, what it does not select is removed."""
    is_another = (
        context.agreed is not None and ledger.agreed is not None and context.agreed.source != ledger.agreed.source
    )
    if context.agreed is None or not is_another:
        raise RefusedRequestError(f"{request.cannot}: none waits for that; see reconciler status")
    # A yes to the other source is no yes to removing many deployments, or those that the registry does not show.
    replaced, removed = context.to_be_replaced(), context.held()
    said = [f"this host goes by {context.agreed.source.words}"]
    if replaced:
        said.append(f"replacing {_listed(replaced)}")
    if removed:
        said.append(f"removing {_listed(removed)}, unless the registry does not show them or they are many")
    return ledger.model_copy(update={"agreed": context.agreed}), "; ".join(said)


def _listed(names: Sequence[str]) -> str:
    """Join names, of which a long sentence leaves out some."""
    shown, left_out = names[:MAX_LISTED], len(names) - MAX_LISTED
    more = f" and {left_out} more" if left_out > 0 else ""
    return f"{', '.join(shown)}{more}"
