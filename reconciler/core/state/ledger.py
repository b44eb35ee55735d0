"""What a host must not forget: which releases proved themselves, which failed, and what people asked for.

Only what cannot be observed is in it. It is kept in one file, replaced as a whole. Losing it stops nothing that serves;
what failed is tried once more, and what people said is forgotten: suspensions, confirmations, rollouts on purpose.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, StringConstraints, field_validator

from reconciler.core.state.snapshot import Source
from reconciler.core.text.strict import ClosedModel
from reconciler.core.units.names import ENVIRONMENT_PATTERN, DeployableName, ReleaseId, StrictReleaseId

MAX_REJECTED = 20
"""Rejected releases that are remembered of one deployment, the latest ones."""
MAX_KEPT = 100
MAX_PINS = 1000
REMOVAL: Literal["removal"] = "removal"

EnvironmentId = Annotated[str, StringConstraints(pattern=rf"^{ENVIRONMENT_PATTERN}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Pinned = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,18}\.[0-9a-f]{16}$")]
"""A version and, digested, its source."""
Confirmed = StrictReleaseId | Literal["removal"]
"""What an operator said yes to: a release, or the end of the deployment."""
Commitment = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{32})?$")]
"""`Release.agreed`; empty for a removal."""
Words = Annotated[str, StringConstraints(max_length=2000)]


@dataclass(frozen=True)
class Change:
    """What a yes is to."""

    to: Confirmed
    commitment: Commitment = ""
    """What tells the release from every other one, also from one that was made to have its name."""

    @property
    def is_removal(self) -> bool:
        """Whether it is the end of the deployment."""
        return self.to == REMOVAL


class Rejected(ClosedModel):
    """A release that failed here, or that a person took out of service."""

    release: StrictReleaseId
    reason: Words
    """One word for programs, such as `start-failed`."""
    message: Words
    """One sentence for people."""
    asked: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{16})?$")] = ""
    """What of the release is not this host's settings: `Release.asked`; empty where that is not known."""


class Suspension(ClosedModel):
    """A person said: leave this deployment alone."""

    by: Words
    why: Words = ""
    since: AwareDatetime
    until: AwareDatetime | None = None
    """None: until somebody resumes it."""

    @property
    def sentence(self) -> str:
        """Who suspended the deployment, since when, until when and why.

        It goes on from the name of the deployment, or after "it is".
        """
        until = f"until {self.until:%Y-%m-%d %H:%M:%S %Z}" if self.until else "until it is resumed"
        why = f": {self.why}" if self.why else ""
        return f"suspended by {self.by} since {self.since:%Y-%m-%d %H:%M:%S %Z}, {until}{why}"


class Stall(ClosedModel):
    """What this deployment needed mending of, again and again, until the budget was used up."""

    release: Words
    """The one that was wanted then; another one ends the stall."""
    message: Words


class Adoption(ClosedModel):
    """A person said: answer over NATS what a unit answers that somebody made by hand."""

    by: Words
    giving_back: bool = False
    """Whether that unit is to answer again."""


class Replacement(ClosedModel):
    """A person said: what the registry has under this number by now takes the place of what has it here."""

    origin: Pinned
    by: Words


