"""The prune guard: a snapshot that would remove much at once, or that comes from elsewhere, waits for a person."""

from collections.abc import Collection

from reconciler.core import names
from reconciler.core.draft import Keeping
from reconciler.core.ledger import Ledger
from reconciler.core.observed import Observed


def missing(selected: Collection[str], seen: Observed, ledger: Ledger) -> set[str]:
    """Deployments that a boot would start and the registry does not select, unless their removal was confirmed."""
    live = {name for unit in seen.enabled if (name := names.parse_socket(unit)) and unit in seen.files}
    return {name for name in live if name not in selected} - ledger.prune_confirmed


def held(selected: Collection[str], seen: Observed, ledger: Ledger, registry: str, keeping: Keeping) -> dict[str, str]:
    """Which deployments are not removed until a person confirms it, each with the reason.

    Counted is what a boot would start: what is being removed already is not, so that the guard never stops half-way.
    Suspended ones count, too: nothing is done to them now, and all the same they would go.
    """
    gone = missing(selected, seen, ledger)
    going = {name for name in gone if ledger.record(name).suspended is None}
    live = len({unit for unit in seen.enabled if names.parse_socket(unit) and unit in seen.files})
    confirm = "reconciler apply --confirm-prune removes it, promoting it again keeps it"
    if ledger.registry is not None and ledger.registry != registry:
        why = f"it is not selected by the registry at {registry}, but came from the one at {ledger.registry}; {confirm}"
        return dict.fromkeys(going, why)
    if len(gone) >= keeping.prune_from and 100 * len(gone) > keeping.prune_share * live:
        why = f"{len(gone)} of {live} deployments would be removed at once; {confirm}"
        return dict.fromkeys(going, why)
    return {}
