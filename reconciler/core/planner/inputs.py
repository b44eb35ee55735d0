"""What the planner is told beside the desired releases and what is observed: settings, memory, and the time."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.core.planner import unit_values
from reconciler.core.planner.bridge_values import BridgeSettings
from reconciler.core.planner.compose_values import ComposeSettings
from reconciler.core.state.ledger import Ledger, Rules
from reconciler.core.state.release import Rollout
from reconciler.core.state.snapshot import Source
from reconciler.core.units import addresses


@dataclass(frozen=True)
class Retention:
    """What is kept of releases and deployments that no longer serve."""

    releases: int = 1
    """How many of those that served before, to go back to."""
    removal_grace: float = 0.0
    """Seconds for which the files of a deployment are kept that is no longer selected."""


@dataclass(frozen=True)
class PlannerInputs:
    """What the planner is told beside the desired releases and what is observed.

    Times are in seconds on the monotonic clock.
    """

    # What the settings say.
    steps: unit_values.StepSettings
    port_range: tuple[int, int]
    listening: addresses.Listening = field(default_factory=addresses.Listening)
    bridge: BridgeSettings = field(default_factory=BridgeSettings)
    compose: ComposeSettings = field(default_factory=ComposeSettings)
    rules: Rules = field(default_factory=Rules)
    """What may be removed without a person's yes."""
    rollout: Rollout = field(default_factory=Rollout)
    """How a release is brought up of which only the files are known."""
    retention: Retention = Retention()
    confirm: bool = False
    """Whether every change waits for an operator's yes."""
    verify_interval: float = 0.0
    """Seconds after which files are compared with their digests again; 0 is never."""
    require_example: bool = False
    """Whether a version without an example that can be replayed is refused."""
    parallel_steps: int = 4
    """How many steps run at once on the host."""
    parallel_starts: int = 4
    """How many servers load at once on the host."""
    patience: float = 5.0
    """Seconds that a server may take to step aside, to come back, or to do what none of ours ever does."""

    # What the snapshot says.
    source: Source | None = None
    """Which registry was asked, and for what; None without a snapshot."""
    not_yet: Mapping[str, str] = field(default_factory=dict)
    """By model, why its selected version may not begin on this host: which hosts are to have it first."""
    known: frozenset[str] = frozenset()
    """Models that the registry has and does not select."""

    # What is remembered on disk.
    ledger: Ledger = field(default_factory=lambda: Ledger(schema=1))
    unwritten: frozenset[str] = frozenset()
    """Digests that no unit could compare with yet: the disk did not take them."""

    # What is remembered in memory, and may be lost.
    unselected: Mapping[str, float] = field(default_factory=dict)
    """Since when deployments are known not to be selected."""
    exhausted: frozenset[str] = frozenset()
    """Deployments that were mended too often of late."""
    retry_later: Mapping[str, str] = field(default_factory=dict)
    """Units that failed and must not be tried yet, with the reason."""
    failed: frozenset[str] = frozenset()
    """Units that failed and have not worked since; those of `retry_later` are among them."""
    tries: Mapping[str, int] = field(default_factory=dict)
    """How often in a row units failed."""
    busy_ports: frozenset[int] = frozenset()
    """Ports that somebody else holds."""
    paused: frozenset[str] = frozenset()
    """Deployments, and shared units, whose turn has not come again after an action failed."""
    reload_due: bool = False
    """Files were changed and systemd may not have read them."""

    now: float = 0.0
