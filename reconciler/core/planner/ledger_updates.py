"""The actions that change what a host must not forget: what is written into the ledger, and when it is taken back.

`str()` of an action is the line that people read in `reconciler plan` and in the journal. None of them touches a unit;
where one names a unit, it is for that line.
"""

from dataclasses import dataclass

from reconciler.core.planner.unit_actions import Action
from reconciler.core.state.ledger import Agreed, Ledger, Record, Rejected, Stall
from reconciler.core.state.reason import Reason
from reconciler.core.units.names import ReleaseId


@dataclass(frozen=True)
class Note(Action):
    """Something to remember; `change` says what becomes of the ledger."""

    def change(self, ledger: Ledger) -> Ledger:
        """Return the ledger with the note in it.

        To do it twice is to do it once: a pass that was interrupted plans it again.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class RecordNote(Note):
    """Something to remember of one deployment; `change_record` says what becomes of its record."""

    def change(self, ledger: Ledger) -> Ledger:
        """Return the ledger in which only the record of this deployment is changed."""
        record = ledger.record(self.deployment)
        return ledger.with_record(self.deployment, self.change_record(record))

    def change_record(self, record: Record) -> Record:
        """Return the record with the note in it.

        `record` is an empty one where nothing was remembered of the deployment.
        """
        raise NotImplementedError


# What became of releases.


@dataclass(frozen=True)
class MarkProven(RecordNote):
    """Take note that a release proved itself."""

    release: ReleaseId

    # The word that programs which read the plan know.
    verb = "accept"

    def change_record(self, record: Record) -> Record:
        """The release is the good one now."""
        return record.mark_proven(self.release)


@dataclass(frozen=True)
class Reject(RecordNote):
    """Take note that a release failed, so that it is not tried again."""

    release: ReleaseId
    reason: Reason
    message: str
    asked: str
    """What of it is not this host's settings; empty where that is not known."""

    verb = "reject"

    def __str__(self) -> str:
        return f"reject {self.unit}: {self.message}"

    def change_record(self, record: Record) -> Record:
        """The release is rejected; if it was the good one, the one before it is the good one again."""
        rejected = Rejected(release=self.release, reason=self.reason, message=self.message, asked=self.asked)
        return record.reject(rejected)


# What became of deployments.


@dataclass(frozen=True)
class StallDeployment(RecordNote):
    """Take note that a deployment was mended too often, and leave it to a person."""

    release: str
    message: str

    def __str__(self) -> str:
        return f"leave {self.deployment} to a person: {self.message}"

    def change_record(self, record: Record) -> Record:
        """The deployment is stalled, until another release than this one is desired."""
        stall = Stall(release=self.release, message=self.message)
        return record.model_copy(update={"stalled": stall})


@dataclass(frozen=True)
class EndStall(RecordNote):
    """Take note that the reason why a deployment was left to a person may be gone."""

    def __str__(self) -> str:
        return f"look after {self.deployment} again"

    def change_record(self, record: Record) -> Record:
        """The deployment is not stalled any more."""
        return record.model_copy(update={"stalled": None})


@dataclass(frozen=True)
class ForgetDeployment(Note):
    """Forget what proved itself of a deployment that is gone."""

    def __str__(self) -> str:
        return f"forget {self.deployment}"

    def change(self, ledger: Ledger) -> Ledger:
        """Only what failed is remembered, and what a person said, but for the confirmation of this removal."""
        record = ledger.record(self.deployment).forget_deployment()
        # Should it be selected and taken out again, that is another removal, which this yes was not for.
        confirmed = ledger.prune_confirmed - {self.deployment}
        return ledger.with_record(self.deployment, record).model_copy(update={"prune_confirmed": confirmed})


@dataclass(frozen=True)
class Replaced(RecordNote):
    """Take note that nothing is left of the release that was to make way for another model's files."""

    def __str__(self) -> str:
        return f"forget the former {self.deployment}"

    def change_record(self, record: Record) -> Record:
        """The version that has its number now begins as if there had been nothing, but for the yes to it."""
        forgotten = record.forget_deployment()
        return forgotten.model_copy(update={"replacing": None})


# What a person said that does not hold any more.


@dataclass(frozen=True)
class KeepFiles(RecordNote):
    """Take note that the version for which files were to make way is not desired any more."""

    def __str__(self) -> str:
        return f"keep the files of {self.deployment}"

    def change_record(self, record: Record) -> Record:
        """Another replacement needs another word."""
        return record.model_copy(update={"replacing": None})


@dataclass(frozen=True)
class WithdrawConfirmation(Note):
    """Take note that a deployment whose removal was confirmed is selected again before it was removed."""

    def __str__(self) -> str:
        return f"keep {self.deployment}, which is selected again"

    def change(self, ledger: Ledger) -> Ledger:
        """Another removal needs another confirmation."""
        confirmed = ledger.prune_confirmed - {self.deployment}
        return ledger.model_copy(update={"prune_confirmed": confirmed})


@dataclass(frozen=True)
class WithdrawYes(RecordNote):
    """Take note that what an operator said yes to is not what the registry selects any more."""

    def __str__(self) -> str:
        return f"withdraw the yes to the former change of {self.deployment}"

    def change_record(self, record: Record) -> Record:
        """Another change needs another yes."""
        return record.confirm(None)


# What the host goes by, and what it compares files with.


@dataclass(frozen=True)
class Agree(Note):
    """Take note of the registry, the selectors and the rules that this host goes by."""

    agreed: Agreed

    def __str__(self) -> str:
        return f"go by {self.agreed.source.words}"

    def change(self, ledger: Ledger) -> Ledger:
        """They are the known ones."""
        # The address that an earlier version of this product wrote is a part of `agreed` from now on.
        return ledger.model_copy(update={"agreed": self.agreed, "registry": None})


@dataclass(frozen=True)
class PinFiles(RecordNote):
    """Take note of the files that a version had when it was first fetched."""

    version: str
    files: str

    verb = "pin the files of"

    def change_record(self, record: Record) -> Record:
        """A digest that was pinned before stays."""
        return record.pin(self.version, self.files)


@dataclass(frozen=True)
class PinEnvironment(Note):
    """Take note of what an environment consists of since it was built; of one that is gone, nothing."""

    environment: str
    content: str
    """The digest over its files; empty when it is gone."""

    verb = "pin the environment of"

    def change(self, ledger: Ledger) -> Ledger:
        """The latest build counts: the same packages built twice are not the same bytes."""
        pinned = {**ledger.environments, self.environment: self.content}
        left = {environment: content for environment, content in pinned.items() if content}
        return ledger.model_copy(update={"environments": left})
