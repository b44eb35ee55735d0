"""One deployment while it is being planned: what is seen of it, and the actions decided so far."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from reconciler.core.planner import actions as act
from reconciler.core.planner import unit_values
from reconciler.core.planner.actions import Action
from reconciler.core.state.ledger import Ledger, Record, Rules
from reconciler.core.state.reason import Reason
from reconciler.core.state.release import Rollout
from reconciler.core.state.snapshot import Source
from reconciler.core.state.status import Outlook, State
from reconciler.core.text.quote import one_line
from reconciler.core.units import addresses, names
from reconciler.core.units.names import ReleaseId
from reconciler.core.units.observed import File, Observed
from reconciler.core.units.unit_facts import NO_FACTS, UnitFacts

MAX_MESSAGE = 1000


@dataclass(frozen=True)
class Keeping:
    """How long and how many: what is kept of what no longer serves, and how what serves is looked after."""

    releases: int = 1
    """That served before, to go back to."""
    removal_grace: float = 0.0
    """Seconds for which the files of a deployment are kept that is no longer selected."""
    verify_interval: float = 0.0
    """Seconds after which files are compared with their digests again; 0 is never."""


@dataclass(frozen=True)
class Situation:
    """What the planner is told beside the wanted and the observed."""

    steps: unit_values.StepSettings
    port_range: tuple[int, int]
    listening: addresses.Listening = field(default_factory=addresses.Listening)
    now: float = 0.0
    """Seconds on the monotonic clock."""
    ledger: Ledger = field(default_factory=lambda: Ledger(schema=1))
    source: Source | None = None
    """Which registry was asked, and for what; None without a snapshot."""
    known: frozenset[str] = frozenset()
    """Models that the registry has and does not select."""
    rules: Rules = field(default_factory=Rules)
    """What may be removed without a person's yes."""
    rollout: Rollout = field(default_factory=Rollout)
    """How a release is brought up of which only the files are known."""
    keeping: Keeping = Keeping()
    parallel_steps: int = 4
    """How many steps run at once on the host."""
    unselected: Mapping[str, float] = field(default_factory=dict)
    """Since when deployments are known not to be selected, on the monotonic clock."""
    exhausted: frozenset[str] = frozenset()
    """Deployments that were mended too often of late."""
    holds: Mapping[str, str] = field(default_factory=dict)
    """Units that failed and must not be tried yet, with the reason."""
    failed: frozenset[str] = frozenset()
    """Units that failed and have not worked since."""
    refused_ports: frozenset[int] = frozenset()
    """Ports that somebody else holds."""
    paused: frozenset[str] = frozenset()
    """Deployments, and shared units, whose turn has not come again after an action failed."""
    reload_due: bool = False
    """Files were changed and systemd may not have read them."""
    tries: Mapping[str, int] = field(default_factory=dict)
    """How often in a row units failed."""
    unwritten: frozenset[str] = frozenset()
    """Digests that no unit could compare with yet: the disk did not take them."""
    patience: float = 5.0
    """Seconds that a server may take to step aside, to come back, or to do what none of ours ever does."""


