"""A plan as it is shown to people and programs: the form of `reconciler plan --json` (docs/plan.schema.json)."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from reconciler.core.state.reason import Reason
from reconciler.core.state.status import State

PLAN_ID_PATTERN = "[0-9a-f]{12}"
PlanId = Annotated[str, StringConstraints(pattern=f"^{PLAN_ID_PATTERN}$")]
Sign = Literal["+", "~", "-"]


# The command may be of another version than the reconciler, so these models pass over fields that they do not know.
class _Part(BaseModel):
    # What is written always has all fields.
    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)


class ShownAction(_Part):
    """One action, in the order in which they are done."""

    do: str
    unit: str
    """Empty for an action that is about no unit."""
    deployment: str
    """Empty for what deployments share."""


class UnitChange(_Part):
    """What is done to one unit, its file or its directories."""

    sign: Sign
    """`+`: a file that is not there yet; `-`: one that goes; `~`: all else."""
    unit: str
    """Empty for what is not about a unit: the ledger, systemd itself."""
    what: str
    """In words, the actions in their order: `write, start`."""
    models: tuple[str, ...] | None = None
    """The deployments that use the environment, if it is a unit that builds one; null for all other units."""


class DeploymentChange(_Part):
    """What becomes of one deployment."""

    name: str
    active_version: str | None
    desired_version: str | None
    state: State
    source: str = ""
    """Where the files of a version come from that is to take the place of another one, or begins; empty for others."""
    changes: tuple[UnitChange, ...] = ()
    under_way: tuple[str, ...] = ()
    """Its units that systemd starts, stops or cleans just now."""
    then: tuple[str, ...] = ()
    """What follows in later passes if nothing fails, in words."""
    waits_for_apply: bool = False
    """Whether all of that waits for `reconciler apply`."""


class Waiting(_Part):
    """A deployment for which nothing is done now, and why."""

    name: str
    state: State
    reason: Reason
    message: str
    tries: int = 0
    """Failures in a row."""
    retry_at: AwareDatetime | None = None
    """When it is tried again; null where it does not wait for that, and where only the reconciler knows."""
    then: tuple[str, ...] = ()
    """What follows if nothing fails, in words."""


class ShownPlan(_Part):
    """What the reconciler does next, what follows, and what waits."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    id: PlanId | Literal[""] = ""
    """What `reconciler apply` confirms; empty where nothing waits for it."""
    mode: Literal["automatic", "confirm"] = "automatic"
    registry_read: bool = True
    """False: this host never accepted a snapshot of the registry, and changes nothing."""
    by: Literal["reconciler", "command"] = "reconciler"
    """Who made it: the running reconciler, or the command, which knows of no wait that the reconciler remembers."""
    actions: tuple[ShownAction, ...] = ()
    """All actions of the next pass, without what waits for `reconciler apply`."""
    under_way: tuple[str, ...] = ()
    deployments: tuple[DeploymentChange, ...] = ()
    shared: tuple[UnitChange, ...] = ()
    """What belongs to no deployment: environments, and the host."""
    waits: tuple[Waiting, ...] = ()

    @property
    def has_changes(self) -> bool:
        """Whether anything is done, is under way, or waits for `reconciler apply`."""
        return bool(self.actions or self.under_way or self.id)
