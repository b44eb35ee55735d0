"""Turns an exception from foreign code into the one sentence that a data scientist reads."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

_LONGEST = 600
_PACKAGE = str(Path(__file__).parent)
_COMPILED = {".pyx", ".pxd", ".pxi"}  # a compiled extension names its source, wherever that was built
_STANDARD_LIBRARY = sysconfig.get_path("stdlib")


class _Frame(NamedTuple):
    file: str
    line: int
    function: str


class CannotServeError(Exception):
    """This release will never answer as it is; the message is the whole sentence, `cannot …: why; do …`."""


def one_line(text: str) -> str:
    """`text` as a single printable line of bounded length: it goes into a unit's status, a header-free log, a table."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    line = " ".join(printable.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def describe(error: BaseException, where: bool = True) -> str:
    """Type and message of `error` and, with `where`, the last line of the model's own code that it went through."""
    named = cause(error)
    frame = _own_frame(named)
    said = message(named)
    text = f"{type(named).__name__}: {said}" if said else type(named).__name__
    if where and frame is not None:
        text += f" ({Path(frame.file).name} line {frame.line}, in {frame.function})"
    return one_line(text)


def message(error: BaseException) -> str:
    """What `error` says of itself, as one line; how it says that may be foreign code, and fail."""
    try:
        return one_line(str(error))
    except BaseException as failure:  # noqa: BLE001 - foreign code: whatever comes, there is something to say
        return f"({type(failure).__name__} in its __str__)"


def cause(error: BaseException) -> BaseException:
    """What the model raised: the first of the chain that passed through its code. MLflow wraps some of that."""
    return next((link for link in _chain(error) if _own_frame(link) is not None), error)


def origin(error: BaseException) -> tuple[str, str]:
    """The type of what the model raised, and where: the same for failures with one reason."""
    named = cause(error)
    frame = _own_frame(named)
    return type(named).__name__, f"{frame.file}:{frame.line}" if frame else ""


def place(error: BaseException) -> str:
    """Where `error` was raised, in whosever code."""
    frames = _frames(error)
    return f"{Path(frames[-1].file).name} line {frames[-1].line}" if frames else "nowhere"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """`error`, then what it was raised from, outermost first."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _own_frame(error: BaseException) -> _Frame | None:
    """The last frame that is neither Python's, nor an installed package's, nor ours: the model's own code."""
    return next((frame for frame in reversed(_frames(error)) if _is_own(frame.file)), None)


def _frames(error: BaseException) -> list[_Frame]:
    """Those that `error` went through, without their source: a recursion has a thousand of them."""
    return [
        _Frame(frame.f_code.co_filename, line, frame.f_code.co_name)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]


@lru_cache(maxsize=1000)
def _is_own(file: str) -> bool:
    path = Path(file)
    installed = {"site-packages", "dist-packages"} & set(path.parts) or path.suffix in _COMPILED
    ours = path.is_relative_to(_PACKAGE) or path.is_relative_to(_STANDARD_LIBRARY)
    return not installed and not ours and not file.startswith("<frozen")
