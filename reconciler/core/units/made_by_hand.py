"""A unit for docker compose that people made by hand, as it was found, so that it can be put back."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from reconciler.core.text.strict import ClosedModel

_Path = Annotated[str, StringConstraints(pattern=r"^/[^\x00\n]{1,4000}$")]


class Link(ClosedModel):
    """A symbolic link of root's."""

    path: _Path
    target: Annotated[str, StringConstraints(pattern=r"^[^\x00\n]{1,4000}$")]


class MadeByHand(ClosedModel):
    """What there is of such a unit."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    unit: str
    text: str
    """What systemd had loaded."""
    links: tuple[Link, ...] = ()
    """The unit's own file, where it is a link, and those that have a boot start it."""
    files: dict[str, str] = Field(default_factory=dict)
    """Texts of the unit's files in /etc/systemd/system that are no links, by path."""
    directory: str = ""
    """Where it worked; "" where it does not say."""
    was_active: bool = True
