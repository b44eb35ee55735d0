"""Makes text that others wrote fit for a place: a unit file, one line for people, a tag of the registry.

Nothing foreign goes into any of them but through here; templates are held to it (see reconciler/apply/render.py).
"""

import re
import unicodedata

_ESCAPES = {"\\": "\\\\", '"': '\\"', "%": "%%", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_TOKEN = re.compile(r"(?:[A-Za-z0-9_.,:/@+=-]|\\x2d)*")
"""What means the same everywhere in a unit file, quoted or not; `\\x2d` is in the names of slices."""
_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
_MARKS = frozenset({"Mn", "Me"})
_MAX_MARKS = 2
"""Marks on one letter that are left alone; a pile of them paints over the lines above and below."""

_USERINFO = re.compile(r"(?<=://)[^/@\s'\"]+@")
_BEARER = re.compile(r"(?i)\b(bearer|basic|token|password|secret)([\s=:]+)\S+")
_MAX_TAG_KEY = 250


class QuotingError(ValueError):
    """A value that its place cannot carry; the message begins with `cannot`."""


class Quoted(str):
    """Text that may go into a unit file as it is."""

    __slots__ = ()


def quote(value: object) -> Quoted:
    """Quote one word of a setting that is a list of words, such as Environment= or LogExtraFields=."""
    return Quoted('"' + "".join(_ESCAPES.get(char) or _escape(char) for char in _text(value)) + '"')


def quote_argument(value: object) -> Quoted:
    """Quote one argument of an Exec line, where `$` is special too."""
    return Quoted(quote(value).replace("$", "$$"))


def quote_sentence(value: object) -> Quoted:
    """Write a setting that is one text, such as Description=: there systemd takes quotes and backslashes as they are.

    Such a text cannot hold everything, so it is made `one_line` first.
    """
    line = one_line(_text(value)).replace("%", "%%")
    return Quoted(f"{line}." if line.endswith("\\") else line)  # a last backslash would take the next line in


def safe_token(value: object) -> str:
    """Write a value that needs no quoting, or was quoted. Raises QuotingError for any other."""
    text = str(value)
    if isinstance(value, Quoted) or _TOKEN.fullmatch(text):
        return text
    raise QuotingError(
        f"cannot write {one_line(repr(text), 80)} unquoted; in the template, put a filter behind the value: "
        "|argument in an Exec line, |sentence in Description=, |quote in other settings"
    )


def one_line(text: str, limit: int = 400) -> str:
    """Return text on one printable line of at most `limit` characters, with what looks like a credential cut out."""
    text = _BEARER.sub(r"\1\2…", _USERINFO.sub("", text[: 16 * limit]))
    line = " ".join(printable(text).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def printable(text: str) -> str:
    """Return text that moves nothing on a terminal: controls become blanks, what would reorder or pile up is escaped.

    The letters of right-to-left scripts reorder the line that they are on, so that a name or a reason could read as
    another one. They are shown as `\\u05d0`.
    """
    shown: list[str] = []
    marks = 0
    for char in text:
        marks = marks + 1 if not char.isascii() and unicodedata.category(char) in _MARKS else 0
        if not char.isprintable():
            shown.append(" ")
        elif marks > _MAX_MARKS or (not char.isascii() and unicodedata.bidirectional(char) in _RIGHT_TO_LEFT):
            shown.append(f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}")
        else:
            shown.append(char)
    return "".join(shown)


def tag_key(prefix: str, text: str) -> str:
    """Name a tag of the registry in the characters and the length that MLflow takes."""
    return (prefix + (re.sub(r"[^A-Za-z0-9_.-]", "-", text) or "unnamed"))[:_MAX_TAG_KEY]


def _text(value: object) -> str:
    text = str(value)
    for char in text:
        if char == "\0":
            raise QuotingError("cannot write a NUL character into a unit file; choose another value")
        if unicodedata.category(char) == "Cs":
            raise QuotingError("cannot write a broken Unicode character into a unit file; choose another value")
        if 0xFDD0 <= ord(char) <= 0xFDEF or ord(char) & 0xFFFE == 0xFFFE:
            # systemd takes a line that holds one for broken UTF-8 and ignores it.
            raise QuotingError(
                f"cannot write U+{ord(char):04X}, which is no character, into a unit file; choose another value"
            )
    return text


def _escape(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 0x20 or ord(char) == 0x7F else char
