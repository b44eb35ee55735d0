"""What is told about deployments: the states, and the document that everybody may read."""

from collections import Counter
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from reconciler.core.state.reason import Reason
from reconciler.core.units import status_lines
from reconciler.core.units.logged_example import LoggedExample

MAX_STATUS_BYTES = 16 * 1024 * 1024

_NO_PROOF = frozenset(example.value for example in LoggedExample if not example.is_proof)

Text = Annotated[str, StringConstraints(max_length=5000)]


# docs/reference/states.md is made from these sentences.
class State(StrEnum):
    """Where a deployment stands."""

    PENDING = "pending"
    """This host never accepted a snapshot of the registry. The reconciler changes nothing."""
    PREPARING = "preparing"
    """The steps fetch the files, build the environment and verify both."""
    ROLLING_OUT = "rolling-out"
    """The candidate loads, takes over or is in its soak; or the release before it comes back."""
    SERVING = "serving"
    """The wanted release answers and passed its soak."""
    IDLE = "idle"
    """The release ended because nobody asked it anything. The next request starts it."""
    DEGRADED = "degraded"
    """A release serves, but it is not the wanted one, or a replica is missing."""
    FAILED = "failed"
    """The wanted release is not in service, and no other one is."""
    STALLED = "stalled"
    """Something undoes every repair. An operator has to look."""
    HELD = "held"
    """A change waits for an operator. What served before goes on serving; with `reconcile.mode = "confirm"` a first
    version waits, too."""
    SUSPENDED = "suspended"
    """An operator, or a masked unit, tells the reconciler to leave the deployment alone."""
    REMOVING = "removing"
    """The registry no longer selects the model. The deployment is stopped, its files are kept for a while and then
    removed. Or its files make way for those of another model."""
    NOT_DEPLOYABLE = "not-deployable"
    """The name cannot be a name on this host, or the policy does not allow it."""


# A command or an agent of another version may read the document, so these models pass over fields that they do not
# know. Only root writes it.
class Outlook(BaseModel):
    """Where one deployment stands and why, as the planner sees it."""

    model_config = ConfigDict(frozen=True)

    name: Text
    state: State
    desired_version: Text | None = None
    active_version: Text | None = None
    standby_version: Text | None = None
    """The version that takes over again if the active one fails in its first minutes; None outside of a soak."""
    reason: Reason = Reason.NONE
    """One word for programs, such as `fetch-failed`."""
    message: Text = ""
    """One sentence for people."""
    url: Text | None = None
    """Where it listens, seen from this host."""
    public_url: Text | None = None
    """Where clients elsewhere ask it, as the host's settings say; None where they say nothing."""
    socket: Text | None = None
    nats: Text = ""
    """What its bridge to NATS says of itself; empty where it has none."""
    example: Text = ""
    """Whether the active version has an example that it was tried with, as a word of `LoggedExample`; empty where
    nobody knows."""

    @property
    def serves_untried(self) -> bool:
        """Whether it is known that nothing was tried with the active version before it served."""
        return self.example in _NO_PROOF


# The planner knows no such moment: it is told of the present only.
class DeploymentStatus(Outlook):
    """An outlook with the moment since when it stands, and what was tried in vain."""

    since: AwareDatetime
    """Since when it is in its state. Of one that serves what it should: since when that version serves. Of one that is
    tried again and again: since the first failure."""
    active_since: AwareDatetime | None = None
    """Since when the active version serves."""
    tries: int = 0
    """Failures in a row of what is tried again by itself."""
    next_try: AwareDatetime | None = None
    """When it is tried next; None while it is tried, and where nothing is tried again by itself."""


class RegistryStatus(BaseModel):
    """How fresh the last accepted snapshot is."""

    model_config = ConfigDict(frozen=True)

    reachable: bool
    read_at: AwareDatetime | None
    message: Text = ""
    fresh_for: float | None = None
    """Seconds after `read_at` for which the snapshot counts as fresh."""

    @property
    def why_not_reachable(self) -> str:
        """Why no fresh snapshot comes, as a sentence of its own; only of a registry that is not reachable."""
        return status_lines.why_no_registry(self.message)


class Status(BaseModel):
    """The document in /run that the command and the agent read."""

    model_config = ConfigDict(frozen=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    host: Text
    registry: RegistryStatus
    trouble: Text = ""
    """What the reconciler itself cannot do, in a sentence."""
    is_current: bool = True
    """Whether the last pass saw the deployments; false while a cluster does not show them: this is how they stood."""
    deployments: tuple[DeploymentStatus, ...] = ()


def summary(deployments: tuple[DeploymentStatus, ...]) -> str:
    """Return one sentence about all deployments, for systemctl status.

    It counts the deployments in each state, in the order of `State`: `1 rolling-out, 3 serving`. States that no
    deployment is in are left out.
    """
    if not deployments:
        return "nothing is deployed"
    counts = Counter(deployment.state for deployment in deployments)
    parts = []
    for state in State:
        count = counts[state]
        if count:
            parts.append(f"{count} {state}")
    return ", ".join(parts)
