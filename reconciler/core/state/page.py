"""All that is told of one deployment: the document behind `reconciler status NAME`."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from reconciler.core.state.status import DeploymentStatus, RegistryStatus


class UnitFigures(BaseModel):
    """What systemd shows of one unit, and what a server counts of itself."""

    model_config = ConfigDict(frozen=True)

    unit: str
    state: str
    """systemd's two words, such as `active (running)`."""
    since: AwareDatetime | None = None
    """When it last became active."""
    memory_bytes: int | None = None
    """Of its control group; None where that counts none."""
    memory_max_bytes: int | None = None
    """None: no limit."""
    cpu_seconds: float | None = None
    """Processor time of its control group since its start."""
    restarts: int = 0
    requests: int | None = None
    """Answered since its start, as a server says itself; None of units that answer none."""
    errors: int | None = None
    """Of these, those that were errors of its own."""


class PastRun(BaseModel):
    """A release that served before."""

    model_config = ConfigDict(frozen=True)

    version: int
    release: str
    began: AwareDatetime | None
    """None: it never served."""
    ended: AwareDatetime | None
    why: str
    """Why it ended."""


class Event(BaseModel):
    """A line of the reconciler or the agent in the journal."""

    model_config = ConfigDict(frozen=True)

    at: AwareDatetime
    message: str


class DeploymentPage(BaseModel):
    """What is known of one deployment now. None stands for what the user who asks may not see."""

    model_config = ConfigDict(frozen=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    host: str
    registry: RegistryStatus
    trouble: str = ""
    deployment: DeploymentStatus
    waits_for: str = ""
    """What it waits for; empty where it waits for nothing."""
    to_do: str = ""
    """What a person can do; empty where nothing is to be done."""
    release: str | None = None
    """The active release."""
    opened: str | None = None
    """What of the active release's sandbox is open, in words; empty: nothing."""
    closed: str | None = None
    """What of it is closed that is usually open; empty: nothing."""
    units: tuple[UnitFigures, ...] = ()
    """Its socket and its servers, and steps that run or have failed."""
    before: tuple[PastRun, ...] | None = None
    """The last releases that ended, the latest first."""
    events: tuple[Event, ...] | None = None
    """The last lines of the journal, the latest last."""