class Record(ClosedModel):
    """What is remembered of one deployment. It never changes: each method returns another one.

    The methods keep three things true: the good release is not among those before it, no release is twice among
    them, and a release that is rejected is neither the good one nor among those before it until it proves itself again.
    """

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

    confirmed: Confirmed | None = None
    """What an operator said yes to, while changes wait for that; it may serve by now."""
    commitment: Commitment = ""
    """The rest of what that yes was to."""
    replacing: Replacement | None = None
    adopted: Adoption | None = None

    files: Annotated[dict[Pinned, Sha256], Field(max_length=MAX_PINS)] = Field(default_factory=dict)
    """One digest over all files of each version, of the first time that it was fetched; nothing changes it."""

    def has_yes(self, change: Change | None) -> bool:
        """Whether an operator said yes to just this change."""
        return self.confirmed is not None and change == Change(self.confirmed, self.commitment)

    def confirm(self, change: Change | None) -> Self:
        """Take note of a yes, which takes the place of any other one; of none, forget it."""
        to, commitment = (change.to, change.commitment) if change else (None, "")
        return self.model_copy(update={"confirmed": to, "commitment": commitment})

    def proven(self) -> list[ReleaseId]:
        """Return the releases that proved themselves, the latest first.

        The first of them is the good one, if there is one. Those of them whose files are gone are included.
        """
        if self.good is None:
            return list(self.before)
        return [self.good, *self.before]

    def has_proven(self, version: int) -> bool:
        """Whether a release of this version proved itself, and has not been rejected since."""
        return any(release.version == version for release in self.proven())

    def pin(self, version: str, files: str) -> Self:
        """Take note of the digest of a version's files, unless one was taken note of before.

        `version` is a `Pinned`.
        """
        # What was fetched first counts: files that change later under the same number are somebody's tampering.
        first = self.files.get(version, files)
        pins = list({**self.files, version: first}.items())
        return self.model_copy(update={"files": dict(pins[-MAX_PINS:])})

    def rejection(self, release: str) -> Rejected | None:
        """Return why a release is not tried here; None when it may be.

        Only this very release is meant. The same version with other parameters is another release.
        """
        for rejected in self.rejected:
            if rejected.release == release:
                return rejected
        return None

    def rejection_of(self, version: int, asked: str) -> Rejected | None:
        """Return why a version is not tried with other settings of this host either; None when it may be.

        `asked` is that of the release (`Release.asked`): with other tags or from another source it may be tried.
        """
        for rejected in self.rejected:
            is_same_version = rejected.release.version == version
            if is_same_version and rejected.asked == asked:
                return rejected
        return None

    def mark_proven(self, release: ReleaseId) -> Self:
        """Take note that a release proved itself: it is the good one now.

        The good one until now becomes the first of those before it.
        """
        if release == self.good:
            return self
        before = [former for former in self.proven() if former != release]
        # More of them cannot be kept on disk either: the setting has the same maximum.
        return self.model_copy(update={"good": release, "before": tuple(before[:MAX_KEPT])})

    def reject(self, rejected: Rejected) -> Self:
        """Take note that a release failed, or was taken out of service; what was known of its failure is replaced.

        If it was the good one, the one before it is the good one again.
        """
        # At the end, also when the release was rejected before: the latest rejections are those that are kept.
        others = [other for other in self.rejected if other.release != rejected.release]
        left = (*others, rejected)[-MAX_REJECTED:]
        before = tuple(former for former in self.before if former != rejected.release)
        record = self.model_copy(update={"rejected": left, "before": before})
        was_good = self.good == rejected.release
        if not was_good:
            return record
        good = before[0] if before else None
        return record.model_copy(update={"good": good, "before": before[1:]})

    def forgive(self, release: ReleaseId | None = None) -> Self:
        """Let a version be tried again, with whatever settings it failed; without a release, all of them.

        It ends a stall, too: a person has looked at the deployment.
        """
        left: list[Rejected] = []
        # Not only the release itself: its version with the settings of before is another release, and is meant, too.
        if release is not None:
            version = release.version
            left = [rejected for rejected in self.rejected if rejected.release.version != version]
        return self.model_copy(update={"rejected": tuple(left), "stalled": None})

    def forget_deployment(self) -> Self:
        """Return what outlives a removal: what failed here would fail again when it is promoted again.

        What a person said outlives it, too: a suspension, and the number of rollouts on purpose.
        """
        # The files go with the deployment: its versions are fetched for the first time again.
        # A yes goes with it, but for that to the version for which the files make way.
        left = self if self.replacing else self.confirm(None)
        return left.model_copy(update={"good": None, "before": (), "stalled": None, "files": {}})


class Rules(ClosedModel):
    """What may be removed without a person's yes."""

    prune_from: Annotated[int, Field(ge=1)] = 3
    prune_share: Annotated[int, Field(ge=0, le=100)] = 50
    """Removing so many at once, and more than so many percent, needs one."""
    prune_unknown: bool = False
    """Whether what the registry no longer shows at all goes like what was taken out of production."""


class Agreed(ClosedModel):
    """What this host goes by, because nothing was waiting for a person when it was taken note of."""

    source: Source
    rules: Rules = Rules()


class Ledger(ClosedModel):
    """The records of all deployments, and which registry they come from."""

    # The form of the file, also of the models above: an upgrade reads what an earlier version wrote, so a new field has
    # a default, and none is renamed.
    schema_: Literal[1] = Field(default=1, alias="schema")
    registry: Words | None = None
    """Its address, as a version before this one knew it; only read."""
    agreed: Agreed | None = None
    records: dict[DeployableName, Record] = Field(default_factory=dict)
    prune_confirmed: frozenset[DeployableName] = frozenset()
    """Deployments whose removal was held and then confirmed by a person."""

    environments: dict[EnvironmentId, Sha256] = Field(default_factory=dict)
    """One digest over all files of each environment, of when it was built here."""

    def pins(self) -> dict[str, str]:
        """Return every digest that files are compared with, by the name of the file that shows it to units.

        Those of models are called `<deployment>.<Pinned>`, those of environments by their ids.
        """
        pins: dict[str, str] = {}
        for name, record in self.records.items():
            of_model = {f"{name}.{version}": digest for version, digest in record.files.items()}
            pins.update(of_model)
        pins.update(self.environments)
        return pins

    def record(self, name: str) -> Record:
        """Return what is remembered of a deployment; an empty record when nothing is.

        Asking for a record does not make one.
        """
        found = self.records.get(name)
        if found is None:
            return Record()
        return found

    def with_record(self, name: str, record: Record) -> Self:
        """Return a ledger in which this is remembered of a deployment.

        An empty record is dropped, so that a deployment that is gone for good leaves nothing behind.
        """
        # Only this one is compared: a ledger of a thousand deployments changes several thousand times in their rollout.
        records = {**self.records, name: record}
        if record == Record():
            del records[name]
        return self.model_copy(update={"records": records})

    @field_validator("records", mode="after")
    @classmethod
    def _drop_empty(cls, records: dict[str, Record]) -> dict[str, Record]:
        """Drop what a hand that edited the file may have left empty."""
        return {name: record for name, record in records.items() if record != Record()}
