"""The snapshot: one complete, consistent reading of the registry, as the agent writes it."""

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from reconciler.core.names import DeployableName

TAG_PREFIX = "deploy."
MAX_SNAPSHOT_BYTES = 16 * 1024 * 1024

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


class Snapshot(_Strict):
    """What the registry selects for this host at one moment."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    registry: ShortText
    read_at: AwareDatetime = Field(strict=False)
    models: tuple[SelectedVersion, ...] = Field(default=(), max_length=10_000)
    not_deployable: tuple[NotDeployable, ...] = Field(default=(), max_length=10_000)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [model.name for model in self.models]
        if len(names) != len(set(names)):
            raise ValueError("a model is selected twice")
        return self

    def same_selection(self, other: "Snapshot") -> bool:
        """Tell whether another snapshot asks for the same, whenever it was read."""
        return self.model_dump(exclude={"read_at"}) == other.model_dump(exclude={"read_at"})
