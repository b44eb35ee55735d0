"""Looks over whether this host follows the registry of its settings, and may deploy anything from it."""

from collections.abc import Iterator

from reconciler.adapters.systemctl import show
from reconciler.check.host import Finding
from reconciler.core.registry.host_tags import tag_key
from reconciler.core.state.as_of_now import AGENT, RECONCILER
from reconciler.core.state.snapshot import Snapshot
from reconciler.core.text.quote import one_line
from reconciler.core.units import status_lines
from reconciler.files.snapshot_file import SnapshotReading
from reconciler.files.status_file import NoStatusError, read_status
from reconciler.settings.model import Settings

CONFIG = "/etc/mlflow-reconciler/config.toml"


def policy(settings: Settings) -> Iterator[Finding]:
    """Find a policy that allows no model at all, as a fresh installation has it."""
    if not settings.policy.names:
        yield Finding(
            "policy.names is empty, so nothing may be deployed here",
            f"list the models that this host may serve in policy.names in {CONFIG}",
        )


def other_hosts(settings: Settings) -> Iterator[Finding]:
    """Find a host that waits for itself: no version would ever begin here."""
    try:
        here = read_status().host
    except NoStatusError:
        return  # a finding of its own
    if tag_key(here) in map(tag_key, settings.rollout.after):
        yield Finding(
            f"rollout.after names this host itself ({one_line(here, 80)}), so no new version ever begins here",
            f"take it out of rollout.after in {CONFIG}",
        )


def registry(settings: Settings) -> Iterator[Finding]:
    """Find why the registry cannot be read: what the agent says now comes first, since a snapshot is fresh for long."""
    from reconciler.daemon import wiring

    shown = show((AGENT, RECONCILER), ("ActiveState", "StatusText"))
    if [one["ActiveState"] for one in shown.values()] != ["active", "active"]:
        return  # a finding of its own
    try:
        told = read_status().registry
    except NoStatusError as error:
        yield Finding(f"there is no status: {error}", f"systemctl restart {RECONCILER}")
        return
    said = shown.get(AGENT, {}).get("StatusText", "")
    reading = wiring.snapshots().read(keep=False)
    if status_lines.is_about_the_registry(said) or not told.reachable:
        yield from _unreachable(settings, reading, said if status_lines.is_about_the_registry(said) else told.message)
    elif reading.problem:
        yield Finding(reading.problem, f"systemctl restart {AGENT}")
    elif reading.snapshot is not None:
        yield from _of_other_settings(reading.snapshot, settings)


def _unreachable(settings: Settings, reading: SnapshotReading, why: str) -> Iterator[Finding]:
    # A snapshot that cannot be used is the consequence where the registry itself cannot be read.
    is_the_agents_fault = reading.problem and not status_lines.is_about_the_registry(why)
    if is_the_agents_fault:
        yield Finding(reading.problem, f"systemctl restart {AGENT}")
    else:
        yield Finding(
            one_line(status_lines.why_no_registry(why), 1000),
            f"see that the MLflow server answers at {settings.registry.uri}, or change registry.uri",
        )


def _of_other_settings(snapshot: Snapshot, settings: Settings) -> Iterator[Finding]:
    """Find a snapshot that was read by other settings than those on disk: the agent has not taken them."""
    wanted = settings.registry.source
    if snapshot.source != wanted:
        yield Finding(
            f"this host still goes by {one_line(snapshot.source.words)}, not by {one_line(wanted.words)}",
            f"wait until the agent has read it, or systemctl restart {AGENT}",
        )
