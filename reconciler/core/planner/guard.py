"""The guard: nothing that serves is removed or replaced for a reason that nobody gave; it waits for a person.

A model that somebody takes out of production is removed: the registry shows it, and no longer selects it. Everything
else that makes a deployment disappear from a snapshot, or become another one, may be a mistake: other settings of where
and what is asked, a login that sees less, a registry that was set up anew, many at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from reconciler.core.planner import unit_values
from reconciler.core.state.ledger import Agreed, Ledger, Rules
from reconciler.core.state.reason import Reason
from reconciler.core.state.release import Refused, Release
from reconciler.core.state.snapshot import Source
from reconciler.core.state.status import State
from reconciler.core.units import names
from reconciler.core.units.observed import Observed

DesiredReleases = Mapping[str, Release | Refused]


@dataclass(frozen=True)
class Live:
    """What of a deployment would be lost: the version that it serves, wherever that runs."""

    version: int | None = None
    """None where nobody knows it."""
    source: str | None = None
    """Where its files come from, as `unit_values.source_of` says; None where nobody knows."""


LiveDeployments = Mapping[str, Live]
"""The deployments that serve, or would after a boot. What is being removed already is not among them."""


class GuardInputs(Protocol):
    """What the guard is told beside the desired releases and the deployments; `PlannerInputs` has all of it."""

    @property
    def ledger(self) -> Ledger:
        """What is remembered."""

    @property
    def source(self) -> Source | None:
        """Which registry was asked, and for what; None without a snapshot."""

    @property
    def rules(self) -> Rules:
        """What may be removed without a person's yes."""

    @property
    def known(self) -> frozenset[str]:
        """Models that the registry has and does not select."""


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


def live_on_host(seen: Observed) -> dict[str, Live]:
    """Return the deployments that a boot of this host would start.

    What is being removed already is disabled, so it is not among them: the guard never stops half-way.
    """
    live = {}
    # Not by what runs: a server may be down for a moment.
    for unit in seen.enabled:
        name = names.parse_socket(unit)
        socket = seen.files.get(unit)
        if name is None or socket is None:
            continue
        active = socket.facts.release
        server = seen.files.get(names.server_unit(name, active)) if active else None
        # Units of an earlier product do not say where their files are from.
        live[name] = Live(active.version, server.facts.source) if active and server else Live()
    return live


def waiting(desired: DesiredReleases, live: LiveDeployments, inputs: GuardInputs) -> dict[str, Wait]:
    """Return the deployments that stay as they are until a person confirms what would become of them.

    Suspended ones count where many would go at once, and are not in the answer: they say so themselves.
    """
    waits = {}
    for name, wait in _waiting(desired, live, inputs).items():
        is_suspended = inputs.ledger.record(name).suspended is not None
        if not is_suspended:
            waits[name] = wait
    return waits


def agreement(desired: DesiredReleases, live: LiveDeployments, inputs: GuardInputs) -> Agreed | None:
    """Return the source and the rules to go by from here on; None when they are agreed already, or something waits.

    So they are taken note of without a person's yes only where they would change nothing that a yes is needed for.
    """
    if inputs.source is None:
        return None
    now = Agreed(source=inputs.source, rules=inputs.rules)
    if inputs.ledger.agreed == now:
        return None
    # What is suspended counts here: when it is resumed, it must still wait.
    if _waiting(desired, live, inputs):
        return None
    return now


def _waiting(desired: DesiredReleases, live: LiveDeployments, inputs: GuardInputs) -> dict[str, Wait]:
    """Return what waits for a person, suspended deployments included.

    The first reason that applies is given, and hides the others: a person who agrees to another source is asked again
    about removals that still are too many.
    """
    ledger, source = inputs.ledger, inputs.source
    # A confirmed removal waits no more, and is not counted among many either.
    gone = sorted(live.keys() - desired.keys() - ledger.prune_confirmed)
    agreed_source = _agreed_source(ledger)
    if source is not None and agreed_source is not None and _is_another(agreed_source, source):
        removals = {name: Wait(_moved(agreed_source, source), removal=True) for name in gone}
        return removals | _replacements(desired, live, _elsewhere(agreed_source, source))
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


def _replacements(desired: DesiredReleases, live: LiveDeployments, elsewhere: str) -> dict[str, Wait]:
    """Return the deployments whose active release would make way for one from another source.

    One that goes on unchanged needs no yes, whichever source selects it.
    """
    waits = {}
    for name, release in desired.items():
        # A deployment that is not live has nothing to lose.
        if name in live and _is_replaced(live[name], release):
            called = f"version {release.version}" if release.version else "another version"
            waits[name] = Wait(f"{called} would replace what serves: {elsewhere}", removal=False)
    return waits


def _is_replaced(active: Live, release: Release | Refused) -> bool:
    """Whether another version, or other files of the same number, would take the place of the active release.

    One that this host refuses would, too, as soon as it no longer does.
    """
    if active.version is None:
        return False
    if active.version != release.version:
        return True
    # Of a refused version nobody knows the files.
    if active.source is None or not isinstance(release, Release):
        return False
    return active.source != unit_values.source_of(release)
