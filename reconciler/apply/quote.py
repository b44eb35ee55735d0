"""Quoting for unit files: whatever a value holds, systemd parses it back as that value and nothing else."""

_ESCAPES = {"\\": "\\\\", '"': '\\"', "%": "%%", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


class QuotingError(ValueError):
    """A value that no unit file can carry."""


def quote(value: object) -> str:
    """Quote one value of a setting such as Environment= or Description=."""
    return '"' + "".join(_escape(char) for char in _text(value)) + '"'


def quote_argument(value: object) -> str:
    """Quote one argument of an Exec line, where `$` is special too."""
    return quote(value).replace("$", "$$")


def _text(value: object) -> str:
    text = str(value)
    if "\0" in text:
        raise QuotingError("cannot write a NUL character into a unit file")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise QuotingError("cannot write a broken Unicode character into a unit file") from None
    return text


def _escape(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if ord(char) < 0x20 or ord(char) == 0x7F:
        return f"\\x{ord(char):02x}"
    return char
