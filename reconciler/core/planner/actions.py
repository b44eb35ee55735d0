"""The actions of a plan, as values; `str()` of each is what people read in `reconciler plan` and in the journal."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reconciler.core.state.ledger import Agreed, Ledger, Rejected, Stall
from reconciler.core.state.reason import Reason
from reconciler.core.units.names import ReleaseId
from reconciler.core.units.unit_facts import UnitFacts

Value = str | int | bool | list[str]


@dataclass(frozen=True)
class Action:
    """Something to do to one unit for one deployment (empty for what deployments share)."""

    deployment: str
    unit: str

    verb = "do"

    def __str__(self) -> str:
        return f"{self.verb} {self.unit}"


@dataclass(frozen=True)
class Render(Action):
    """Render a unit from a template, verify it, keep the copy and install it."""

    template: str
    values: Mapping[str, Value]
    facts: UnitFacts

    verb = "write"


@dataclass(frozen=True)
class RestoreFile(Action):
    """Put the rendered copy back where somebody changed or removed it."""

    verb = "restore"


@dataclass(frozen=True)
class RemoveDropIns(Action):
    """Remove what somebody put beside a unit of a release to change it."""

    verb = "remove the drop-ins of"


@dataclass(frozen=True)
class Remove(Action):
    """Remove a unit's file and its rendered copy."""

    verb = "remove"


@dataclass(frozen=True)
class Reload(Action):
    """Make systemd read its unit files again; once a pass."""

    def __str__(self) -> str:
        return "reload systemd's unit files"


@dataclass(frozen=True)
class Start(Action):
    """Ask for a start; a service's progress is observed in later passes, a socket is waited for."""

    verb = "start"


@dataclass(frozen=True)
class Stop(Action):
    """Ask for a stop; observed in later passes."""

    verb = "stop"


@dataclass(frozen=True)
class Signal(Action):
    """Something to have systemd send at once: it needs no file, and nothing else comes before it."""


@dataclass(frozen=True)
class Kill(Signal):
    """Kill all processes of a unit at once; what follows is systemd's own rule for one that ends by a signal."""

    why: str

    verb = "kill"

    def __str__(self) -> str:
        return f"kill {self.unit}: {self.why}"


@dataclass(frozen=True)
class StandBy(Signal):
    """Have a server close its listeners and stay loaded; one that does not is stopped."""

    verb = "put into standby"


@dataclass(frozen=True)
class Resume(Signal):
    """Have a server in standby accept again; one that does not is stopped, to be started anew."""

    verb = "resume"


@dataclass(frozen=True)
class Enable(Action):
    """Have a boot start it."""

    verb = "enable"


@dataclass(frozen=True)
class Disable(Action):
    """Have a boot not start it."""

    verb = "disable"


@dataclass(frozen=True)
class ResetFailed(Action):
    """Clear a failure that has been taken note of."""

    verb = "reset"


@dataclass(frozen=True)
class Clean(Action):
    """Have systemd remove the directories that belong to a stopped unit."""

    verb = "clean"


@dataclass(frozen=True)
class Note(Action):
    """Something to remember; `change` says what becomes of the ledger."""

    def change(self, ledger: Ledger) -> Ledger:
        """Write it down."""
        raise NotImplementedError


@dataclass(frozen=True)
class MarkProven(Note):
    """Take note that a release proved itself."""

    release: ReleaseId

    verb = "accept"

    def change(self, ledger: Ledger) -> Ledger:
        """The release is the good one now."""
        return ledger.with_record(self.deployment, ledger.record(self.deployment).mark_proven(self.release))


@dataclass(frozen=True)
class Reject(Note):
    """Take note that a release failed, so that it is not tried again."""

    release: ReleaseId
    reason: Reason
    message: str
    asked: str
    """What of it is not this host's settings; empty where that is not known."""

    verb = "reject"

    def __str__(self) -> str:
        return f"reject {self.unit}: {self.message}"

    def change(self, ledger: Ledger) -> Ledger:
        """The release is rejected."""
        rejected = Rejected(release=self.release, reason=self.reason, message=self.message, asked=self.asked)
        return ledger.with_record(self.deployment, ledger.record(self.deployment).reject(rejected))


@dataclass(frozen=True)
class StallDeployment(Note):
    """Take note that a deployment was mended too often, and leave it to a person."""

    release: str
    message: str

    def __str__(self) -> str:
        return f"leave {self.deployment} to a person: {self.message}"

    def change(self, ledger: Ledger) -> Ledger:
        """The deployment is stalled."""
        stall = Stall(release=self.release, message=self.message)
        record = ledger.record(self.deployment).model_copy(update={"stalled": stall})
        return ledger.with_record(self.deployment, record)


