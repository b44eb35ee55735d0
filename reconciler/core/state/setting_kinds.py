"""The kinds of values that the settings and the tags of a release have, and how a parameter is declared with one.

A kind is written once and says three things: what the settings take, what the text of a tag may be, and the words with
which a wrong tag is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Generic, TypeGuard, TypeVar, cast, get_args

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError

from reconciler.core.text.brokers import Broker
from reconciler.core.text.sizes import CpuQuota, Size
from reconciler.core.units.sandbox_openings import Device, Network

Value = TypeVar("Value")

_A_DAY = 24 * 3600
_A_WEEK = 7 * _A_DAY
_DECLARATION = "declaration"


@dataclass(frozen=True)
class Kind(Generic[Value]):
    """One kind of value."""

    setting: object
    """The type of a setting, as pydantic checks it."""
    tag: TypeAdapter[Value]
    """Reads the text of a tag."""
    wanted: str
    """What a tag should be, as the end of the sentence `it should be …`."""

    def read_tag(self, text: str) -> Value | None:
        """Read the text of a tag; None when it is no value of this kind.

        No kind has None as a value: where "none" is possible, it is 0 or an empty list.
        """
        try:
            return self.tag.validate_python(text)
        except ValidationError:
            return None


@dataclass(frozen=True)
class Declaration(Generic[Value]):
    """What the declaration of a parameter says beside its name and its default."""

    kind: Kind[Value]
    in_settings: Value
    """The default of the setting."""
    by_tag: bool
    """Whether the policy may let a tag set it."""


def declare(kind: Kind[Value], default: Value, *, in_settings: Value | None = None, by_tag: bool = True) -> Value:
    """Declare a field of a dataclass that is a setting, too; the settings and the tags are made from it.

    `default` is what the field means where nobody chose. `in_settings` is the default of the setting `deploy.<field>`,
    if hosts are more careful than that. `by_tag`: whether the policy may let a tag set it.
    """
    setting = default if in_settings is None else in_settings
    declaration = Declaration(kind, setting, by_tag)
    return field(default=default, metadata={_DECLARATION: declaration})


def declarations(declared: type) -> Mapping[str, Declaration[Any]]:
    """List what the fields of a dataclass were declared with, by field, in their order.

    Each of its fields is declared: a KeyError at the start of a program tells of one that is not.
    """
    found = {}
    for declared_field in fields(declared):
        found[declared_field.name] = cast(Declaration[Any], declared_field.metadata[_DECLARATION])
    return found


def _seconds(value: object) -> int:
    """Check a time of at least a second, and of at most a week: more is a mistake in the unit of time."""
    if _is_whole_number(value) and 1 <= int(value) <= _A_WEEK:
        return int(value)
    raise ValueError(f"should be a whole number of seconds, at least 1 and at most {_A_WEEK} (a week)")


def _seconds_or_none(value: object) -> int:
    """Check a time that may be 0, for none."""
    is_zero = value in (0, "0") and not isinstance(value, bool)
    if is_zero:
        return 0
    try:
        return _seconds(value)
    except ValueError:
        # The sentence about a time that has to be says nothing of 0.
        raise ValueError(f"should be a whole number of seconds, 0 for none and at most {_A_WEEK} (a week)") from None


def _is_whole_number(value: object) -> TypeGuard[int | str]:
    """Tell whether a setting is a number without a fraction, or its digits: in the environment everything is text."""
    if isinstance(value, str):
        return value.isascii() and value.isdecimal()
    # In Python, True is an int, too.
    return isinstance(value, int) and not isinstance(value, bool)


Seconds = Annotated[int, BeforeValidator(_seconds)]
SecondsOrNone = Annotated[int, BeforeValidator(_seconds_or_none)]
NotNegativeSize = Annotated[Size, Field(ge=0)]
"""Bytes."""
PositiveSize = Annotated[Size, Field(ge=1)]
"""Bytes, where none would be no limit that anybody means."""
RuntimeName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
"""The name of a folder of templates: it becomes a part of a path."""


def seconds(lowest: int) -> Kind[int]:
    """Make the kind of a time; `lowest` is 1, or 0 where none is possible.

    A tag may have a day at most, a setting a week: root may try what would be a mistake in a tag.
    """
    tag: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=lowest, le=_A_DAY)])
    return Kind(Seconds if lowest else SecondsOrNone, tag, f"a whole number of seconds from {lowest} to {_A_DAY}")


def whole_number(lowest: int, highest: int, unit: str = "") -> Kind[int]:
    """Make the kind of a number within bounds, which are possible, too; `unit` is for people, such as `of percent`."""
    bounded = Annotated[int, Field(ge=lowest, le=highest)]
    what = f"a whole number {unit}" if unit else "a whole number"
    return Kind(bounded, TypeAdapter(bounded), f"{what} from {lowest} to {highest}")


def size(such_as: str) -> Kind[int]:
    """Make the kind of a number of bytes; a tag and a setting are texts such as `64M`, and "" is no limit.

    `such_as`: an example of a likely value, for the sentence that refuses a tag.
    """
    return Kind(NotNegativeSize, TypeAdapter(NotNegativeSize), f"a size such as {such_as}")


def choice(literal: Any) -> Kind[Any]:
    """Make the kind of one of two words, from their Literal.

    It is Kind[Any], since a function's type cannot say "one of this Literal"; mypy checks the default by the field.
    """
    first, second = get_args(literal)
    return Kind(literal, TypeAdapter(literal), f"{first!r} or {second!r}")


# The kinds without bounds of their own.
RUNTIME: Kind[str] = Kind(RuntimeName, TypeAdapter(RuntimeName), "a runtime's name")
QUOTA: Kind[int] = Kind(CpuQuota, TypeAdapter(CpuQuota), "a percentage such as 150%")
FLAG: Kind[bool] = Kind(bool, TypeAdapter(bool), "'true' or 'false'")


def _words(text: object) -> object:
    """Split the text of a tag into words. Anything but a text is left for pydantic to refuse."""
    return text.replace(",", " ").split() if isinstance(text, str) else text


def _in_order(items: tuple[str, ...]) -> tuple[str, ...]:
    """Sort a list and take out what is in it twice: the same list in another order is the same release."""
    return tuple(sorted(set(items)))


def _list(item: object, wanted: str) -> Kind[tuple[str, ...]]:
    """Make the kind of a list; in a tag it is a text of words between blanks or commas."""
    setting = tuple[item, ...]  # type: ignore[valid-type]  # pydantic reads the type when the program runs
    tag: TypeAdapter[tuple[str, ...]] = TypeAdapter(
        Annotated[setting, BeforeValidator(_words), AfterValidator(_in_order)]
    )
    return Kind(setting, tag, f"{wanted}, separated by spaces")


NETWORKS = _list(Network, "networks such as 10.1.2.0/24")
# A tag replaces the list of the settings. So a tag can close what config.toml has opened for all models, too.
DEVICES = _list(Device, "devices such as /dev/nvidia0")
BROKERS = _list(Broker, "addresses such as nats://broker.example.org:4222")
