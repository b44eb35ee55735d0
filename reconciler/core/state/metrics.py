"""The reconciler's metrics, in the text format of Prometheus."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from reconciler.core.state.memory import Memory
from reconciler.core.state.status import DeploymentStatus, State, Status
from reconciler.core.units import names
from reconciler.core.units.observed import Observed

_PREFIX = "mlflow_reconciler_"
HELP: Mapping[str, tuple[str, str]] = {
    "last_pass_timestamp_seconds": ("gauge", "When the last pass ended, in seconds since the epoch."),
    "last_pass_duration_seconds": ("gauge", "How long the last pass took."),
    "actions_total": ("counter", "Actions that worked since the reconciler started."),
    "registry_fresh": ("gauge", "Whether the agent confirmed its snapshot of the registry lately."),
    "snapshot_timestamp_seconds": ("gauge", "When the agent confirmed its snapshot last, in seconds since the epoch."),
    "trouble": ("gauge", "Whether the reconciler cannot do something itself, such as write its state to a full disk."),
    "deployments": ("gauge", "Deployments in each state."),
    "deployment_state": ("gauge", "The state that a deployment is in, and the reason; always 1."),
    "deployment_since_timestamp_seconds": ("gauge", "Since when it is in that state, in seconds since the epoch."),
    "deployment_wanted_version": ("gauge", "The version that the registry selects."),
    "deployment_active_version": ("gauge", "The version that serves."),
    "deployment_restarts_total": ("counter", "Restarts by systemd of its servers, since these were made."),
    "deployment_failures": ("gauge", "Failures in a row of one part of its deployment; missing when there is none."),
}
"""Each metric without the prefix, with its type and what it is."""
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

Failure = tuple[str, str]
"""A deployment and the part of it that fails: fetch, build, verify, start, listen or action."""


@dataclass(frozen=True)
class Measured:
    """What a pass measured that is not in the status."""

    ended: float
    """Seconds since the epoch."""
    seconds: float
    actions: int = 0
    restarts: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[Failure, int] = field(default_factory=dict)


def restarts(seen: Observed) -> dict[str, int]:
    """Count the restarts of each deployment's servers."""
    counts: Counter[str] = Counter()
    for unit, state in seen.units.items():
        server = names.parse_server(unit)
        if server is not None:
            counts[server.name] += state.restarts
    return dict(counts)


def failures(seen: Observed, memory: Memory) -> dict[Failure, int]:
    """Tell of each deployment what failed how often in a row, as long as it has not worked since."""
    paused = memory.pauses.retry_later.items()
    found = {(name, "action"): pause.count for name, pause in paused if not names.parse_build(name)}
    builds = {unit: retry.count for unit, retry in memory.backoff.retry_later.items() if names.parse_build(unit)}
    for unit, retry in memory.backoff.retry_later.items():
        name = names.deployment_of(unit)
        if name is not None:
            key = name, _part(unit)
            found[key] = max(found.get(key, 0), retry.count)
    if builds:  # they are shared, so each deployment has to be asked
        for name in seen.by_deployment:
            counts = [builds[unit] for unit in seen.builds_of(name) & builds.keys()]
            if counts:
                found[name, "build"] = max(counts)
    return found


def _part(unit: str) -> str:
    step = names.parse_step(unit)
    if step is not None:
        return step.step.value
    return "listen" if unit.endswith(".socket") else "start"


def exposition(status: Status, measured: Measured) -> str:
    """Write all metrics, each with its help and its type, and end with a line break."""
    # node_exporter refuses the whole file where two lines are about the same: of two with one name, the first counts.
    deployments = {deployment.name: deployment for deployment in reversed(status.deployments)}
    parts: list[str] = []
    for name, samples in _samples(status, measured, deployments):
        kind, what = HELP[name]
        parts += [f"# HELP {_PREFIX}{name} {what}\n# TYPE {_PREFIX}{name} {kind}\n", *samples]
    return "".join(parts)


def _samples(
    status: Status, measured: Measured, deployments: Mapping[str, DeploymentStatus]
) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield the lines of each metric."""
    registry = status.registry
    read_at = [] if registry.read_at is None else [registry.read_at.timestamp()]
    states = Counter(one.state for one in deployments.values())
    # Names that this host refuses cost whoever may write to the registry nothing, and Prometheus keeps each for long.
    all_of_them = [one for one in deployments.values() if one.state is not State.NOT_DEPLOYABLE]
    numbers: dict[str, list[float]] = {
        "last_pass_timestamp_seconds": [measured.ended],
        "last_pass_duration_seconds": [measured.seconds],
        "actions_total": [measured.actions],
        "registry_fresh": [registry.reachable],
        "snapshot_timestamp_seconds": read_at,
        "trouble": [bool(status.trouble)],
    }
    for name, values in numbers.items():
        yield name, [_line(name, value) for value in values]
    yield "deployments", [_line("deployments", states[state], state=state.value) for state in State]
    state = "deployment_state"
    yield state, [_line(state, 1, deployment=one.name, state=one.state, reason=one.reason) for one in all_of_them]
    since = "deployment_since_timestamp_seconds"
    yield since, [_line(since, one.since.timestamp(), deployment=one.name) for one in all_of_them]
    yield from _versions("deployment_wanted_version", {one.name: one.desired_version for one in all_of_them})
    yield from _versions("deployment_active_version", {one.name: one.active_version for one in all_of_them})
    again = "deployment_restarts_total"
    yield again, [_line(again, count, deployment=name) for name, count in sorted(measured.restarts.items())]
    fails = "deployment_failures"
    counts = sorted(measured.failures.items())
    yield fails, [_line(fails, count, deployment=name, part=part) for (name, part), count in counts]


def _versions(metric: str, versions: Mapping[str, str | None]) -> Iterator[tuple[str, Iterable[str]]]:
    known = {name: version for name, version in versions.items() if version and version.isdecimal()}
    yield metric, [_line(metric, int(version), deployment=name) for name, version in known.items()]


def _line(metric: str, value: float, **labels: str) -> str:
    # Times need more digits than `g` writes, and whole numbers no point.
    number = f"{value:.3f}" if isinstance(value, float) else str(int(value))
    if not labels:
        return f"{_PREFIX}{metric} {number}\n"
    pairs = ",".join(f'{key}="{text.translate(_ESCAPES)}"' for key, text in labels.items())
    return f"{_PREFIX}{metric}{{{pairs}}} {number}\n"
