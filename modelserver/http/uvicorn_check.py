"""Names the internals of uvicorn that this server overrides or uses, and refuses to start where one is missing.

modelserver/requirements.txt bounds uvicorn to the versions that the tests ran with. Whoever changes a bound, or runs
the server by hand beside another version, is told here and not by a request that goes wrong.
"""

from __future__ import annotations

import asyncio

import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from modelserver.errors import CannotServeError, describe_error

# What modelserver.http.connection.Connection overrides, beside what asyncio asks of every protocol; then what it uses.
# Not here: what a request's `cycle` has (`disconnected`, `message_event`, `response_complete`), because there is no
# cycle before there is a request.
_OF_CONNECTIONS = (
    *("_should_upgrade", "on_response_complete", "send_400_response", "shutdown"),
    *("_unset_keepalive_if_required", "conn", "cycle", "flow", "logger", "loop", "transport"),
)
_OF_FLOW_CONTROL = ("resume_reading",)
# What modelserver.server.Server overrides; then what it uses.
_OF_SERVERS = (
    *("handle_exit", "on_tick", "serve", "startup"),
    *("force_exit", "server_state", "should_exit"),
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
    except (AttributeError, TypeError) as error:
        raise CannotServeError(_sentence(describe_error(error))) from error
    finally:
        loop.close()
    missing = [
        *_missing(connection, _OF_CONNECTIONS),
        *_missing(FlowControl, _OF_FLOW_CONTROL),
        *_missing(uvicorn.Server(config), _OF_SERVERS),
        *_missing(state, _OF_SERVER_STATE),
    ]
    if missing:
        raise CannotServeError(_sentence(f"it has no {', '.join(missing)}"))


def _sentence(why: str) -> str:
    return (
        f"cannot serve with uvicorn {uvicorn.__version__}: {why}; "
        "install a version within the bounds of modelserver/requirements.txt"
    )


def _missing(owner: object, names: tuple[str, ...]) -> list[str]:
    kind = owner if isinstance(owner, type) else type(owner)
    return [f"{kind.__name__}.{name}" for name in names if not hasattr(owner, name)]


async def _no_application(_scope: object, _receive: object, _send: object) -> None:
    """Takes what an application takes: one without arguments uvicorn would call, to see whether it makes one."""
