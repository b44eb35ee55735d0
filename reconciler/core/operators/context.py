"""What has to be known of the deployments when a person asks something of them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from reconciler.core.state.ledger import Agreed, Change
from reconciler.core.state.plan_document import DeploymentChange
from reconciler.core.units.names import ReleaseId


@dataclass(frozen=True)
class DeploymentSummary:
    """Where one deployment stands when something is asked of it."""

    # What is on this host, and what the registry wants of it.
    releases: Collection[ReleaseId] = ()
    """Those that are on this host: they have a server unit."""
    active: ReleaseId | None = None
    desired: ReleaseId | None = None
    """The release that the registry selects; None when it selects none, or one that this host refuses."""
    desired_asked: str = ""
    """`Release.asked` of the desired release."""
    change: Change | None = None
    """What a yes to the desired release would be to; None where changes need none."""
    selected: bool = True
    """Whether the registry selects it at all."""

    # What the guard says.
    held: bool = False
    """Whether its removal waits for a person."""
    waits: bool = False
    """Whether its replacement waits for a person, because it comes from another source than the active release."""

    # What releases are compared by.
    asked: Mapping[ReleaseId, str] = field(default_factory=dict)
    """`Release.asked` of each release on this host; empty where that is not known."""
    taken: str | None = None
    """Number and source of the desired version, where the active release has the number from another source."""

    def asked_of(self, release: ReleaseId) -> str:
        """Return `Release.asked` of a release on this host or of the desired one; empty where it is not known.

        The unit of a release says it; before the desired release has one, only the registry does.
        """
        # Units that an earlier version of this product wrote do not say it.
        of_unit = self.asked.get(release, "")
        if of_unit:
            return of_unit
        if release == self.desired:
            return self.desired_asked
        return ""


@dataclass(frozen=True)
class Proposal:
    """What waits for `reconciler apply`."""

    id: str = ""
    """Empty where nothing waits."""
    changes: Mapping[str, Change] = field(default_factory=dict)
    """By deployment, what a yes is to."""
    deployments: tuple[DeploymentChange, ...] = ()
    """The same as it is shown, sorted by name."""

    @property
    def sentences(self) -> tuple[str, ...]:
        """What becomes of each deployment."""
        said = []
        for one in self.deployments:
            place = f" in place of version {one.active_version}" if one.active_version else ""
            is_removal = self.changes[one.name].is_removal
            said.append(f"{one.name} is removed" if is_removal else f"{one.name} gets {one.desired_version}{place}")
        return tuple(said)


@dataclass(frozen=True)
class RequestContext:
    """What is seen and desired when requests are carried out.

    It is of one moment: a request that is carried out changes the ledger, and the next one needs a new context.
    """

    agreed: Agreed | None
    """The source of the snapshot and the rules of now; None without one."""
    deployments: Mapping[str, DeploymentSummary]
    """Every deployment that is seen or desired."""
    confirms: bool = False
    """Whether changes wait until an operator applies the plan that shows them."""
    proposal: Callable[[], Proposal] = Proposal
    """Tells what waits for that, which takes a plan to know."""

    def held(self) -> list[str]:
        """Return the deployments whose removal waits for a person.

        They are sorted, as people are told their names. A deployment is never here and in `to_be_replaced` at once:
        it waits for one thing.
        """
        held = [name for name, summary in self.deployments.items() if summary.held]
        return sorted(held)

    def to_be_replaced(self) -> list[str]:
        """Return the deployments of which another source's release waits to take the place of the active one.

        They are sorted, as people are told their names.
        """
        waiting = [name for name, summary in self.deployments.items() if summary.waits]
        return sorted(waiting)
