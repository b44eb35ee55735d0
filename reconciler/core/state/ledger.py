"""What a host must not forget: which releases proved themselves, which failed, and what people asked for.

Only what cannot be observed is in it. It is kept in one file, replaced as a whole. Losing it stops nothing that serves;
what failed is tried once more, and what people said is forgotten: suspensions, confirmations, rollouts on purpose.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from reconciler.core.state.snapshot import Source
from reconciler.core.units.names import ENVIRONMENT_PATTERN, DeployableName, ReleaseId, StrictReleaseId

MAX_REJECTED = 20
"""Rejected releases that are remembered of one deployment, the latest ones."""
MAX_KEPT = 100
MAX_PINS = 1000

EnvironmentId = Annotated[str, StringConstraints(pattern=rf"^{ENVIRONMENT_PATTERN}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Pinned = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,18}\.[0-9a-f]{16}$")]
"""A version and, digested, its source."""
Words = Annotated[str, StringConstraints(max_length=2000)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rejected(_Strict):
    """A release that failed here, or that a person took out of service."""

    release: StrictReleaseId
    reason: Words
    """One word for programs, such as `start-failed`."""
    message: Words
    """One sentence for people."""
    asked: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{16})?$")] = ""
    """What of the release is not this host's settings: `Release.asked`; empty where that is not known."""


class Suspension(_Strict):
    """A person said: leave this deployment alone."""

    by: Words
    why: Words = ""
    since: AwareDatetime
    until: AwareDatetime | None = None
    """None: until somebody resumes it."""

    @property
    def sentence(self) -> str:
        """Say who, why and until when."""
        why = f": {self.why}" if self.why else ""
        until = f"until {self.until:%Y-%m-%d %H:%M:%S %Z}" if self.until else "until it is resumed"
        return f"suspended by {self.by} since {self.since:%Y-%m-%d %H:%M:%S %Z}, {until}{why}"


class Stall(_Strict):
    """What this deployment needed mending of, again and again, until the budget was used up."""

    release: Words
    """The one that was wanted then; another one ends the stall."""
    message: Words


class Replacement(_Strict):
    """A person said: what the registry has under this number by now takes the place of what has it here."""

    origin: Pinned
    by: Words


class Record(_Strict):
    """What is remembered of one deployment."""

    good: StrictReleaseId | None = None
    """The release that last proved itself: went through its soak, or was the first to get ready."""
    before: Annotated[tuple[StrictReleaseId, ...], Field(max_length=MAX_KEPT)] = ()
    """The good ones before it, the latest first."""
    rejected: Annotated[tuple[Rejected, ...], Field(max_length=MAX_REJECTED)] = ()
    """The latest last."""
    suspended: Suspension | None = None
    stalled: Stall | None = None
    generation: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """How often a person asked for a rollout of what runs already; a part of the release's digest."""

    replacing: Replacement | None = None

    files: Annotated[dict[Pinned, Sha256], Field(max_length=MAX_PINS)] = {}
    """One digest over all files of each version, of the first time that it was fetched; nothing changes it."""

    def pin(self, version: str, files: str) -> Self:
        """Take note of what was fetched first."""
        pins = {**self.files, version: self.files.get(version, files)}
        return self.model_copy(update={"files": dict(list(pins.items())[-MAX_PINS:])})

    def rejection(self, release: str) -> Rejected | None:
        """Why a release is not tried here; None when it may be."""
        return next((one for one in self.rejected if one.release == release), None)

    def rejection_of(self, version: int, asked: str) -> Rejected | None:
        """Why a version is not tried with other settings of this host either; None when it may be."""
        return next((one for one in self.rejected if one.asked == asked and one.release.version == version), None)

    def accept(self, release: ReleaseId) -> Self:
        """Take note that a release proved itself."""
        if release == self.good:
            return self
        before = [one for one in (self.good, *self.before) if one is not None and one != release]
        return self.model_copy(update={"good": release, "before": tuple(before[:MAX_KEPT])})

    def reject(self, rejected: Rejected) -> Self:
        """Take note that a release failed; the good one before it is the good one again."""
        others = [one for one in self.rejected if one.release != rejected.release]
        before = tuple(one for one in self.before if one != rejected.release)
        update: dict[str, object] = {"rejected": (*others, rejected)[-MAX_REJECTED:], "before": before}
        if self.good == rejected.release:
            update |= {"good": before[0] if before else None, "before": before[1:]}
        return self.model_copy(update=update)

    def forgive(self, release: ReleaseId | None = None) -> Self:
        """Let a release be tried again, with whatever settings it failed; all of them without a name."""
        version = release.version if release is not None else None
        left = tuple(one for one in self.rejected if version is not None and one.release.version != version)
        return self.model_copy(update={"rejected": left, "stalled": None})

    def forget_deployment(self) -> Self:
        """Keep only what outlives a removal: what failed here would fail again when it is promoted again."""
        return self.model_copy(update={"good": None, "before": (), "stalled": None, "files": {}})


class Rules(_Strict):
    """What may be removed without a person's yes."""

    prune_from: Annotated[int, Field(ge=1)] = 3
    prune_share: Annotated[int, Field(ge=0, le=100)] = 50
    """Removing so many at once, and more than so many percent, needs one."""
    prune_unknown: bool = False
    """Whether what the registry no longer shows at all goes like what was taken out of production."""


class Agreed(_Strict):
    """What this host goes by, because nothing was waiting for a person when it was taken note of."""

    source: Source
    rules: Rules = Rules()


class Ledger(_Strict):
    """The records of all deployments, and which registry they come from."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    registry: Words | None = None
    """Its address, as a version before this one knew it; only read."""
    agreed: Agreed | None = None
    records: dict[DeployableName, Record] = {}
    prune_confirmed: frozenset[DeployableName] = frozenset()
    """Deployments whose removal was held and then confirmed by a person."""

    environments: dict[EnvironmentId, Sha256] = {}
    """One digest over all files of each environment, of when it was built here."""

    def pins(self) -> dict[str, str]:
        """Every digest that files are compared with, by the name of the file that shows it to units."""
        of_models = {f"{name}.{key}": pin for name, one in self.records.items() for key, pin in one.files.items()}
        return {**of_models, **self.environments}

    def record(self, name: str) -> Record:
        """What is remembered of a deployment; an empty record when nothing is."""
        return self.records.get(name) or Record()

    def with_record(self, name: str, record: Record) -> Self:
        """Change what is remembered of a deployment; an empty record is dropped."""
        records: Mapping[str, Record] = {**self.records, name: record}
        return self.model_copy(update={"records": {key: one for key, one in records.items() if one != Record()}})