@dataclass
class Draft:
    """Actions of one deployment before and after the pass's one reload, and the questions they are decided by."""

    name: str
    seen: Observed
    situation: Situation
    shared: dict[str, act.Render]
    """What this plan already renders for other deployments and must not clash with: environments and sockets."""
    signals: list[act.Signal] = field(default_factory=list)
    """Sent before anything else of any deployment is done, also while this one waits for its next turn."""
    before: list[Action] = field(default_factory=list)
    after: list[Action] = field(default_factory=list)
    mends: list[str] = field(default_factory=list)
    """What is done because of drift, in words."""
    deadlines: list[float] = field(default_factory=list)
    """When, on the monotonic clock, it is worth looking again although nothing happened."""

    def fork(self) -> "Draft":
        """Begin an attempt that may be given up."""
        return replace(
            self,
            shared=dict(self.shared),
            signals=list(self.signals),
            before=list(self.before),
            after=list(self.after),
            mends=list(self.mends),
            deadlines=list(self.deadlines),
        )

    def join(self, attempt: "Draft") -> None:
        """Do as an attempt would."""
        self.shared, self.signals = attempt.shared, attempt.signals
        self.before, self.after = attempt.before, attempt.after
        self.mends, self.deadlines = attempt.mends, attempt.deadlines

    @property
    def socket(self) -> str:
        """The deployment's socket unit."""
        return names.socket_unit(self.name)

    @property
    def record(self) -> Record:
        """What is remembered of the deployment."""
        return self.situation.ledger.record(self.name)

    @property
    def port(self) -> int | None:
        """The port that the socket's file names."""
        file = self.seen.files.get(self.socket)
        return file.facts.port if file else None

    @property
    def address(self) -> str:
        """The address that the socket's file names; somebody may have edited it."""
        file = self.seen.files.get(self.socket)
        return one_line(file.facts.address, 64) if file else ""

    @property
    def active_release(self) -> ReleaseId | None:
        """The release that the socket names."""
        file = self.seen.files.get(self.socket)
        return file.facts.release if file else None

    @property
    def good_release(self) -> ReleaseId | None:
        """The release that last proved itself here, if it still is here."""
        good = self.record.good
        return good if good and self.servers(good) else None

    @property
    def serving_release(self) -> ReleaseId | None:
        """The active release, if it answers, or would be started to; else one that answers in its place."""
        release = self.active_release
        if release and (self.is_partly_up(release) or self.is_idle(release)):
            return release
        # The socket's file could not be written yet, or not be written at all.
        others = (one for one in (self.good_release, *self.releases()) if one)
        return next((one for one in others if self.is_partly_up(one)), None)

    @property
    def listens(self) -> bool:
        """Whether the deployment has its address."""
        return self.seen.unit(self.socket).active == "active"

    def files(self) -> Sequence[str]:
        """Every unit of this deployment that has a file."""
        return self.seen.by_deployment.get(self.name, ())

    def releases(self) -> list[ReleaseId]:
        """Every release of this deployment that has a server unit."""
        found = {server.release for unit in self.files() if (server := names.parse_server(unit))}
        return sorted(found)

    def servers(self, release: str) -> list[str]:
        """The server units of a release that have a file, in the order of their numbers."""
        servers = {server: unit for unit in self.files() if (server := names.parse_server(unit))}
        replicas = sorted(server.replica for server in servers if server.release == release)
        return [names.server_unit(self.name, release, replica) for replica in replicas]

    def facts(self, release: str) -> UnitFacts:
        """What the first of a release's server units says of itself; nothing when it has none."""
        servers = self.servers(release)
        return self.seen.files[servers[0]].facts if servers else NO_FACTS

    def running(self, release: str) -> list[str]:
        """The servers of a release that are not down."""
        return [unit for unit in self.servers(release) if not self.seen.unit(unit).is_down]

    def is_up(self, release: str) -> bool:
        """Whether all servers of a release accept requests."""
        servers = self.servers(release)
        return bool(servers) and all(self.seen.unit(unit).is_up for unit in servers)

    def is_partly_up(self, release: str) -> bool:
        """Whether any server of a release accepts requests."""
        return any(self.seen.unit(unit).is_up for unit in self.servers(release))

    def is_idle(self, release: str) -> bool:
        """Whether a release may end when nobody asks it anything, has done so, and will be started by its address."""
        return (
            self.facts(release).may_idle
            and self.active_release == release
            and self.listens
            and all(self.seen.unit(unit).active == "inactive" for unit in self.servers(release))
        )

    def note(self, unit: str, what: str) -> None:
        """Take note that something is mended that nobody asked the registry for."""
        self.mends.append(f"{what} {unit}")

    def note_start(self, unit: str) -> None:
        """Take note that a unit is started that somebody stopped: it is not under way, and not tried again either."""
        stopped = self.seen.unit(unit).active == "inactive" and self.socket in self.seen.enabled
        if stopped and unit not in self.situation.failed:
            self.note(unit, "started")

    def resume(self, units_: Iterable[str]) -> None:
        """Have those accept again that stand by."""
        self.signals += [act.Resume(self.name, unit) for unit in units_ if self.seen.unit(unit).stands_by]

    def stand_by(self, units_: Iterable[str]) -> None:
        """Have those step aside that accept."""
        self.signals += [act.StandBy(self.name, unit) for unit in units_ if self.seen.unit(unit).is_up]

    def stop(self, unit: str) -> bool:
        """Have a unit stopped and its failure cleared; True when it is already down."""
        seen = self.seen.unit(unit)
        if seen.active == "failed":
            self.before.append(act.ResetFailed(self.name, unit))
        elif not seen.is_down and not seen.is_going_down:
            self.before.append(act.Stop(self.name, unit))
        return seen.is_down

    def stop_after_reload(self, unit: str) -> bool:
        """Have a unit stopped that the socket must not name any more, or it would start it again; True when down."""
        seen = self.seen.unit(unit)
        if seen.active == "failed":
            self.after.append(act.ResetFailed(self.name, unit))
        elif not seen.is_down and not seen.is_going_down:
            self.after.append(act.Stop(self.name, unit))
        return seen.is_down

    def disable(self, units_: Iterable[str]) -> None:
        """Have a boot not start units."""
        doing = [act.Disable(self.name, unit) for unit in units_ if unit in self.seen.enabled]
        self.before += [one for one in doing if one not in self.before]

    def start(self, unit: str) -> None:
        """Have a unit started once systemd has read the files."""
        if self.seen.unit(unit).active == "failed":
            self.after.append(act.ResetFailed(self.name, unit))
        self.after.append(act.Start(self.name, unit))

    def write(self, render: act.Render) -> None:
        """Have a unit rendered, instead of restored where that was decided before."""
        self.before = [one for one in self.before if not (isinstance(one, act.Install) and one.unit == render.unit)]
        self.before.append(render)
        self.shared[render.unit] = render

    def mend(self, wanted: Iterable[str]) -> None:
        """Have the files restored that somebody changed or removed, and drop-ins removed."""
        for unit in wanted:
            file = self.seen.files.get(unit)
            if file is None or act.Install(self.name, unit) in self.before:
                continue
            if not file.intact:
                self.before.append(act.Install(self.name, unit))
                self.note(unit, "restored")
            if file.drop_ins:
                self.before.append(act.RemoveDropIns(self.name, unit))
                self.note(unit, "removed drop-ins of")

    def choose_port(self) -> int | None:
        """Pick a port that no deployment has and nobody else was found to hold; None when there is none."""
        facts = [file.facts for unit, file in self.seen.files.items() if unit != self.socket]
        facts += [render.facts for unit, render in self.shared.items() if unit != self.socket]
        taken = {one.port for one in facts if one.port is not None}
        first, last = self.situation.port_range
        return addresses.choose_port(self.name, first, last, taken | self.situation.refused_ports)

    def outlook(self, state: State, desired: int | None, reason: Reason = Reason.NONE, message: str = "") -> Outlook:
        """Say where the deployment stands, with what can be read off its units."""
        serving = self.active_release if state is State.IDLE else self.serving_release
        return Outlook(
            name=self.name,
            state=state,
            desired_version=str(desired) if desired else None,
            active_version=str(serving.version) if serving else None,
            reason=reason,
            message="; ".join(filter(None, (one_line(message, MAX_MESSAGE), self._opened))),
            url=addresses.url(self.port, self.address) if self.port else None,
            socket=addresses.socket_path(self.name) if self.port else None,
        )

    @property
    def _opened(self) -> str:
        """What of the active release's sandbox the host's settings opened, in words."""
        opened = self.facts(self.active_release).opened if self.active_release else ""
        return f"open to it: {one_line(opened, MAX_MESSAGE)}" if opened else ""

    def blocked(self, desired: int, reason: Reason, why: str) -> Outlook:
        """Nothing more can be done for the wanted release now; what serves goes on serving."""
        state = State.DEGRADED if self.serving_release else State.FAILED
        return self.outlook(state, desired, reason, why)


def clean(deployment: str, unit: str, file: File) -> list[Action]:
    """Have systemd remove a stopped unit's directory, then forget the unit; systemd must know the unit for that."""
    if not file.intact:
        return [act.Install(deployment, unit)]
    return [act.Clean(deployment, unit), act.Remove(deployment, unit)]
