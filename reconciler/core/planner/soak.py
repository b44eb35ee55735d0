"""A new release's first minutes under traffic: what counts against it, and when it has proved itself."""

from collections.abc import Iterable

from reconciler.core.planner.flooding import WHY
from reconciler.core.state.reason import Reason
from reconciler.core.units import names
from reconciler.core.units.failures import why_failed
from reconciler.core.units.observed import Unit

ENOUGH_ANSWERS = 20
"""Fewer say nothing about the share of errors."""


def why_bad(units: Iterable[Unit], max_error_rate: int) -> tuple[Reason, str] | None:
    """Say what counts against the servers of a release, as a word and a sentence; None when nothing does."""
    requests = errors = 0
    for unit in units:
        if unit.floods:
            return Reason.FAILED_IN_SOAK, f"cannot keep {_release([unit])}: {WHY}"
        if unit.active in ("failed", "reloading") or unit.ends:
            return Reason.FAILED_IN_SOAK, why_failed(unit)
        answered, of_them_errors = unit.counters
        requests, errors = requests + answered, errors + of_them_errors
    if requests >= ENOUGH_ANSWERS and errors * 100 > max_error_rate * requests:
        name = _release(units)
        return Reason.ERRORS_IN_SOAK, (
            f"cannot keep {name}: {errors} of its first {requests} answers were errors of its own, "
            f"more than {max_error_rate} %; see journalctl for what it raised"
        )
    return None


def why_ended(units: Iterable[Unit]) -> tuple[Reason, str] | None:
    """Say which server of a release ended as if it had been told to, or is about to; None when none is."""
    ended = (unit for unit in units if unit.ever_active and unit.active in ("inactive", "deactivating"))
    return next(((Reason.FAILED_IN_SOAK, why_failed(unit)) for unit in ended), None)


def _release(units: Iterable[Unit]) -> str:
    for unit in units:
        if server := names.parse_server(unit.name):
            return f"version {server.release.version} of {server.name}"
    return "the release"
