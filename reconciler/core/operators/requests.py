"""What people ask of the reconciler, and what becomes of the ledger when it is carried out.

Nothing else changes: what follows from the new ledger is the next plan's business.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from reconciler.core.operators.rollback import DeploymentSummary, NothingToGoBackToError, roll_back
from reconciler.core.state.ledger import Agreed, Ledger, Record, Replacement, Suspension
from reconciler.core.text.quote import one_line
from reconciler.core.units.names import DeployableName, ReleaseId

MAX_WHO = 100
MAX_WHY = 1000
MANY = 20
"""How many names a sentence has."""


class Verb(StrEnum):
    """What can be asked."""

    SUSPEND = "suspend"
    RESUME = "resume"
    RETRY = "retry"
    ROLLBACK = "rollback"
    ROLLOUT = "rollout"
    REPLACE = "replace-files"
    CONFIRM_PRUNE = "confirm-prune"
    CONFIRM_REGISTRY = "confirm-registry"

    @property
    def words(self) -> str:
        """As it reads after `cannot`."""
        words = {Verb.ROLLBACK: "roll back", Verb.ROLLOUT: "roll out", Verb.REPLACE: "replace the files of"}
        return words.get(self, self.value)


_CANNOT = {
    Verb.CONFIRM_PRUNE: "cannot confirm a removal",
    Verb.CONFIRM_REGISTRY: "cannot agree to another source",
}
"""What concerns the whole host, and how a sentence begins that says why it cannot be carried out."""


class Request(BaseModel):
    """One thing that one person asks, as the command writes it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    verb: Verb
    name: DeployableName | None = None
    """Of a deployment; none for what concerns the whole host."""
    by: Annotated[str, StringConstraints(min_length=1, max_length=MAX_WHO)]
    why: Annotated[str, StringConstraints(max_length=MAX_WHY)] = ""
    until: AwareDatetime | None = None
    """When a suspension ends by itself."""
    version: int | None = Field(default=None, ge=1, le=9_999_999_999)
    """To go back to; none for the one that proved itself last."""

    @property
    def cannot(self) -> str:
        """How a sentence begins that says why it cannot be carried out."""
        return f"cannot {self.verb.words} {self.name}" if self.name else _CANNOT[self.verb]

    @model_validator(mode="after")
    def _nothing_is_too_much_or_missing(self) -> Self:
        if (self.name is None) != (self.verb in _CANNOT):
            raise ValueError(f"{self.verb} {'needs a' if self.name is None else 'takes no'} name")
        if self.until is not None and self.verb is not Verb.SUSPEND:
            raise ValueError(f"{self.verb} takes no time")
        if self.version is not None and self.verb is not Verb.ROLLBACK:
            raise ValueError(f"{self.verb} takes no version")
        return self


@dataclass(frozen=True)
class RequestContext:
    """What is seen and wanted when requests are carried out."""

    agreed: Agreed | None
    """The source of the snapshot and the rules of now; None without one."""
    deployments: Mapping[str, DeploymentSummary]
    """Every deployment that is seen or wanted."""


class RefusedRequestError(Exception):
    """A request that cannot be carried out; the message begins with `cannot` and says what to do instead."""


def carry_out(ledger: Ledger, request: Request, context: RequestContext, now: datetime) -> tuple[Ledger, str]:
    """Change the ledger as a person asked, and give the sentence to tell that person. Raises RefusedRequestError."""
    if request.name is None:
        return (_confirm_prune if request.verb is Verb.CONFIRM_PRUNE else _confirm_registry)(ledger, context)
    name = request.name
    if name not in context.deployments and context.agreed is None:
        raise RefusedRequestError(
            f"{request.cannot}: no snapshot of the registry was accepted yet; see reconciler status"
        )
    if name not in context.deployments and name not in ledger.records:
        raise RefusedRequestError(f"{request.cannot}: there is no such deployment; {_hint(name, context)}")
    record, summary = ledger.record(name), context.deployments.get(name, DeploymentSummary())
    match request.verb:
        case Verb.SUSPEND:
            record, said = _suspend(record, request, now)
        case Verb.RESUME:
            record, said = _resume(record, request)
        case Verb.RETRY:
            record, said = _retry(record, name, summary.desired)
        case Verb.ROLLOUT:
            record, said = _roll_out(record, name, summary)
        case Verb.REPLACE:
            record, said = _replace(record, request, summary)
        case _:
            why = one_line(f"rolled back by {request.by}{': ' if request.why else ''}{request.why}", MAX_WHY)
            try:
                record, said = roll_back(record, name, summary, request.version, why)
            except NothingToGoBackToError as error:
                raise RefusedRequestError(f"{request.cannot}: {error}") from error
    if record.suspended is not None and request.verb is not Verb.SUSPEND:
        said = f"{said}, but not before reconciler resume {name}: it is {record.suspended.sentence}"
    return ledger.with_record(name, record), said


def expire(ledger: Ledger, now: datetime) -> tuple[Ledger, tuple[str, ...]]:
    """End the suspensions whose time is over, and say whose those were."""
    over = []
    for name, record in ledger.records.items():
        if record.suspended and record.suspended.until and record.suspended.until <= now:
            over.append(name)
    for name in over:
        ledger = ledger.with_record(name, ledger.record(name).model_copy(update={"suspended": None}))
    return ledger, tuple(sorted(over))


