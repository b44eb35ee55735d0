"""Deployments that a person said to leave alone: how that begins, and how it ends."""

from datetime import datetime

from reconciler.core.operators.requests import MAX_WHO, MAX_WHY, RefusedRequestError, Request
from reconciler.core.state.ledger import Ledger, Record, Suspension
from reconciler.core.text.quote import one_line

_MOMENT = "%Y-%m-%d %H:%M:%S %Z"


def suspend(record: Record, request: Request, now: datetime) -> tuple[Record, str]:
    """Return the record of a deployment that is left alone from now on, and the sentence for the person who asked.

    A suspension before this one is replaced. Its end and its reason stay unless the request has others. Raises
    RefusedRequestError when the request's end is over.
    """
    if request.until is not None and request.until <= now:
        raise RefusedRequestError(f"{request.cannot}: {request.until:{_MOMENT}} is over; give a later time")
    former = record.suspended
    until = request.until or (former.until if former else None)
    # Both are shown in the status and in the journal, where a line break could pass for another entry.
    by, why = one_line(request.by, MAX_WHO), one_line(request.why, MAX_WHY) or (former.why if former else "")
    suspended = Suspension(by=by, why=why, since=now, until=until)
    end = f"until {until:{_MOMENT}}, or " if until else ""
    said = f"{request.name} is left as it is {end}until reconciler resume {request.name}{_kept(former, request)}"
    return record.model_copy(update={"suspended": suspended}), said


def _kept(former: Suspension | None, request: Request) -> str:
    """Say what stays of the suspension before, as the end of the sentence; empty where nothing does."""
    if former is None:
        return ""
    kept = []
    if former.until and not request.until:
        kept.append("the end")
    if former.why and not request.why:
        kept.append(f"the reason ({former.why})")
    return f"; {' and '.join(kept)} of the suspension before {'stay' if len(kept) > 1 else 'stays'}" if kept else ""


def resume(record: Record, request: Request) -> tuple[Record, str]:
    """Return the record of a deployment that is looked after again, and the sentence for the person who asked.

    Raises RefusedRequestError when nobody suspended it.
    """
    # A masked unit suspends a deployment, too, which only systemctl unmask ends.
    if record.suspended is None:
        raise RefusedRequestError(
            f"{request.cannot}: nobody suspended it; if a unit of it is masked, systemctl unmask that"
        )
    return record.model_copy(update={"suspended": None}), f"{request.name} is looked after again"


def expire(ledger: Ledger, now: datetime) -> tuple[Ledger, tuple[str, ...]]:
    """End the suspensions whose time is over, and say whose those were.

    Returns the ledger without them, and the names of the deployments, sorted; the same ledger and no names when there
    are none.
    """
    expired = sorted(name for name, end in _ends(ledger).items() if end <= now)
    for name in expired:
        record = ledger.record(name).model_copy(update={"suspended": None})
        ledger = ledger.with_record(name, record)
    return ledger, tuple(expired)


def next_expiry(ledger: Ledger) -> datetime | None:
    """Return when the next suspension ends by itself.

    None when there is none, or none that ends by itself.
    """
    return min(_ends(ledger).values(), default=None)


def _ends(ledger: Ledger) -> dict[str, datetime]:
    """Return the ends of all suspensions that end by themselves, by deployment."""
    ends = {}
    for name, record in ledger.records.items():
        suspended = record.suspended
        if suspended is not None and suspended.until is not None:
            ends[name] = suspended.until
    return ends
