"""What all hosts say of the versions that this host reads of, as the agent writes it for people."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from reconciler.core.text.strict import StrictModel

MAX_FLEET_BYTES = 128 * 1024 * 1024
"""As many reports as are told take less, however long and odd each is."""
MAX_HOST_REPORTS = 20_000
"""Reports that are told; a registry with more has tags that no host of ours wrote."""

_Name = Annotated[str, StringConstraints(max_length=256)]
_Words = Annotated[str, StringConstraints(max_length=1000)]


class HostReport(StrictModel):
    """What one host says of one version of a model."""

    name: _Name
    """Of the model."""
    version: int
    host: _Name
    words: _Words
    """Its state there, and why; anybody who may write to the registry can have written it."""
    seen: AwareDatetime | None = Field(default=None, strict=False)
    """When the host last said that this is true; None where it does not say when."""


class Fleet(StrictModel):
    """What hosts report of the versions that this host has read."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    reports: Annotated[tuple[HostReport, ...], Field(max_length=MAX_HOST_REPORTS)] = ()
    """By name, the highest version first, then by host."""