@dataclass(frozen=True)
class ForgetDeployment(Note):
    """Forget what proved itself of a deployment that is gone."""

    def __str__(self) -> str:
        return f"forget {self.deployment}"

    def change(self, ledger: Ledger) -> Ledger:
        """Only what failed is remembered, and what a person said."""
        forgotten = ledger.with_record(self.deployment, ledger.record(self.deployment).forget_deployment())
        return forgotten.model_copy(update={"prune_confirmed": ledger.prune_confirmed - {self.deployment}})


@dataclass(frozen=True)
class Replaced(Note):
    """Take note that nothing is left of what was to make way for another model's files."""

    def __str__(self) -> str:
        return f"forget the former {self.deployment}"

    def change(self, ledger: Ledger) -> Ledger:
        """What has its number now begins as if there had been nothing."""
        record = ledger.record(self.deployment).forget_deployment().model_copy(update={"replacing": None})
        return ledger.with_record(self.deployment, record)


@dataclass(frozen=True)
class KeepFiles(Note):
    """Take note that the version for which files were to make way is not wanted any more."""

    def __str__(self) -> str:
        return f"keep the files of {self.deployment}"

    def change(self, ledger: Ledger) -> Ledger:
        """Another replacement needs another word."""
        record = ledger.record(self.deployment).model_copy(update={"replacing": None})
        return ledger.with_record(self.deployment, record)


@dataclass(frozen=True)
class WithdrawConfirmation(Note):
    """Take note that a deployment whose removal was confirmed is selected again before it was removed."""

    def __str__(self) -> str:
        return f"keep {self.deployment}, which is selected again"

    def change(self, ledger: Ledger) -> Ledger:
        """Another removal needs another confirmation."""
        return ledger.model_copy(update={"prune_confirmed": ledger.prune_confirmed - {self.deployment}})


@dataclass(frozen=True)
class Agree(Note):
    """Take note of the registry, the selectors and the rules that this host goes by."""

    agreed: Agreed

    def __str__(self) -> str:
        return f"go by {self.agreed.source.words}"

    def change(self, ledger: Ledger) -> Ledger:
        """They are the known ones."""
        return ledger.model_copy(update={"agreed": self.agreed, "registry": None})


@dataclass(frozen=True)
class PinFiles(Note):
    """Take note of the files that a version had when it was first fetched."""

    version: str
    files: str

    verb = "pin the files of"

    def change(self, ledger: Ledger) -> Ledger:
        """What was pinned stays."""
        return ledger.with_record(self.deployment, ledger.record(self.deployment).pin(self.version, self.files))


@dataclass(frozen=True)
class PinEnvironment(Note):
    """Take note of what an environment consists of since it was built; of one that is gone, nothing."""

    environment: str
    content: str

    verb = "pin the environment of"

    def change(self, ledger: Ledger) -> Ledger:
        """A build makes a new one: the same packages built twice are not the same bytes."""
        pinned = {**ledger.environments, self.environment: self.content}
        return ledger.model_copy(update={"environments": {key: one for key, one in pinned.items() if one}})


@dataclass(frozen=True)
class ShowPin(Action):
    """Show units a recorded digest again, of which somebody changed or removed the file."""

    pin: str

    verb = "restore the recorded digest of"


@dataclass(frozen=True)
class EndStall(Note):
    """Take note that what a deployment was left to a person for may have been mended."""

    def __str__(self) -> str:
        return f"look after {self.deployment} again"

    def change(self, ledger: Ledger) -> Ledger:
        """The deployment is not stalled any more."""
        record = ledger.record(self.deployment).model_copy(update={"stalled": None})
        return ledger.with_record(self.deployment, record)


CHANGES_FILES = (Render, RestoreFile, Remove, RemoveDropIns)
SAFETY = (Signal, Reject)
"""What needs neither a disk nor luck: it is done also where another action failed, and before all others."""
_ORDER = (Kill, Resume, StandBy)


def in_order(signals: Iterable[Signal]) -> list[Signal]:
    """Whoever is to answer does so before another stops. Who should not run any more goes first, told no more."""
    once = dict.fromkeys(signals)
    killed = {one.unit for one in once if isinstance(one, Kill)}
    left = [one for one in once if isinstance(one, Kill) or one.unit not in killed]
    return sorted(left, key=lambda one: _ORDER.index(type(one)))
