"""How documents are read that cross a border of trust: the two base classes of their models."""

from pydantic import BaseModel, ConfigDict


class ClosedModel(BaseModel):
    """A document of our own, which root may edit by hand: no unknown fields, never changed in memory.

    Values may be written in another type that means the same, such as a number in quotes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


class StrictModel(ClosedModel):
    """A document that somebody else may have written: each value has exactly the type of its field, too."""

    # pydantic adds this to the configuration of the base class.
    model_config = ConfigDict(strict=True)
