"""What the file system and systemd show, as values: units, unit files, and all of them at one moment.

A pass reads everything first and decides afterwards. What happens in between, the next pass sees.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from reconciler.core.units import names, status_lines
from reconciler.core.units.logged_example import LoggedExample
from reconciler.core.units.names import ReleaseId, Step
from reconciler.core.units.unit_facts import NO_FACTS, UnitFacts

RESTARTS_THAT_ARE_ENOUGH = 3
"""Ends before it got ready after which a server counts as failed; one or two may be chance."""
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
    # The times are of the monotonic clock: a host may set its other clock back.
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

        A process that was sent something could pass it on as its status: what patients said would be in the journal.
        One that was never sent anything has only itself to speak of.
        """
        is_server = names.parse_server(self.name) is not None
        may_have_been_sent_something = self.ever_active or self.may_repeat_requests
        if is_server and may_have_been_sent_something:
            return ""
        return self.status_text

    def overdue_at(self, patience: float) -> float | None:
        """When it is to be ended by force, in seconds on the monotonic clock; None while it need not hurry.

        A process can have systemd's deadlines put off for ever, so the reconciler has its own, right after systemd's.
        """
        if self.active == "reloading":
            # A server of ours never reloads. That it says so is borne for `patience` seconds.
            return self.changed + patience
        has_no_deadline = self.allowed == 0
        if has_no_deadline:
            return None
        return self.changed + self.allowed + AFTER_SYSTEMD

    @property
    def is_up(self) -> bool:
        """It runs and, if it is a server, accepts requests.

        systemd says that a server is active from its READY on, which it says in standby, too.
        """
        # Not by its ports: they belong to the socket, which is there while no server is.
        return self.active == "active" and not self.stands_by

    @property
    def stands_by(self) -> bool:
        """It is a server that is loaded and does not accept requests.

        It says so itself: this is no evidence against it or for it, and only a server knows.
        """
        # The last line of a server that has ended may be left to read.
        is_loaded = self.active == "active"
        return is_loaded and status_lines.stands_by(self.status_text)

    @property
    def counters(self) -> status_lines.Counters:
        """How many requests a server says it has answered since its start.

        They begin at 0 again with each restart. Of a line that says nothing of requests, they are 0, too.
        """
        return status_lines.read_counters(self.status_text)

    @property
    def is_down(self) -> bool:
        """Nothing of it runs, and nothing is about to run."""
        # "failed" is down, too: systemd starts such a unit only when it is told to.
        return self.active in ("inactive", "failed")

    @property
    def is_going_down(self) -> bool:
        """It stops, or systemd removes its directories: there is nothing to ask of it meanwhile.

        systemd would refuse a start, or queue it behind the stop.
        """
        return self.active in ("deactivating", "maintenance")

    @property
    def has_finished_well(self) -> bool:
        """It is a step that did its work. Its unit stays active, so that systemd remembers what it said."""
        return self.active == "active" and self.sub == "exited"

    @property
    def ends(self) -> int:
        """How often it ended since it was started.

        systemd counts an end only when the restart after it begins, so that the last end is added while it waits.
        """
        return self.restarts + self._waits_for_its_restart

    @property
    def _waits_for_its_restart(self) -> bool:
        """It has ended and is to be started again: the only time when `result` says how it ended.

        While it runs, `result` is "success", however it ended before.
        """
        return self.sub == "auto-restart"

    @property
    def environment(self) -> str | None:
        """The id of the environment that a fetch says its release needs; its words are not trusted further."""
        return status_lines.read_environment(self.status_text)

    @property
    def files(self) -> str | None:
        """The digest over all files that a fetch has fetched; None of other units.

        The first one for a version is pinned, and later ones are compared with it.
        """
        return status_lines.read_files(self.status_text)

    @property
    def example(self) -> LoggedExample | None:
        """Whether a fetch has found an example in the files; None of other units, and where it does not say."""
        return status_lines.read_example(self.status_text)

    @property
    def content(self) -> str | None:
        """The digest over all files that a build has built; None of other units. It is pinned like `files`."""
        return status_lines.read_built(self.status_text)

    @property
    def has_failed(self) -> bool:
        """It failed for good, it is started again without a chance to get ready, or it is done without a report.

        A server that served and crashed has not failed in this sense: systemd starts it again.
        """
        if self.active == "active" and self.sub != "exited":
            return False  # as most are, and all are asked
        is_given_up = self.active == "failed"
        return is_given_up or self._starts_in_vain or self._ended_without_a_report

    @property
    def _starts_in_vain(self) -> bool:
        """It never got ready, and there is no reason to expect it to.

        systemd would go on for ever: it shows such a unit as "activating" between its starts, too, never as "failed".
        """
        never_got_ready = self.active == "activating" and not self.ever_active
        if not never_got_ready:
            return False
        # A server that let one whole start timeout pass lets the next ones pass, too: they are minutes each.
        timed_out = self._waits_for_its_restart and self.result == "timeout"
        ended_too_often = self.ends >= RESTARTS_THAT_ARE_ENOUGH
        return timed_out or ended_too_often

    @property
    def _ended_without_a_report(self) -> bool:
        """It is a step that ended well and did not tell what the steps after it need.

        Nothing after it could begin, and systemd would not run it again: for systemd it is done.
        """
        is_incomplete = None in self._report
        return self.has_finished_well and is_incomplete

    @property
    def _report(self) -> Sequence[str | None]:
        """What the steps after it need to know from it; None in the place of what it has not told.

        Nothing of a verification: that it ended well is the answer.
        """
        step = names.parse_step(self.name)
        if step is not None and step.step is Step.FETCH:
            return self.environment, self.files
        if names.parse_build(self.name) is not None:
            return (self.content,)
        return ()


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
        """The units of each deployment that have a file, sorted; those that deployments share are in none."""
        found: dict[str, list[str]] = {}
        for unit in sorted(self.files):
            deployment = names.deployment_of(unit)
            if deployment is not None:
                found.setdefault(deployment, []).append(unit)
        return found

    @cached_property
    def servers(self) -> Mapping[str, Mapping[ReleaseId, Sequence[str]]]:
        """The servers of each deployment that have a file, by release, in the order of their numbers."""
        found: dict[str, dict[ReleaseId, list[tuple[int, str]]]] = {}
        for unit in self.files:
            server = names.parse_server(unit)
            if server is not None:
                found.setdefault(server.name, {}).setdefault(server.release, []).append((server.replica, unit))
        # The numbers are compared, not the names: those of the servers 2 to 10 sort in another order.
        return {
            name: {release: [unit for _, unit in sorted(servers)] for release, servers in releases.items()}
            for name, releases in found.items()
        }

    @cached_property
    def ports(self) -> Mapping[int, Sequence[str]]:
        """The units whose files name each port."""
        found: dict[int, list[str]] = {}
        for unit, file in self.files.items():
            if file.facts.port is not None:
                found.setdefault(file.facts.port, []).append(unit)
        return found

    def builds_of(self, name: str) -> set[str]:
        """The units that make the environments which the versions of a deployment need.

        What a version needs, its fetch has said. A model that runs in the product's own environment needs no build.
        """
        builds = set()
        for unit in self.by_deployment.get(name, ()):
            # A server may say what it likes in its line, and could name another model's environment.
            is_step = names.parse_step(unit) is not None
            if not is_step:
                continue
            environment = self.unit(unit).environment
            if environment is None or environment == names.HOST_ENVIRONMENT:
                continue
            builds.add(names.build_unit(environment))
        return builds

    @property
    def under_way(self) -> Sequence[str]:
        """The units that systemd starts, stops or cleans just now, sorted.

        What comes after that is decided when they have come to rest. A foreign unit is nothing to wait for.
        """
        # What is "reloading" moves, too: a server says so that never reloads, and its deadline ends it.
        at_rest = ("active", "inactive", "failed")
        moving = {name for name, unit in self.units.items() if unit.active not in at_rest}
        return sorted(moving - self.foreign)

    def unit(self, name: str) -> Unit:
        """Find a unit by its name. A unit that systemd has not loaded is one that does not run.

        So a caller may ask anything of it: nothing of it is up, and it has not failed.
        """
        found = self.units.get(name)
        if found is None:
            return Unit(name, load="not-found")
        return found
