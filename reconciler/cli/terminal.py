"""What the terminal can show: its size, its colours, and text cut or folded to a width."""

import os
import shutil
import sys
import unicodedata
from collections.abc import Iterator

_CODES = {"red": "31", "green": "32", "yellow": "33", "bold": "1"}
MAX_SHOWN = 2000
"""Characters of one sentence."""
_UNKNOWN_SIZE = (80, 24)


def width() -> int | None:
    """Return the columns of the terminal; None where the output goes elsewhere, and has no width."""
    return shutil.get_terminal_size(_UNKNOWN_SIZE).columns if sys.stdout.isatty() else None


def height() -> int:
    """Return the lines of the terminal."""
    return shutil.get_terminal_size(_UNKNOWN_SIZE).lines


def paint(text: str, colour: str) -> str:
    """Colour text where a terminal shows it, unless NO_COLOR is set (no-color.org)."""
    is_plain = not sys.stdout.isatty() or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return text if is_plain or not colour or not text else f"\x1b[{_CODES[colour]}m{text}\x1b[0m"


def columns(text: str) -> int:
    """Return how many columns printable text takes: two for a wide character, none for a mark on another one."""
    return len(text) if text.isascii() else sum(map(_columns_of, text))


def pad(text: str, size: int) -> str:
    """Fill text up with blanks to a number of columns."""
    return text + " " * max(0, size - columns(text))


def cut(text: str, size: int) -> str:
    """Shorten text to a number of columns, 0 or more, with "…" for what is left out."""
    if columns(text) <= size:
        return text
    kept, used = [], 0
    for character in text:
        used += _columns_of(character)
        if used > size - 1:
            break
        kept.append(character)
    return "".join(kept).rstrip() + "…" if size > 0 else ""


def fold(text: str, size: int | None) -> list[str]:
    """Break text at blanks into lines of a number of columns; a word that is longer gets a line of its own, unbroken.

    None: everything on one line.
    """
    return hang("", text, size)


def hang(begin: str, text: str, size: int | None, indent: str | None = None) -> list[str]:
    """Break text like `fold` behind `begin`; further lines begin with `indent`, or as many blanks as `begin` has."""
    if size is None:
        return [begin + text]
    blanks = " " * columns(begin) if indent is None else indent
    first, *more = _folded(text, size - columns(begin), size - columns(blanks))
    return [begin + first, *(blanks + line for line in more)]


def _folded(text: str, first: int, others: int) -> Iterator[str]:
    """Yield the lines of a text; the first has another number of columns than the others."""
    line, size = "", first
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if line and columns(longer) > size:
            yield line
            line, size = word, others
        else:
            line = longer
    yield line


def _columns_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
