"""What can be asked about one deployment. The plan is decided by the answers; asking changes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reconciler.core.planner.inputs import PlannerInputs
from reconciler.core.planner.remembered import remembered
from reconciler.core.state.ledger import Record
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import Outlook, State
from reconciler.core.text.quote import one_line
from reconciler.core.units import addresses, names
from reconciler.core.units.names import ReleaseId
from reconciler.core.units.observed import Observed
from reconciler.core.units.unit_facts import NO_FACTS, UnitFacts

MAX_MESSAGE = 1000
"""Characters of each part of a message in the status."""
MAX_ADDRESS = 64
"""Characters of an address that are shown."""


@dataclass
class DeploymentView:
    """One deployment, as its units and the ledger show it.

    Every answer follows from `seen` and `inputs`, which do not change in a pass; those that are asked for most are
    remembered. So the order of questions does not matter, and actions that are planned already change no answer.
    """

    name: str
    seen: Observed
    inputs: PlannerInputs

    @remembered
    def socket(self) -> str:
        """Return the name of the deployment's socket unit, whether or not there is one.

        A deployment has one socket for its whole life. The releases take turns in it.
        """
        return names.socket_unit(self.name)

    @remembered
    def bridge(self) -> str:
        """Return the name of the unit that answers requests over NATS, whether or not there is one."""
        return names.bridge_unit(self.name)

    @remembered
    def record(self) -> Record:
        """Return what the ledger remembers of the deployment.

        The record is empty, not missing, for a deployment that the ledger does not know.
        """
        return self.inputs.ledger.record(self.name)

    @property
    def port(self) -> int | None:
        """Return the TCP port that the socket's file names.

        None while there is no such file, or when somebody edited it so that it has no port.
        """
        return self._socket_facts.port

    @property
    def address(self) -> str:
        """Return the address that the socket's file names, fit to be shown; empty while there is no such file."""
        # Somebody may have edited the file, and the address goes into the status.
        return one_line(self._socket_facts.address, MAX_ADDRESS)

    @remembered
    def active_release(self) -> ReleaseId | None:
        """Return the release that the socket's file names.

        None while there is no such file. The release need not have servers: somebody may have removed them.
        """
        return self._socket_facts.release

    @remembered
    def good_release(self) -> ReleaseId | None:
        """Return the release that last passed its soak here.

        None when no release has, or when the host no longer has the server units of the one that did.
        """
        good = self.record.good
        if good is None or not self.servers(good):
            return None
        return good

    @remembered
    def serving_release(self) -> ReleaseId | None:
        """Return the release that answers requests, or that the next request would start.

        This is the active release where possible, else the good release, else any other. None when nobody answers.
        """
        active, good = self.active_release, self.good_release
        if active is not None and self.is_idle(active):
            return active
        # Another release than the active one can answer when the socket's file could not be written, or not yet.
        candidates = [*filter(None, (active, good)), *self.releases()]
        return next(filter(self.is_partly_up, candidates), None)

    @property
    def listens(self) -> bool:
        """Whether systemd holds the deployment's address open.

        Clients can connect then, even while no server runs: their requests wait for one.
        """
        return self.seen.unit(self.socket).active == "active"

    def files(self) -> Sequence[str]:
        """Return every unit of this deployment that has a file, sorted by name.

        The files of environments are not among them: deployments share those.
        """
        return self.seen.by_deployment.get(self.name, ())

    def releases(self) -> list[ReleaseId]:
        """Return every release of this deployment that has a server unit, sorted.

        Names are compared as text, so version 10 comes before version 9. The order only has to be stable.
        """
        return sorted(self._servers)

    def servers(self, release: str) -> list[str]:
        """Return the server units of a release that have a file, in the order of their numbers.

        Empty when the release is not on this host.
        """
        # A release is a text, whoever asks.
        return list(self._servers.get(release, ()))  # type: ignore[call-overload]  # ReleaseId is a str like any other

    def facts(self, release: str) -> UnitFacts:
        """Return what the file of a release's first server says; `NO_FACTS` when the release has no server.

        So a caller may ask for any fact without asking first whether the release is here.
        """
        servers = self.servers(release)
        if not servers:
            return NO_FACTS
        # The servers of a release differ in nothing that a fact says.
        return self.seen.files[servers[0]].facts

    def running(self, release: str) -> list[str]:
        """Return the servers of a release that are not down.

        That includes those in standby, and those that are starting or stopping.
        """
        return [unit for unit in self.servers(release) if not self.seen.unit(unit).is_down]

    def is_up(self, release: str) -> bool:
        """Whether all servers of a release accept requests.

        False for a release that has no servers.
        """
        servers = self.servers(release)
        return bool(servers) and all(self.seen.unit(unit).is_up for unit in servers)

    def is_partly_up(self, release: str) -> bool:
        """Whether any server of a release accepts requests.

        One is enough to serve: all servers of a release share the socket.
        """
        return any(self.seen.unit(unit).is_up for unit in self.servers(release))

    def is_idle(self, release: str) -> bool:
        """Whether a release ends or has ended because nobody asked it anything, and the next request will start it.

        The release must allow that (`idle_timeout`). A release with a failed server is not idle.
        """
        # A stopped server without an open address stays stopped: nobody would start it.
        next_request_starts_it = self.listens and self.active_release == release
        if not next_request_starts_it or not self.facts(release).may_idle:
            return False
        units = map(self.seen.unit, self.servers(release))
        return all(unit.active == "inactive" or unit.is_going_down for unit in units)

    def outlook(self, state: State, desired: int | None, reason: Reason = Reason.NONE, message: str = "") -> Outlook:
        """Return the deployment's line of the status.

        The caller says the state and why; the rest is read off the units. `desired` is the version that the registry
        selects, None (or 0) when it selects none.
        """
        serving, port = self.serving_release, self.port
        standby = self._standby_release
        # A message can quote foreign text, such as the error of a model: it must not fill the status.
        parts = (one_line(message, MAX_MESSAGE), *self._sandbox)
        return Outlook(
            name=self.name,
            state=state,
            # 0 is the version of a name that cannot be deployed at all.
            desired_version=str(desired) if desired else None,
            active_version=str(serving.version) if serving else None,
            standby_version=str(standby.version) if standby else None,
            reason=reason,
            message="; ".join(filter(None, parts)),
            url=addresses.url(port, self.address) if port else None,
            public_url=self.inputs.listening.public_address(self.name, port) if port else None,
            socket=addresses.socket_path(self.name) if port else None,
            # The file was rendered with what the fetch said. The server is not asked: the model's code runs in it.
            example=(self.facts(serving).example or "") if serving else "",
        )

    def blocked(self, desired: int, reason: Reason, why: str) -> Outlook:
        """Return the status of a deployment for whose desired release nothing more can be done now.

        It is degraded while another release serves, and failed when none does.
        """
        serves = self.serving_release is not None
        return self.outlook(State.DEGRADED if serves else State.FAILED, desired, reason, why)

    @property
    def _standby_release(self) -> ReleaseId | None:
        """Return the good release while another one is active and answers: it takes over again if that one fails.

        None outside of a soak. With the strategy `recreate` it is not loaded meanwhile.
        """
        good, active = self.good_release, self.active_release
        is_on_trial = good is not None and active not in (None, good) and self.serving_release == active
        return good if is_on_trial else None

    @remembered
    def _socket_facts(self) -> UnitFacts:
        """Return what the socket's file says; `NO_FACTS` while there is no such file.

        The file stays when the socket is stopped: it remembers the port and the active release.
        """
        file = self.seen.files.get(self.socket)
        if file is None:
            return NO_FACTS
        return file.facts

    @property
    def _sandbox(self) -> Sequence[str]:
        """Say what the active release may reach outside its sandbox, and what it may not do that others may.

        Whoever reads the status must see that, whatever the state is. Nothing is said of a usual sandbox.
        """
        active = self.active_release
        if active is None:
            return ()
        facts = self.facts(active)
        opened = f"open to it: {one_line(facts.opened, MAX_MESSAGE)}" if facts.opened else ""
        return opened, one_line(facts.closed, MAX_MESSAGE)

    @remembered
    def _servers(self) -> Mapping[ReleaseId, Sequence[str]]:
        """Return the deployment's server units that have a file, by release.

        The files decide, not what systemd has loaded: a server that somebody masked or stopped is there as well.
        """
        return self.seen.servers.get(self.name, {})
