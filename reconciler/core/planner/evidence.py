"""Whose words count: a server that may remember what it was sent is not asked why it ended, systemd is."""

from dataclasses import replace

from reconciler.core.state.ledger import Ledger
from reconciler.core.units import names
from reconciler.core.units.names import ServerUnit
from reconciler.core.units.observed import Observed


def heard(seen: Observed, ledger: Ledger) -> Observed:
    """Mark the servers that served before systemd loaded them, and had a directory that outlives their process.

    Their status lines could tell a person, and everybody who reads the status, what others sent them. So a pass marks
    them before anything else looks at their words. Returns the same object when there are none.
    """
    marked = {}
    for unit, state in seen.units.items():
        server = names.parse_server(unit)
        # One that is known to have served is not heard anyway.
        if server is None or state.ever_active:
            continue
        # Without a directory to write to, nothing that it was sent outlives the process that was sent it.
        may_remember = _has_directory(unit, seen)
        if may_remember and _has_served(server, seen, ledger):
            marked[unit] = replace(state, may_repeat_requests=True)
    if not marked:
        return seen
    return replace(seen, units={**seen.units, **marked})


def _has_directory(unit: str, seen: Observed) -> bool:
    """Whether a server's file gives it a directory that outlives its process.

    A server without a file of ours is not known to have one.
    """
    file = seen.files.get(unit)
    if file is None:
        return False
    # What it compiled is kept from before its first request. That nothing else is kept with it, only it says itself.
    return file.facts.has_cache or file.facts.keeps_compiled


def _has_served(server: ServerUnit, seen: Observed, ledger: Ledger) -> bool:
    """Whether clients may have sent requests to a server's release.

    It proved itself, or the socket names it in place of a good one. The first release of a deployment is named by the
    socket before it has served anything, so that alone says nothing.
    """
    record = ledger.record(server.name)
    if server.release in record.proven():
        return True
    # In its soak, a release serves before it proves itself.
    socket = seen.files.get(names.socket_unit(server.name))
    active = socket.facts.release if socket else None
    return record.good is not None and server.release == active