def next_expiry(ledger: Ledger) -> datetime | None:
    """When the next suspension ends by itself."""
    ends = [record.suspended.until for record in ledger.records.values() if record.suspended and record.suspended.until]
    return min(ends, default=None)


def _hint(name: str, context: RequestContext) -> str:
    close = difflib.get_close_matches(name, context.deployments, n=1)
    return f"did you mean {close[0]}?" if close else "reconciler status lists those that there are"


def _suspend(record: Record, request: Request, now: datetime) -> tuple[Record, str]:
    if request.until is not None and request.until <= now:
        raise RefusedRequestError(f"{request.cannot}: {request.until:%Y-%m-%d %H:%M:%S %Z} is over; give a later time")
    by, why = one_line(request.by, MAX_WHO), one_line(request.why, MAX_WHY)
    suspended = Suspension(by=by, why=why, since=now, until=request.until)
    end = f"until {request.until:%Y-%m-%d %H:%M:%S %Z}, or " if request.until else ""
    said = f"{request.name} is left as it is {end}until reconciler resume {request.name}"
    return record.model_copy(update={"suspended": suspended}), said


def _resume(record: Record, request: Request) -> tuple[Record, str]:
    if record.suspended is None:
        raise RefusedRequestError(
            f"{request.cannot}: nobody suspended it; if a unit of it is masked, systemctl unmask that"
        )
    return record.model_copy(update={"suspended": None}), f"{request.name} is looked after again"


def _retry(record: Record, name: str, desired: ReleaseId | None) -> tuple[Record, str]:
    if desired and record.rejection(desired):
        said = f"version {desired.version} of {name} is tried again"
    elif record.stalled:
        said = f"{name} is mended again"
    elif record.rejected:
        said = f"what was rejected of {name} is tried again when the registry selects it"
    else:
        said = f"nothing of {name} was rejected; what waits for its next try is tried at once"
    return record.forgive(), said


def _roll_out(record: Record, name: str, summary: DeploymentSummary) -> tuple[Record, str]:
    _refuse_what_waits(f"cannot roll out {name}", summary)
    desired = summary.desired
    if desired is None:
        raise RefusedRequestError(
            f"cannot roll out {name}: the registry selects no version that this host would run; promote one"
        )
    record = record.forgive(desired).model_copy(update={"generation": record.generation + 1})
    return record, f"version {desired.version} of {name} is rolled out anew"


def _refuse_what_waits(cannot: str, summary: DeploymentSummary) -> None:
    if summary.waits:
        raise RefusedRequestError(
            f"{cannot}: the registry or the selectors of this host changed and nobody agreed to that; "
            "reconciler apply says what waits"
        )


def _replace(record: Record, request: Request, summary: DeploymentSummary) -> tuple[Record, str]:
    """Have another model's files take the place of those that have its number, for which those go first."""
    _refuse_what_waits(request.cannot, summary)
    name, desired = request.name, summary.desired
    if desired is None or summary.taken is None:
        raise RefusedRequestError(
            f"{request.cannot}: what the registry selects has a number of its own here; "
            f"reconciler rollout {name} rolls it out anew, files that changed under their number need a new version"
        )
    said = Replacement(origin=summary.taken, by=one_line(request.by, MAX_WHO))
    record = record.forgive(desired).model_copy(update={"replacing": said})
    version = desired.version
    return record, (
        f"{name} is taken out of service and its files are removed; what the registry has under number {version} now "
        "takes their place, and until it serves requests are refused"
    )


def _confirm_prune(ledger: Ledger, context: RequestContext) -> tuple[Ledger, str]:
    held = sorted(name for name, summary in context.deployments.items() if summary.held)
    if not held:
        raise RefusedRequestError("cannot confirm a removal: none is held back; see reconciler status")
    confirmed = ledger.model_copy(update={"prune_confirmed": frozenset(held)})
    return confirmed, f"removing what the registry no longer selects: {_listed(held)}"


def _confirm_registry(ledger: Ledger, context: RequestContext) -> tuple[Ledger, str]:
    """Go by the source of now: what it selects takes the place of what serves, what it does not select is removed."""
    if context.agreed is None or ledger.agreed is None or context.agreed.source == ledger.agreed.source:
        raise RefusedRequestError("cannot agree to another source: none waits for that; see reconciler status")
    replaced = sorted(name for name, summary in context.deployments.items() if summary.waits)
    removed = sorted(name for name, summary in context.deployments.items() if summary.held)
    said = [f"this host goes by {context.agreed.source.words}"]
    said += [f"replacing {_listed(replaced)}"] if replaced else []
    said += [f"removing {_listed(removed)}, unless the registry does not show them or they are many"] if removed else []
    return ledger.model_copy(update={"agreed": context.agreed}), "; ".join(said)


def _listed(found: Sequence[str]) -> str:
    more = f" and {len(found) - MANY} more" if len(found) > MANY else ""
    return f"{', '.join(found[:MANY])}{more}"
