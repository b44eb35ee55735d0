"""What is seen of one deployment: the questions that its plan is decided by. Asking them changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.core.planner.inputs import PlannerInputs
from reconciler.core.state.ledger import Record
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import Outlook, State
from reconciler.core.text.quote import one_line
from reconciler.core.units import addresses, names
from reconciler.core.units.names import ReleaseId
from reconciler.core.units.observed import Observed
from reconciler.core.units.unit_facts import NO_FACTS, UnitFacts

MAX_MESSAGE = 1000


@dataclass
class DeploymentView:
    """One deployment, as the units and the ledger show it."""

    name: str
    seen: Observed
    inputs: PlannerInputs

    @property
    def socket(self) -> str:
        """The deployment's socket unit."""
        return names.socket_unit(self.name)

    @property
    def record(self) -> Record:
        """What is remembered of the deployment."""
        return self.inputs.ledger.record(self.name)

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
