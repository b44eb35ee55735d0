"""The options that pip takes in a requirements file: which include files, and what to do in place of the others.

Where packages come from is the host's decision, so that each sentence names the host's setting for the purpose.
"""

import re
import shlex
from dataclasses import dataclass
from urllib.parse import urlsplit

from reconciler.core.text.quote import one_line
from reconciler.steps.model_wheels import MAX_LINE, SHIP_IT
from reconciler.steps.step_report import StepError

INCLUDES = frozenset({"--requirement", "--constraint"})

_SHORT = {"-r": "--requirement", "-c": "--constraint", "-i": "--index-url", "-f": "--find-links", "-e": "--editable"}
_FLAGS = frozenset({"--no-index", "--pre", "--prefer-binary", "--require-hashes"})
"""Options without a value."""
_IGNORE = "or build.ignore_index_options switched on"
_INDEX_OPTIONS = {
    "--index-url": f"the index is the host's setting: have build.index_url set to it, {_IGNORE} if the host's index "
    "has the same packages",
    "--extra-index-url": "indexes are the host's setting: have build.index_url set to one that has all packages, or "
    f"build.find_links to a directory with the others, {_IGNORE} if the host has them already",
    "--find-links": f"where wheels are is the host's setting: have build.find_links set, {_IGNORE}, or ship the wheels "
    "inside the model",
    "--no-index": f"whether an index is asked is the host's setting: have build.offline switched on, {_IGNORE}",
    "--trusted-host": "which servers are trusted is the host's setting: have its index (build.index_url) get a "
    f"certificate that the host trusts, {_IGNORE}",
}
_OTHERS = {
    "--pre": "name the version that you want, such as name==2.0rc1, and log the model again",
    "--editable": f"it is a folder of the machine where the model was made; build a wheel of it and {SHIP_IT}",
    "--no-binary": "whether packages are built here is the host's setting: have build.allow_source switched on, and "
    "log the model again without the option",
    "--only-binary": "the host installs wheels only unless build.allow_source says otherwise; log the model again "
    "without the option",
    "--prefer-binary": "the host installs wheels only unless build.allow_source says otherwise; log the model again "
    "without the option",
    "--require-hashes": "whether hashes are required is the host's setting (build.require_hashes); those that are "
    "listed count in any case, so log the model again without the option",
}
_ADDRESSES = frozenset({"--index-url", "--extra-index-url"})
_BEHIND_A_SERVER = re.compile(r"(?<=://)(?:[^/\s?#]*@)?(\[[^\]\s]*\]|[^/\s?#:@'\"]*)[/?#:@]\S*")
"""Whatever an address has beside its server; the server is the group."""
_UNKNOWN = "this host does not know the option; log the model again without it"


@dataclass(frozen=True)
class Option:
    """One option of a line."""

    name: str
    """In its long form."""
    value: str

    @property
    def shown(self) -> str:
        """The option in words for people. Of an address only the server: tokens can be anywhere behind it."""
        try:
            parts = urlsplit(self.value)
            is_odd = not parts.hostname and self.name in _ADDRESSES
            place = f"{parts.scheme}://{parts.hostname}" if parts.hostname else "…" if is_odd else self.value
        except ValueError:
            place = "…"
        return one_line(f"{self.name} {place}", 200)

    @property
    def is_about_an_index(self) -> bool:
        """Whether it says where packages come from, and nothing else."""
        return self.name in _INDEX_OPTIONS

    @property
    def why_not(self) -> str:
        """Why it is refused, and what to do."""
        return _INDEX_OPTIONS.get(self.name) or _OTHERS.get(self.name) or _UNKNOWN


def parse(line: str) -> list[Option]:
    """Read a line that begins with an option; raises StepError when it is none that pip would take."""
    # Looked at first: the time that shlex takes grows with the square of a word's length.
    if len(line) > MAX_LINE:
        raise refused(line, f"it has more than {MAX_LINE} characters; log the model again without it")
    try:
        words = shlex.split(line)
    except ValueError:
        words = []
    if not words or "\\" in line or not line.isprintable():
        raise refused(line, "it cannot be read; log the model again without it")
    options = []
    while words:
        name, value = _split(words.pop(0))
        takes_a_value = name not in _FLAGS
        if takes_a_value and value is None:
            value = words.pop(0) if words and not words[0].startswith("-") else None
        is_whole = (value is not None) == takes_a_value and name.startswith("--")
        if not is_whole:
            raise refused(line, _OTHERS.get(name, "it cannot be read; log the model again without it"))
        options.append(Option(name, value or ""))
    return options


def _split(word: str) -> tuple[str, str | None]:
    """Take a word apart into the option's long name and the value in it, if any: `-cFILE`, `--constraint=FILE`."""
    if word[:2] in _SHORT:
        return _SHORT[word[:2]], word[2:] or None
    name, equals, value = word.partition("=")
    return name, value if equals else None


def refused(line: str, why: str) -> StepError:
    """Make the error of a line that cannot be used; of an address in it only the server is shown."""
    shown = one_line(_BEHIND_A_SERVER.sub(r"\1/…", line), 120)
    return StepError(f"cannot use the model's requirement {shown!r}: {why}")
