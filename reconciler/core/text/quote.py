"""Makes text that others wrote fit for a place: a unit file, one line for people, a tag of the registry.

Foreign text goes into these places through here only; templates are held to it (see reconciler/apply/render.py). The
rules of unit files are in systemd.syntax(7) and systemd.service(5), "Command lines";
tests/system/test_quoting.py asks systemd itself.
"""

import re
import unicodedata

_ESCAPES = {"\\": "\\\\", '"': '\\"', "%": "%%", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_TOKEN = re.compile(r"(?:[A-Za-z0-9_.,:/@+=-]|\\x2d)*")
"""What means the same everywhere in a unit file, quoted or not; `\\x2d` is in the names of slices."""
# Classes of unicodedata.bidirectional and unicodedata.category.
_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})
_MARKS = frozenset({"Mn", "Me"})
_MAX_MARKS = 2
"""Marks on one letter that are left alone; a pile of them paints over the lines above and below."""

_USERINFO = re.compile(r"(?<=://)[^/@\s'\"]+@")
_BEARER = re.compile(r"(?i)\b(bearer|basic|token|password|secret)([\s=:]+)\S+")
_OF_OURS = re.compile(r"[ -~…]*")
"""The printable characters of ASCII, and the one other that our sentences have where something is cut off."""
_MAX_TAG_KEY = 250


class QuotingError(ValueError):
    """A value that its place cannot carry; the message begins with `cannot`."""


class Quoted(str):
    """Text that may go into a unit file as it is."""

    __slots__ = ()


def quote(value: object) -> Quoted:
    """Quote one word of a setting that is a list of words, such as Environment= or LogExtraFields=.

    Raises QuotingError for a character that no unit file can hold.
    """
    escaped = "".join(map(_escape, _text(value)))
    return Quoted(f'"{escaped}"')


def quote_argument(value: object) -> Quoted:
    """Quote one argument of an Exec line, where `$` is special too: systemd would put a variable in its place."""
    return Quoted(quote(value).replace("$", "$$"))


def quote_sentence(value: object) -> Quoted:
    """Write a setting that is one text, such as Description=: there systemd takes quotes and backslashes as they are.

    Such a text cannot hold everything, so it is made `one_line` first.
    """
    line = one_line(_text(value)).replace("%", "%%")
    # A last backslash would join the next line to this one.
    ends_in_a_backslash = line.endswith("\\")
    return Quoted(f"{line}." if ends_in_a_backslash else line)


def safe_token(value: object) -> str:
    """Write a value that needs no quoting, or was quoted. Raises QuotingError for any other.

    Every value of every template comes through here, so that a filter that a template forgets is noticed at once.
    """
    text = str(value)
    is_quoted = isinstance(value, Quoted)
    if is_quoted or _TOKEN.fullmatch(text):
        return text
    raise QuotingError(
        f"cannot write {one_line(repr(text), 80)} unquoted; in the template, put a filter behind the value: "
        "|argument in an Exec line, |sentence in Description=, |quote in other settings"
    )


def one_line(text: str, limit: int = 400) -> str:
    """Return text on one printable line of at most `limit` characters, with what looks like a credential cut out.

    Doing it twice changes nothing.
    """
    # Cut before the patterns search it: a hostile text may have megabytes. Not to `limit` yet: what is cut out below
    # leaves room for what follows.
    text = text[: 16 * limit]
    if "://" in text:
        text = _USERINFO.sub("", text)
    text = _BEARER.sub(r"\1\2…", text)
    line = " ".join(printable(text).split())
    if len(line) <= limit:
        return line
    return line[: limit - 1].rstrip() + "…"


def printable(text: str) -> str:
    """Return text that moves nothing on a terminal: controls become blanks, what would reorder or pile up is escaped.

    The letters of right-to-left scripts reorder the line that they are on, so that a name or a reason could read as
    another one. They are shown as `\\u05d0`.
    """
    # Most text, and our own sentences: this runs over several lines of each deployment in each pass.
    if (text.isascii() and text.isprintable()) or _OF_OURS.fullmatch(text):
        return text
    shown: list[str] = []
    marks = 0
    for char in text:
        # Marks belong to the last letter before them, so any other character begins a new count.
        marks = marks + 1 if _is_mark(char) else 0
        if not char.isprintable():
            shown.append(" ")
        elif marks > _MAX_MARKS or _is_right_to_left(char):
            shown.append(_as_escape(char))
        else:
            shown.append(char)
    return "".join(shown)


def _is_mark(char: str) -> bool:
    """Tell whether a character is drawn over the one before it, such as an accent."""
    # Asked of ASCII first, since this runs over every character of every line.
    return not char.isascii() and unicodedata.category(char) in _MARKS


def _is_right_to_left(char: str) -> bool:
    """Tell whether a character reorders the line that it is on."""
    return not char.isascii() and unicodedata.bidirectional(char) in _RIGHT_TO_LEFT


def _as_escape(char: str) -> str:
    """Write a character as Python writes it in a literal: `\\u05d0`, or `\\U0001e900` beyond four digits."""
    number = ord(char)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def tag_key(prefix: str, text: str) -> str:
    """Name a tag of the registry in the characters and the length that MLflow takes.

    Two texts that differ in other characters only, or beyond the length, come out as one key.
    """
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", text) or "unnamed"
    return f"{prefix}{name}"[:_MAX_TAG_KEY]


def _text(value: object) -> str:
    """Return a value as text. Raises QuotingError where systemd would take the whole line or file for broken."""
    text = str(value)
    for char in text:
        if char == "\0":
            raise QuotingError("cannot write a NUL character into a unit file; choose another value")
        is_half_a_pair = unicodedata.category(char) == "Cs"
        if is_half_a_pair:
            raise QuotingError("cannot write a broken Unicode character into a unit file; choose another value")
        if _is_noncharacter(char):
            # systemd takes a line that holds one for broken UTF-8 and ignores it.
            raise QuotingError(
                f"cannot write U+{ord(char):04X}, which is no character, into a unit file; choose another value"
            )
    return text


def _is_noncharacter(char: str) -> bool:
    """Tell whether Unicode has set a code point aside for good: 32 in one block, and the last two of each plane."""
    number = ord(char)
    is_in_the_block = 0xFDD0 <= number <= 0xFDEF
    is_last_of_a_plane = number & 0xFFFE == 0xFFFE
    return is_in_the_block or is_last_of_a_plane


def _escape(char: str) -> str:
    """Write one character between double quotes, so that systemd reads the same character.

    Letters of all scripts stay as they are: unit files are UTF-8.
    """
    if char in _ESCAPES:
        return _ESCAPES[char]
    is_control = ord(char) < 0x20 or ord(char) == 0x7F
    return f"\\x{ord(char):02x}" if is_control else char
