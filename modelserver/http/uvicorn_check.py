"""Names the internals of uvicorn that this server overrides or uses, and refuses to start where one is missing.

modelserver/requirements.txt bounds uvicorn to the versions that the tests ran with. Whoever changes a bound, or runs
the server by hand beside another version, is told here and not by a request that goes wrong.
"""

from __future__ import annotations

import asyncio

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from modelserver.errors import CannotServeError

# Overridden by modelserver.http.connection.Connection. Not here: _should_upgrade, which older versions do without.
_OF_CONNECTIONS = (
    "connection_lost",
    "connection_made",
    "data_received",
    "eof_received",
    "on_response_complete",
    "pause_writing",
    "resume_writing",
    "send_400_response",
    "shutdown",
    # Used by it.
    "_unset_keepalive_if_required",
    "conn",
    "cycle",
    "flow",
    "logger",
    "loop",
    "transport",
)
# Overridden by modelserver.server.Server.
_OF_SERVERS = (
    "handle_exit",
    "on_tick",
    "serve",
    "startup",
    # Used by it.
    "force_exit",
    "server_state",
    "should_exit",
)
_OF_SERVER_STATE = ("connections", "tasks", "total_requests")


def check_internals() -> None:
    """Raises CannotServeError with the names that this uvicorn does not have."""
    config = uvicorn.Config(_no_application, loop="asyncio", http="h11", ws="none", lifespan="off", log_config=None)
    state = ServerState()
    loop = asyncio.new_event_loop()
    try:
        # An instance, because uvicorn sets some of them where it makes one.
        connection = H11Protocol(config=config, server_state=state, app_state={}, _loop=loop)
    finally:
        loop.close()
    missing = _missing(connection, _OF_CONNECTIONS)
    missing += _missing(uvicorn.Server(config), _OF_SERVERS)
    missing += _missing(state, _OF_SERVER_STATE)
    if missing:
        raise CannotServeError(
            f"cannot serve with uvicorn {uvicorn.__version__}: it has no {', '.join(missing)}; "
            "install a version within the bounds of modelserver/requirements.txt"
        )


def _missing(owner: object, names: tuple[str, ...]) -> list[str]:
    return [f"{type(owner).__name__}.{name}" for name in names if not hasattr(owner, name)]


async def _no_application(*_: object) -> None:
    """For a configuration that serves nothing."""
