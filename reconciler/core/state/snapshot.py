"""The snapshot: one complete, consistent reading of the registry, as the agent writes it."""

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from reconciler.core.units.names import DeployableName

MAX_KNOWN = 100_000
"""Names of models that a snapshot lists beside those that are selected; what is left out counts as not known."""
TAG_PREFIX = "deploy."
MAX_SNAPSHOT_BYTES = 16 * 1024 * 1024

Choose = Literal["first", "newest"]
"""Which of the versions that selectors match: that of the first one that matches, or the newest of them all."""

ShortText = Annotated[str, StringConstraints(max_length=1024)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SelectedVersion(_Strict):
    """One model version that a selector picked."""

    name: DeployableName
    version: int = Field(ge=1, le=9_999_999_999)
    source: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    selected_by: ShortText
    also_matching: tuple[int, ...] = Field(default=(), max_length=1000)
    """Other versions that the same selector matches (several in Production); the highest was taken."""
    settings: dict[ShortText, Annotated[str, StringConstraints(max_length=5000)]] = Field(default={}, max_length=100)
    """Tags `deploy.<key>` without the prefix, the version's over the model's."""


class NotDeployable(_Strict):
    """A selected model that cannot be deployed whatever the host does; its name is for display only."""

    name: ShortText
    why: ShortText


class Source(_Strict):
    """Which registry was asked, and for what: what another source does not select was not taken out of production."""

    registry: ShortText
    workspace: ShortText = ""
    selectors: tuple[ShortText, ...] = Field(default=(), max_length=16)
    choose: Choose = "first"

    @property
    def words(self) -> str:
        """Name it in a sentence."""
        workspace = f", workspace {self.workspace}" if self.workspace else ""
        selectors = f", {' or '.join(self.selectors)}" if self.selectors else ""
        newest = ", the newest of them" if self.choose == "newest" else ""
        return f"the registry at {self.registry}{workspace}{selectors}{newest}"


class Snapshot(_Strict):
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
    known: tuple[DeployableName, ...] = Field(default=(), max_length=MAX_KNOWN)
    """Models that the registry has and does not select; one that is in neither list it does not have, or not show."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [model.name for model in self.models]
        if len(names) != len(set(names)):
            raise ValueError("a model is selected twice")
        return self

    @property
    def source(self) -> Source:
        """Which registry was asked, and for what."""
        return Source(registry=self.registry, workspace=self.workspace, selectors=self.selectors, choose=self.choose)

    def same_selection(self, other: "Snapshot") -> bool:
        """Tell whether another snapshot asks for the same, whenever it was read."""
        return self.model_dump(exclude={"read_at"}) == other.model_dump(exclude={"read_at"})
