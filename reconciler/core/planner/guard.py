"""The guard: nothing that serves is removed or replaced for a reason that nobody gave; it waits for a person.

A model that somebody takes out of production is removed: the registry shows it, and no longer selects it. Everything
else that makes a deployment disappear from a snapshot, or become another one, may be a mistake: other settings of where
and what is asked, a login that sees less, a registry that was set up anew, many at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.core.planner import unit_values
from reconciler.core.planner.inputs import PlannerInputs
from reconciler.core.state.ledger import Agreed, Ledger, Rules
from reconciler.core.state.reason import Reason
from reconciler.core.state.release import Refused, Release
from reconciler.core.state.snapshot import Source
from reconciler.core.state.status import State
from reconciler.core.units import names
from reconciler.core.units.observed import File, Observed

DesiredReleases = Mapping[str, Release | Refused]

CONFIRM_PRUNE = "reconciler apply --confirm-prune removes it, promoting it again keeps it"
CONFIRM_REGISTRY = "reconciler apply --confirm-registry agrees to that, putting the settings back keeps it"


@dataclass(frozen=True)
class Wait:
    """What a deployment waits with, and the sentence that says for whom."""

    why: str
    removal: bool
    """Whether it would be removed; else it would be replaced, or begin."""
    for_apply: bool = False
    """Whether it waits only because every change of this host does."""
    for_hosts: bool = False
    """Whether it waits for other hosts and not for a person."""

    @property
    def state(self) -> State:
        """Where a deployment stands that waits so."""
        return State.PENDING if self.for_hosts else State.HELD

    @property
    def reason(self) -> Reason:
        """The word for programs."""
        if self.for_hosts:
            return Reason.OTHER_HOSTS_FIRST
        if self.for_apply:
            return Reason.NOT_CONFIRMED
        return Reason.HELD if self.removal else Reason.ANOTHER_SOURCE


def waiting(desired: DesiredReleases, seen: Observed, inputs: PlannerInputs) -> dict[str, Wait]:
    """Return the deployments that stay as they are until a person confirms what would become of them.

    Suspended ones count where many would go at once, and are not in the answer: they say so themselves.
    """
    waits = {}
    for name, wait in _waiting(desired, seen, inputs).items():
        is_suspended = inputs.ledger.record(name).suspended is not None
        if not is_suspended:
            waits[name] = wait
    return waits


def agreement(desired: DesiredReleases, seen: Observed, inputs: PlannerInputs) -> Agreed | None:
    """Return the source and the rules to go by from here on; None when they are agreed already, or something waits.

    So they are taken note of without a person's yes only where they would change nothing that a yes is needed for.
    """
    if inputs.source is None:
        return None
    now = Agreed(source=inputs.source, rules=inputs.rules)
    if inputs.ledger.agreed == now:
        return None
    # What is suspended counts here: when it is resumed, it must still wait.
    if _waiting(desired, seen, inputs):
        return None
    return now


def _waiting(desired: DesiredReleases, seen: Observed, inputs: PlannerInputs) -> dict[str, Wait]:
    """Return what waits for a person, suspended deployments included.

    The first reason that applies is given, and hides the others: a person who agrees to another source is asked again
    about removals that still are too many.
    """
    ledger, source = inputs.ledger, inputs.source
    live = _live(seen)
    # A confirmed removal waits no more, and is not counted among many either.
    gone = sorted(live.keys() - desired.keys() - ledger.prune_confirmed)
    agreed_source = _agreed_source(ledger)
    if source is not None and agreed_source is not None and _is_another(agreed_source, source):
        removals = {name: Wait(_moved(agreed_source, source), removal=True) for name in gone}
        return removals | _replacements(desired, live, seen, _elsewhere(agreed_source, source))
    # What was agreed before counts: a change of the rules is no answer to what waits by the former ones.
    rules = ledger.agreed.rules if ledger.agreed else inputs.rules
    if _are_many(len(gone), len(live), rules):
        why = f"{len(gone)} of {len(live)} deployments would be removed at once; {CONFIRM_PRUNE}"
        return {name: Wait(why, removal=True) for name in gone}
    # A model that was taken out of production is still shown, so it is known; these are not.
    if rules.prune_unknown:
        return {}
    why = (
        "the registry no longer shows a model of that name: it was deleted, or this host may no longer see it, or the "
        f"registry was set up anew; {CONFIRM_PRUNE}"
    )
    return {name: Wait(why, removal=True) for name in gone if name not in inputs.known}


def _live(seen: Observed) -> dict[str, File]:
    """Return the sockets of the deployments that a boot would start, by deployment.

    What is being removed already is disabled, so it is not among them: the guard never stops half-way.
    """
    live = {}
    # Not by what runs: a server may be down for a moment.
    for unit in seen.enabled:
        name = names.parse_socket(unit)
        file = seen.files.get(unit)
        if name is not None and file is not None:
            live[name] = file
    return live


def _are_many(gone: int, live: int, rules: Rules) -> bool:
    """Whether so many removals at once look like a mistake: a number of them, and a share of all, is exceeded.

    The number alone would hold up large hosts, the share alone would hold up small ones.
    """
    is_large_number = gone >= rules.prune_from
    is_large_share = 100 * gone > rules.prune_share * live
    return is_large_number and is_large_share


def _agreed_source(ledger: Ledger) -> Source | None:
    """Return the source that this host goes by; None before the first snapshot.

    A ledger that an earlier version of this product wrote has the address alone.
    """
    if ledger.agreed is not None:
        return ledger.agreed.source
    if ledger.registry is not None:
        return Source(registry=ledger.registry)
    return None


def _is_another(agreed: Source, now: Source) -> bool:
    """Whether two sources differ.

    Where one of them does not say what was selected, which an earlier version did not, their addresses decide.
    """
    both_have_selectors = agreed.selectors and now.selectors
    if both_have_selectors:
        return agreed != now
    return agreed.registry != now.registry


def _moved(agreed: Source, now: Source) -> str:
    """Say why a removal waits: the deployment came from another source than that which does not select it."""
    return f"it is not selected by {now.words}, but came from {agreed.words}; {CONFIRM_PRUNE}"


def _elsewhere(agreed: Source, now: Source) -> str:
    """Say why a replacement waits: the new release comes from another source than the active one.

    The version of the new release goes before it.
    """
    return f"it is selected by {now.words}, and what serves came from {agreed.words}; {CONFIRM_REGISTRY}"


def _replacements(
    desired: DesiredReleases, live: Mapping[str, File], seen: Observed, elsewhere: str
) -> dict[str, Wait]:
    """Return the deployments whose active release would make way for one from another source.

    One that goes on unchanged needs no yes, whichever source selects it.
    """
    waits = {}
    for name, release in desired.items():
        socket = live.get(name)
        # A deployment that is not live has nothing to lose.
        if socket is not None and _is_replaced(socket, seen, release):
            called = f"version {release.version}" if release.version else "another version"
            waits[name] = Wait(f"{called} would replace what serves: {elsewhere}", removal=False)
    return waits


def _is_replaced(socket: File, seen: Observed, release: Release | Refused) -> bool:
    """Whether another version, or other files of the same number, would take the place of the active release.

    One that this host refuses would, too, as soon as it no longer does.
    """
    active = socket.facts.release
    if active is None:
        return False
    server = seen.files.get(names.server_unit(release.name, active))
    if server is None:
        return False
    if active.version != release.version:
        return True
    active_source = server.facts.source
    # Of a refused version nobody knows the files, and units of an earlier product do not say where theirs are from.
    if active_source is None or not isinstance(release, Release):
        return False
    return active_source != unit_values.source_of(release)
