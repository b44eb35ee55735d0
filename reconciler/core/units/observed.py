"""What the file system and systemd show, as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from reconciler.core.units import names, status_lines
from reconciler.core.units.names import Step
from reconciler.core.units.unit_facts import NO_FACTS, UnitFacts

RESTARTS_THAT_ARE_ENOUGH = 3
AFTER_SYSTEMD = 5.0
"""Seconds after systemd's own deadline: it comes first, unless a process has had it put off."""


@dataclass(frozen=True)
class Unit:
    """One unit as systemd shows it over D-Bus; the words are systemd's own."""

    name: str
    load: str = "loaded"
    active: str = "inactive"
    sub: str = "dead"
    result: str = "success"
    status_text: str = ""
    exit_status: int = 0
    """Of its last process; systemd's own numbers, above 200, when that could not begin, or what it chose to say."""
    set_up: bool | None = None
    """Whether systemd came to begin its program; None where no command before it could tell.

    Where it did not, `exit_status` is that command's: systemd's word, not the program's own.
    """
    restarts: int = 0
    ever_active: bool = False
    """It got ready at least once since systemd loaded it."""
    invocation: str = ""
    """Hex id of the last start; empty when it never ran."""
    since: float = 0.0
    """When it last became active, in seconds on the monotonic clock; 0 when it never did."""
    ended: float = 0.0
    """When it last failed, on the same clock; 0 when it has not."""
    floods: bool = False
    """It changes so often that its changes are not listened to."""
    changed: float = 0.0
    """When its state last changed, on the same clock; 0 when nobody need know."""
    allowed: float = 0.0
    """Seconds that its unit gives it for the state it is in; 0 for ever, or as long as it is in no hurry."""
    may_repeat_requests: bool = False
    """It may have served before, and has a place to keep what it was sent then."""

    @property
    def words(self) -> str:
        """What it says of itself, as far as others may be told: of a server, what it said before it ever served.

        A process that was sent something could pass it on as its status; one that was not has only itself to speak of.
        """
        is_server = names.parse_server(self.name) is not None
        return "" if is_server and (self.ever_active or self.may_repeat_requests) else self.status_text

    def overdue_at(self, patience: float) -> float | None:
        """When it is to be ended by force, on the same clock; None while it need not hurry.

        A process can have systemd's deadlines put off for ever. A server of ours never reloads, so that it says it does
        is borne for `patience` seconds.
        """
        if self.active == "reloading":
            return self.changed + patience
        return self.changed + self.allowed + AFTER_SYSTEMD if self.allowed else None

    @property
    def is_up(self) -> bool:
        """It runs and, if it is a server, accepts requests."""
        return self.active == "active" and not self.stands_by

    @property
    def stands_by(self) -> bool:
        """A server that is loaded and does not accept."""
        return self.active == "active" and status_lines.stands_by(self.status_text)

    @property
    def counters(self) -> status_lines.Counters:
        """What a server says that it has counted."""
        return status_lines.read_counters(self.status_text)

    @property
    def is_down(self) -> bool:
        """Nothing of it runs, and nothing is about to."""
        return self.active in ("inactive", "failed")

    @property
    def is_going_down(self) -> bool:
        """It stops, or systemd removes its directories: nothing to ask for meanwhile."""
        return self.active in ("deactivating", "maintenance")

    @property
    def has_finished_well(self) -> bool:
        """A oneshot step that did its work."""
        return self.active == "active" and self.sub == "exited"

    @property
    def ends(self) -> int:
        """How often it ended since it was started; systemd counts an end when the restart after it begins."""
        return self.restarts + self._ended

    @property
    def _ended(self) -> bool:
        """It has ended and waits for its restart: the only time when `result` says how."""
        return self.sub == "auto-restart"

    @property
    def environment(self) -> str | None:
        """Which environment a fetch unit says its release needs; its words are not trusted further."""
        return status_lines.read_environment(self.status_text)

    @property
    def files(self) -> str | None:
        """The digest over all files that a fetch unit has fetched."""
        return status_lines.read_files(self.status_text)

    @property
    def content(self) -> str | None:
        """The digest over all files that a build unit has built."""
        return status_lines.read_built(self.status_text)

    @property
    def has_failed(self) -> bool:
        """Failed for good, restarting without a chance to get ready, or done without saying what came of it."""
        return self.active == "failed" or self._starts_in_vain or self._ended_without_a_report

    @property
    def _starts_in_vain(self) -> bool:
        """It never got ready, and there is no reason to expect it to."""
        if self.active != "activating" or self.ever_active:
            return False
        # Who let one whole start timeout pass lets the next ones pass, too.
        timed_out = self._ended and self.result == "timeout"
        return timed_out or self.ends >= RESTARTS_THAT_ARE_ENOUGH

    @property
    def _ended_without_a_report(self) -> bool:
        """A step that ended well and did not tell what the steps after it need."""
        if not self.has_finished_well:
            return False
        step = names.parse_step(self.name)
        if step is not None and step.step is Step.FETCH:
            return self.environment is None or self.files is None
        is_build = names.parse_build(self.name) is not None
        return is_build and self.content is None


@dataclass(frozen=True)
class File:
    """One unit file that carries our mark, in the unit directory or only among the rendered copies."""

    unit: str
    intact: bool = True
    """It is in the unit directory and equals the rendered copy."""
    facts: UnitFacts = NO_FACTS
    """What its own section says."""
    masked: bool = False
    """Somebody masked it."""
    drop_ins: bool = False
    """Somebody put drop-ins beside it."""


@dataclass(frozen=True)
class Observed:
    """Everything that a pass reads before it decides."""

    units: Mapping[str, Unit] = field(default_factory=dict)
    files: Mapping[str, File] = field(default_factory=dict)
    enabled: frozenset[str] = frozenset()
    foreign: frozenset[str] = frozenset()
    """Files that have a name of ours and not our mark: somebody else's, never touched."""
    lost_pins: frozenset[str] = frozenset()
    """Recorded digests, by the names of their files, that units are not shown as they are."""

    @cached_property
    def by_deployment(self) -> Mapping[str, Sequence[str]]:
        """The units of each deployment that have a file, sorted."""
        found: dict[str, list[str]] = {}
        for unit in sorted(self.files):
            if name := names.deployment_of(unit):
                found.setdefault(name, []).append(unit)
        return found

    def builds_of(self, name: str) -> set[str]:
        """The units that make the environments which the versions of a deployment need."""
        steps = [unit for unit in self.by_deployment.get(name, ()) if names.parse_step(unit)]
        needed = {self.unit(unit).environment for unit in steps} - {None, names.HOST_ENVIRONMENT}
        return {names.build_unit(str(one)) for one in needed}

    @property
    def under_way(self) -> Sequence[str]:
        """The units that systemd starts, stops or cleans just now, sorted; what follows is decided afterwards."""
        at_rest = ("active", "inactive", "failed")
        ours = {name: unit for name, unit in self.units.items() if name not in self.foreign}
        return sorted(name for name, unit in ours.items() if unit.active not in at_rest)

    def unit(self, name: str) -> Unit:
        """A unit that systemd has not loaded is one that does not run."""
        return self.units.get(name) or Unit(name, load="not-found")
