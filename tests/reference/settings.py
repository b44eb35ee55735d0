"""The settings as people read of them: keys, defaults and meanings from config.toml, and what a key may be.

The comments of config/config.toml are the only place where the meanings are written. What a key may be is what the
program says when it refuses something else.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from reconciler.core.registry.tags import SETTABLE
from reconciler.settings.load import SettingsError, load
from tests.reference.text import MADE, fold, item, markdown, page

SHIPPED = Path(__file__).parents[2] / "config" / "config.toml"
_NO_TEXT = '"\\u0000"'
"""A text that no key takes."""
_NUMBER = "a whole number"
_IN_PLAIN_WORDS = {
    "a valid boolean": "true or false",
    "a valid integer": _NUMBER,
    "value is not a valid IPv4 or IPv6 address": "an IPv4 or IPv6 address",
}
"""Of the refusals that are pydantic's own."""


@dataclass(frozen=True)
class Key:
    """One key."""

    name: str
    default: str
    """As TOML."""
    wanted: str
    """What it may be, such as `a size such as 512M`."""
    tag: bool
    """Whether a tag `deploy.<key>` may set it, where the policy allows."""


@dataclass(frozen=True)
class Group:
    """Keys that one text is about."""

    about: str
    keys: tuple[Key, ...]


@dataclass(frozen=True)
class Section:
    """A table of the file."""

    name: str
    about: str
    groups: tuple[Group, ...]


def about_the_file() -> str:
    """Return what the file says of itself, without where its copy lies."""
    head = SHIPPED.read_text().partition("\n\n")[0]
    return _text(head.splitlines()[1:])


@cache
def sections() -> tuple[Section, ...]:
    """Read all sections of the shipped file, in its order."""
    blocks = SHIPPED.read_text().split("\n\n")[1:]
    return tuple(_section(block.splitlines()) for block in blocks)


def _section(lines: list[str]) -> Section:
    head = next(number for number, line in enumerate(lines) if line.startswith("["))
    name = lines[head].strip("[]")
    return Section(name, _text(lines[:head]), tuple(_groups(name, lines[head + 1 :])))


def _groups(section: str, lines: list[str]) -> Iterator[Group]:
    """Yield comments with the keys that follow them."""
    comment: list[str] = []
    keys: list[Key] = []
    for line in lines:
        if line.startswith("#"):
            if keys:
                yield Group(_text(comment), tuple(keys))
                comment, keys = [], []
            comment.append(line)
        else:
            key, _, default = line.partition(" = ")
            tag = section == "deploy" and key in SETTABLE
            keys.append(Key(key, default, wanted(section, key, default), tag))
    yield Group(_text(comment), tuple(keys))


def _text(comment: list[str]) -> str:
    return " ".join(line.removeprefix("#").strip() for line in comment)


def wanted(section: str, key: str, default: str) -> str:
    """Say what a key may be, in the words with which the program refuses another value."""
    example = tomllib.loads(f"x = {default}")["x"]
    if isinstance(example, list):
        is_of_numbers = isinstance(example[0] if example else "", int)
        words = _refusal(section, key, "[0, 0]" if is_of_numbers else f"[{_NO_TEXT}]")
        return words if words.startswith(("a list", "[")) else f"a list, each {words}"
    words = _refusal(section, key, _NO_TEXT)
    if words != _NUMBER:
        return words
    lowest, highest = (_bound(_refusal(section, key, number)) for number in ("-1000000000", "1000000000000"))
    return f"{words} from {lowest} to {highest}"


def _refusal(section: str, key: str, value: str) -> str:
    """Return what the program says that a key should be, when it is given a wrong value."""
    with TemporaryDirectory() as directory:
        file = Path(directory) / "config.toml"
        file.write_text(f"[{section}]\n{key} = {value}\n")
        try:
            load(file)
        except SettingsError as error:
            _, _, said = str(error).partition(f"{section}.{key}: ")
    words = said.removeprefix("should be ").partition("; ")[0]
    return _IN_PLAIN_WORDS.get(words.partition(",")[0], words)


def _bound(words: str) -> str:
    """Read the number at the end of a refusal, such as `greater than or equal to 1`."""
    return words.rpartition(" ")[2]


def settings_page() -> str:
    """Write docs/reference/settings.md."""
    return page(
        "# Settings",
        MADE,
        fold(
            "The file is `/etc/mlflow-reconciler/config.toml`. On an installed host this page is "
            "`man mlflow-reconciler.toml`."
        ),
        fold(markdown(about_the_file())),
        *(block for section in sections() for block in _section_blocks(section)),
    )


def _section_blocks(section: Section) -> Iterator[str]:
    yield f"## [{section.name}]"
    yield fold(markdown(section.about))
    for group in section.groups:
        yield "### " + ", ".join(f"{section.name}.{key.name}" for key in group.keys)
        yield "\n".join(item(f"`{key.name} = {key.default}`", _about_key(key)) for key in group.keys)
        yield fold(markdown(group.about))


def _about_key(key: Key) -> str:
    tag = f"; [tag](tags.md#read-deploykey) `deploy.{key.name}`" if key.tag else ""
    return f"{markdown(key.wanted)}{tag}"
