"""Text that others wrote, made fit for one line of a status, a log or a tag: printable, bounded, without secrets."""

import re

_USERINFO = re.compile(r"(?<=://)[^/@\s'\"]+@")
_BEARER = re.compile(r"(?i)\b(bearer|basic|token|password|secret)([\s=:]+)\S+")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def one_line(text: str, limit: int = 400) -> str:
    """Return text on one printable line of at most `limit` characters, with what looks like a credential cut out."""
    text = _BEARER.sub(r"\1\2…", _USERINFO.sub("", text[: 16 * limit]))
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def human_size(count: int) -> str:
    """Write a number of bytes as people read it, such as `1.5 MiB`."""
    size = float(count)
    for unit in _UNITS[:-1]:
        if size < 1024:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} {_UNITS[-1]}"
