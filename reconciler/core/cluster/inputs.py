"""What the planner of a cluster is told beside the desired releases and what the namespace shows."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler.core.cluster.values import ClusterSettings
from reconciler.core.planner.inputs import Retention
from reconciler.core.planner.unit_values import StepSettings
from reconciler.core.state.ledger import Ledger, Rules
from reconciler.core.state.snapshot import Source


@dataclass(frozen=True)
class ClusterInputs:
    """As `planner.inputs.PlannerInputs`, as far as a cluster has the same. Times are those of the monotonic clock."""

    settings: ClusterSettings
    steps: StepSettings
    ledger: Ledger
    rules: Rules = field(default_factory=Rules)
    retention: Retention = field(default_factory=Retention)
    require_example: bool = False
    parallel_steps: int = 4
    """Jobs that run at once in the namespace."""
    public_url: str = ""
    source: Source | None = None
    known: frozenset[str] = frozenset()
    not_yet: Mapping[str, str] = field(default_factory=dict)
    """By model, why its selected version may not begin yet."""
    unselected: Mapping[str, float] = field(default_factory=dict)
    retry_later: Mapping[str, str] = field(default_factory=dict)
    """Preparations that failed and must not be tried yet, by the name of their Job, with the reason."""
    paused: frozenset[str] = frozenset()
    """Deployments of which an action failed, until their next turn."""
    untouched: frozenset[str] = frozenset()
    """Objects that are as they were when we applied them last; others may have been changed by somebody."""
    now: float = 0.0
