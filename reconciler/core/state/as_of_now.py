"""Brings a published status up to the moment in which somebody asks: passes are up to half a minute apart."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from reconciler.core.state.status import RegistryStatus, Status
from reconciler.core.text.quote import one_line
from reconciler.core.units import status_lines

AGENT, RECONCILER = "mlflow-registry-agent.service", "mlflow-reconciler.service"
_RUNS = ("active", "activating", "reloading")
FAILS = "auto-restart"
"""systemd's word for a service that failed and is about to be started once more."""
_WORDS = {FAILS: "fails and is started again and again"}
_AHEAD = timedelta(seconds=60)
"""By which the agent's clock may seem ahead."""


class Service(NamedTuple):
    """A service of ours, as systemd shows it now."""

    state: str
    """systemd's word: `active`, `failed`, …, or `auto-restart`."""
    says: str = ""
    """Its own status line."""


def as_of_now(document: Status, touched: datetime | None, services: Mapping[str, Service], now: datetime) -> Status:
    """Return the status with what has become of the registry and of the reconciler since the last pass.

    `touched` is when the agent last confirmed its file, None where that cannot be seen. `services` are those of ours
    that systemd shows, by unit.
    """
    registry = _registry_now(document.registry, touched, services.get(AGENT), now)
    reconciler = services.get(RECONCILER)
    trouble = document.trouble
    if reconciler is not None and not is_kept_up(services):
        ended = f"{RECONCILER} {_words(reconciler)}, so this is how things stood when it ended"
        trouble = "; ".join(filter(None, (f"{ended}; see systemctl status {RECONCILER}", trouble)))
    return document.model_copy(update={"registry": registry, "trouble": trouble})


def is_kept_up(services: Mapping[str, Service]) -> bool:
    """Whether the reconciler runs, as far as is known."""
    reconciler = services.get(RECONCILER)
    return reconciler is None or reconciler.state in _RUNS


def _registry_now(
    told: RegistryStatus, touched: datetime | None, agent: Service | None, now: datetime
) -> RegistryStatus:
    """Judge the snapshot as a pass would that ran now."""
    said = _trouble_of(agent)
    if told.read_at is None:
        return told.model_copy(update={"message": said or told.message})
    if told.fresh_for is None:
        return told  # by an earlier version of the product
    # The file is a less trusted user's: a time stamp from the future is none.
    is_newer = touched is not None and touched <= now + _AHEAD
    read_at = max(told.read_at, touched) if touched is not None and is_newer else told.read_at
    is_fresh = (now - read_at).total_seconds() <= told.fresh_for
    # What the reconciler said of an older reading is no longer true of a newer one.
    message = "" if is_fresh and not told.reachable else told.message
    if said:
        message = said
    elif not is_fresh and told.reachable:
        message = "the snapshot was not confirmed lately; see systemctl status mlflow-registry-agent"
    return told.model_copy(update={"reachable": is_fresh, "read_at": read_at, "message": message})


def _trouble_of(agent: Service | None) -> str:
    """Say what keeps the agent from reading the registry; "" when nothing does, as far as is known."""
    if agent is None:
        return ""
    if status_lines.says_why_it_failed(agent.says):
        return one_line(agent.says, 1000)
    if agent.state in _RUNS:
        return ""
    return f"{AGENT} {_words(agent)}; see systemctl status {AGENT}"


def _words(service: Service) -> str:
    return _WORDS.get(service.state, f"is {service.state}")
