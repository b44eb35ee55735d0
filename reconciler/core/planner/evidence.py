"""Whose words count: a server that may remember what it was sent is not asked why it ended, systemd is."""

from dataclasses import replace

from reconciler.core.state.ledger import Ledger
from reconciler.core.units import names
from reconciler.core.units.observed import Observed


def heard(seen: Observed, ledger: Ledger) -> Observed:
    """Mark the servers that served before systemd loaded them, and had a directory that outlives their process."""
    marked = {}
    for unit, file in seen.files.items():
        server, state = names.parse_server(unit), seen.units.get(unit)
        if server is None or state is None or not file.facts.has_cache:
            continue
        record, socket = ledger.record(server.name), seen.files.get(names.socket_unit(server.name))
        active = socket.facts.release if socket else None
        proved_itself = server.release in (record.good, *record.before)
        if proved_itself or (record.good is not None and server.release == active):
            marked[unit] = replace(state, may_repeat_requests=True)
    return replace(seen, units={**seen.units, **marked}) if marked else seen
