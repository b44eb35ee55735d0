"""The snapshot: one complete, consistent reading of the registry, as the agent writes it."""

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from reconciler.core.text.strict import StrictModel
from reconciler.core.units.names import DeployableName, Version

MAX_KNOWN = 100_000
"""Names of models that a snapshot lists beside those that are selected; what is left out counts as not known."""
MAX_REPORTS = 100
"""Hosts that one host may wait for."""
# Of the tags of models and versions, only these are settings of deployments.
TAG_PREFIX = "deploy."
MAX_SNAPSHOT_BYTES = 16 * 1024 * 1024

Choose = Literal["first", "newest"]
"""Which of the versions that selectors match: that of the first one that matches, or the newest of them all."""

ShortText = Annotated[str, StringConstraints(max_length=1024)]


class SelectedVersion(StrictModel):
    """One model version that a selector picked."""

    name: DeployableName
    version: Version
    source: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    selected_by: ShortText
    also_matching: tuple[int, ...] = Field(default=(), max_length=1000)
    """Other versions that the same selector matches (several in Production); the highest was taken."""
    settings: dict[ShortText, Annotated[str, StringConstraints(max_length=5000)]] = Field(default={}, max_length=100)
    """Tags `deploy.<key>` without the prefix, the version's over the model's."""
    reports: dict[ShortText, ShortText] = Field(default={}, max_length=MAX_REPORTS)
    """What the hosts that this one waits for say of the version, by host; those that say nothing are missing."""

    # What an auditor asks about. Nothing is decided by it.
    registered_by: ShortText = ""
    """Who made the version, as MLflow says."""
    registered_at: AwareDatetime | None = None
    changed_at: AwareDatetime | None = None
    """When it was changed last in the registry, at the reading that selected it."""
    promoted_by: ShortText = ""
    """What its tag `promoted_by` says."""


class NotDeployable(StrictModel):
    """A selected model that cannot be deployed whatever the host does; its name is for display only."""

    name: ShortText
    why: ShortText


class Source(StrictModel):
    """Which registry was asked, and for what: what another source does not select was not taken out of production."""

    registry: ShortText
    workspace: ShortText = ""
    selectors: tuple[ShortText, ...] = Field(default=(), max_length=16)
    choose: Choose = "first"

    @property
    def words(self) -> str:
        """The source as a part of a sentence: where it is, and what of it is selected.

        Each setting that has its usual value is left out.
        """
        workspace = f", workspace {self.workspace}" if self.workspace else ""
        selectors = f", {' or '.join(self.selectors)}" if self.selectors else ""
        newest = ", the newest of them" if self.choose == "newest" else ""
        return f"the registry at {self.registry}{workspace}{selectors}{newest}"


class Snapshot(StrictModel):
    """What the registry selects for this host at one moment."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    registry: ShortText
    """Its address."""
    workspace: ShortText = ""
    """Of that registry; empty when none was asked for."""
    selectors: tuple[ShortText, ...] = Field(default=(), max_length=16)
    choose: Choose = "first"
    """Which of the versions that the selectors match is taken."""
    read_at: AwareDatetime = Field(strict=False)
    models: tuple[SelectedVersion, ...] = Field(default=(), max_length=10_000)
    not_deployable: tuple[NotDeployable, ...] = Field(default=(), max_length=10_000)
    # The guard needs this: a model that was deleted, or that this host may not see, was not taken out of production.
    known: tuple[DeployableName, ...] = Field(default=(), max_length=MAX_KNOWN)
    """Models that the registry has and does not select; one that is in neither list it does not have, or not show."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        # A deployment has the name of its model, so one name with two versions would be two answers to one question.
        names = [model.name for model in self.models]
        if len(names) != len(set(names)):
            raise ValueError("a model is selected twice")
        return self

    @property
    def source(self) -> Source:
        """Which registry was asked, and for what.

        Another source is another authority: what it does not select was not taken out of production.
        """
        return Source(registry=self.registry, workspace=self.workspace, selectors=self.selectors, choose=self.choose)

    def same_selection(self, other: "Snapshot") -> bool:
        """Whether another snapshot selects the same from the same source, whenever it was read.

        One that differs only in `read_at` confirms this one: nothing has to be written anew.
        """
        # A version's time may change without what is selected, and is only taken along.
        mine = self.model_dump(exclude={"read_at": True, "models": {"__all__": {"changed_at"}}})
        others = other.model_dump(exclude={"read_at": True, "models": {"__all__": {"changed_at"}}})
        return mine == others
