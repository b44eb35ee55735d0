"""Units of which systemd has so much to tell that nobody else would be heard: they are ended, and it is said why."""

from reconciler.core.planner import actions as act
from reconciler.core.state.ledger import Ledger
from reconciler.core.units import names
from reconciler.core.units.observed import Observed

TOO_MANY = 100
"""Changes of one unit within `SPAN`. A server that starts makes about ten, one that serves tells its counters once a
second, one that systemd starts anew each second makes less than fifty."""
SPAN = 5.0
"""Seconds."""
WHY = f"it changed its state or its status line more than {TOO_MANY} times within {SPAN:.0f} s"


def kills(seen: Observed, ledger: Ledger) -> list[act.Kill]:
    """Have all processes killed of what floods; systemd starts it again, and in a soak that counts as an end."""
    found: list[act.Kill] = []
    for unit, state in sorted(seen.units.items()):
        name = names.deployment_of(unit) or ""
        if state.floods and not state.is_down and unit not in seen.foreign and ledger.record(name).suspended is None:
            found.append(act.Kill(name, unit, WHY))
    return found
