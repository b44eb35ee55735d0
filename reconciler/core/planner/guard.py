"""The guard: nothing that serves is removed or replaced for a reason that nobody gave; it waits for a person.

A model that somebody takes out of production is removed: the registry shows it, and no longer selects it. Everything
else that makes a deployment disappear from a snapshot, or become another one, may be a mistake: other settings of where
and what is asked, a login that sees less, a registry that was set up anew, many at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.core.planner import unit_values
from reconciler.core.planner.inputs import PlannerInputs
from reconciler.core.state.ledger import Agreed, Ledger
from reconciler.core.state.release import Refused, Release
from reconciler.core.state.snapshot import Source
from reconciler.core.units import names
from reconciler.core.units.observed import File, Observed

DesiredReleases = Mapping[str, Release | Refused]

CONFIRM_PRUNE = "reconciler apply --confirm-prune removes it, promoting it again keeps it"
CONFIRM_REGISTRY = "reconciler apply --confirm-registry agrees to that, putting the settings back keeps it"


@dataclass(frozen=True)
class Wait:
    """What a deployment waits for a person with, and the sentence for that person."""

    why: str
    removal: bool
    """Whether it would be removed; else it would be replaced."""


def waiting(desired: DesiredReleases, seen: Observed, inputs: PlannerInputs) -> dict[str, Wait]:
    """Tell which deployments stay as they are until a person confirms what would become of them.

    Suspended ones count where many would go at once, and are not in the answer: they say so themselves.
    """
    return {
        name: wait
        for name, wait in _waiting(desired, seen, inputs).items()
        if inputs.ledger.record(name).suspended is None
    }


def agreement(desired: DesiredReleases, seen: Observed, inputs: PlannerInputs) -> Agreed | None:
    """Give the source and the rules to go by from here on, if they changed and nothing waits because of it."""
    if inputs.source is None:
        return None
    now = Agreed(source=inputs.source, rules=inputs.rules)
    if inputs.ledger.agreed == now or _waiting(desired, seen, inputs):
        return None
    return now


def _waiting(desired: DesiredReleases, seen: Observed, inputs: PlannerInputs) -> dict[str, Wait]:
    ledger, now = inputs.ledger, inputs.source
    live = _live(seen)
    gone = sorted(live.keys() - desired.keys() - ledger.prune_confirmed)
    # What was agreed before counts: a change of the rules is no answer to what waits by the former ones.
    rules = ledger.agreed.rules if ledger.agreed else inputs.rules
    before = _agreed_source(ledger)
    if now is not None and before is not None and _is_another(before, now):
        moved = {name: Wait(_moved(before, now), removal=True) for name in gone}
        others = {
            name: Wait(f"{_called(release)} would replace what serves: {_elsewhere(before, now)}", removal=False)
            for name, release in desired.items()
            if name in live and _is_replaced(live[name], seen, release)
        }
        return {**moved, **others}
    if len(gone) >= rules.prune_from and 100 * len(gone) > rules.prune_share * len(live):
        why = f"{len(gone)} of {len(live)} deployments would be removed at once; {CONFIRM_PRUNE}"
        return {name: Wait(why, removal=True) for name in gone}
    if rules.prune_unknown:
        return {}
    why = (
        "the registry no longer shows a model of that name: it was deleted, or this host may no longer see it, or the "
        f"registry was set up anew; {CONFIRM_PRUNE}"
    )
    return {name: Wait(why, removal=True) for name in gone if name not in inputs.known}


def _live(seen: Observed) -> dict[str, File]:
    """The sockets of the deployments that a boot would start: what is being removed already is not among them.

    So the guard never stops half-way.
    """
    found = {name: unit for unit in seen.enabled if (name := names.parse_socket(unit))}
    return {name: seen.files[unit] for name, unit in found.items() if unit in seen.files}


def _agreed_source(ledger: Ledger) -> Source | None:
    """The source that this host goes by; of a ledger that a version before this one wrote, the address alone."""
    if ledger.agreed is not None:
        return ledger.agreed.source
    return Source(registry=ledger.registry) if ledger.registry is not None else None


def _is_another(before: Source, now: Source) -> bool:
    """Compare two sources; where one of them does not say what was selected, by their addresses."""
    if before.selectors and now.selectors:
        return before != now
    return before.registry != now.registry


def _moved(before: Source, now: Source) -> str:
    return f"it is not selected by {now.words}, but came from {before.words}; {CONFIRM_PRUNE}"


def _elsewhere(before: Source, now: Source) -> str:
    return f"it is selected by {now.words}, and what serves came from {before.words}; {CONFIRM_REGISTRY}"


def _called(release: Release | Refused) -> str:
    return f"version {release.version}" if release.version else "another version"


def _is_replaced(socket: File, seen: Observed, release: Release | Refused) -> bool:
    """Whether another version, or other files of the same number, would take the place of the active release.

    One that this host refuses would, too, as soon as it no longer does.
    """
    active = socket.facts.release
    server = seen.files.get(names.server_unit(release.name, active)) if active else None
    if active is None or server is None:
        return False
    source, desired = server.facts.source, unit_values.source_of(release) if isinstance(release, Release) else None
    return active.version != release.version or (None not in (source, desired) and source != desired)
