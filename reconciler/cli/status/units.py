"""Reads what systemd and the unit files show of one deployment; everybody may see that."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from reconciler.adapters.systemctl import show
from reconciler.apply.render import facts_of
from reconciler.core.state.page import UnitFigures
from reconciler.core.units import names, paths, status_lines
from reconciler.core.units.unit_facts import NO_FACTS, UnitFacts

_SHOWN = (
    *("ActiveState", "SubState", "StateChangeTimestamp", "MemoryCurrent", "MemoryMax", "CPUUsageNSec", "NRestarts"),
    "StatusText",
)
_MAX_UNIT_BYTES = 256 * 1024
_STEPS = 3
"""The rank of all that prepares a release: it comes last, and is told only while there is something to tell."""
_FOR_EVER = 2**64 - 1
"""systemd's number for what has no limit, or is not known."""


def units_of(name: str, directory: Path = Path(paths.UNIT_DIRECTORY)) -> list[str]:
    """List the units of a deployment that have a file, its socket first, then its servers, then its steps."""
    with suppress(OSError):
        named = [path.name for path in directory.iterdir() if name in path.name]
        found = [unit for unit in named if names.deployment_of(unit) == name]
        return sorted(found, key=lambda unit: (_rank(unit), unit))
    return []


def facts(unit: str, directory: Path = Path(paths.UNIT_DIRECTORY)) -> UnitFacts:
    """Read what a unit's file says that it was rendered from; nothing where it cannot be read."""
    with suppress(OSError):
        with (directory / unit).open("rb") as file:
            text = file.read(_MAX_UNIT_BYTES).decode(errors="replace")
        return facts_of(text) or NO_FACTS
    return NO_FACTS


def figures(units: list[str]) -> list[UnitFigures]:
    """Read the figures of units, in their order; steps only while they run or when they have failed."""
    shown = show(units, _SHOWN) if units else {}
    told = [(unit, shown[unit]) for unit in units if unit in shown]
    return [_figures(unit, one) for unit, one in told if _rank(unit) < _STEPS or not _is_done(one)]


def _rank(unit: str) -> int:
    if names.parse_socket(unit):
        return 0
    if names.parse_server(unit):
        return 1
    return 2 if names.parse_bridge(unit) or names.parse_compose(unit) else _STEPS


def _is_done(shown: Mapping[str, str]) -> bool:
    return shown["ActiveState"] in ("active", "inactive")


def _figures(unit: str, shown: Mapping[str, str]) -> UnitFigures:
    # One that has ended has nothing to tell of what it answered.
    counts = names.parse_server(unit) is not None and shown["ActiveState"] not in ("inactive", "failed")
    counters = status_lines.read_counters(shown["StatusText"]) if counts else None
    cpu = _number(shown["CPUUsageNSec"])
    sub = shown["SubState"]
    return UnitFigures(
        unit=unit,
        state=f"{shown['ActiveState']} ({sub})" if sub else shown["ActiveState"],
        since=_moment(shown["StateChangeTimestamp"]),
        memory_bytes=_number(shown["MemoryCurrent"]),
        memory_max_bytes=_number(shown["MemoryMax"]),
        cpu_seconds=None if cpu is None else round(cpu / 1e9, 3),
        restarts=_number(shown["NRestarts"]) or 0,
        requests=counters.requests if counters else None,
        errors=counters.errors if counters else None,
    )


def _number(text: str) -> int | None:
    """Read a number of systemd's; None for `infinity`, `[not set]`, and the number that stands for them."""
    number = int(text) if text.isascii() and text.isdigit() else _FOR_EVER
    return None if number == _FOR_EVER else number


def _moment(text: str) -> datetime | None:
    """Read a time stamp as `--timestamp=unix` writes it, such as `@1764321123`."""
    seconds = _number(text.removeprefix("@"))
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
