"""Turns an exception from foreign code into the one sentence that a data scientist reads."""

from __future__ import annotations

import mmap
import re
import sysconfig
import traceback
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

_MAX_LINE = 600
_PACKAGE = str(Path(__file__).parent)
_COMPILED = {".pyx", ".pxd", ".pxi"}  # a compiled extension names its source, wherever that was built
# Words of numba's LLVM, cffi, the dynamic linker and the kernel.
_WANTS_EXECUTABLE_MEMORY = re.compile(
    r"executable memory|write\+execute|executable stack|failed to map segment|\bmmap\b|\bmprotect\b", re.IGNORECASE
)
# Words of Python and of C's library for a limit of the unit, and which setting it is.
_LIMITS = (
    (
        re.compile(r"can't start new thread|resource temporarily unavailable", re.IGNORECASE),
        "it may have started more threads or processes than deploy.tasks_max allows",
    ),
    (
        re.compile(r"no space left on device", re.IGNORECASE),
        "its files are limited: in /tmp and /dev/shm to a quarter of deploy.memory_max each, "
        "what it compiles to deploy.compile_cache",
    ),
)
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
    return line if len(line) <= _MAX_LINE else line[: _MAX_LINE - 1] + "…"


def describe_error(error: BaseException, where: bool = True) -> str:
    """Type and message of `error` and, with `where`, the last line of the model's own code that it went through."""
    raised = model_error(error)
    frame = _last_own_frame(raised)
    message = error_message(raised)
    text = f"{type(raised).__name__}: {message}" if message else type(raised).__name__
    if where and frame is not None:
        text += f" ({Path(frame.file).name} line {frame.line}, in {frame.function})"
    return one_line(text + _hint(message))


def error_place(error: BaseException) -> str:
    """The type of what the model raised and where. Not its message, which may quote the request, a patient's data."""
    raised = model_error(error)
    frame = _last_own_frame(raised)
    place = f" ({Path(frame.file).name} line {frame.line}, in {frame.function})" if frame else ""
    return one_line(f"{type(raised).__name__}{place}")


def _hint(message: str) -> str:
    """What to do about an error that the sandbox causes; empty for all others."""
    if _WANTS_EXECUTABLE_MEMORY.search(message) and not _may_run_code_it_makes():
        return (
            "; this host does not let models run code that they make, which numba, cffi and JAX do: "
            "ask its operators for deploy.executable_memory"
        )
    return next((f"; {limit}" for words, limit in _LIMITS if words.search(message)), "")


@lru_cache(maxsize=1)
def _may_run_code_it_makes() -> bool:
    """Whether this process may have memory that is writable and executable (MemoryDenyWriteExecute= of the unit)."""
    try:
        mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
    except OSError:
        return False
    return True


def error_message(error: BaseException) -> str:
    """What `error` says of itself, as one line."""
    # __str__ may be foreign code, and fail in any way.
    try:
        return one_line(str(error))
    except BaseException as failure:  # noqa: BLE001 - foreign code: whatever comes, there is something to say
        return f"({type(failure).__name__} in its __str__)"


def model_error(error: BaseException) -> BaseException:
    """What the model raised: the first of the chain that passed through its own code, or `error` itself."""
    # MLflow wraps some of what a model raises; its wrapper says nothing that helps the model's author.
    return next((link for link in _chain(error) if _last_own_frame(link) is not None), error)


def error_key(error: BaseException) -> tuple[str, str]:
    """The type of what the model raised, and where: the same for failures with one reason."""
    raised = model_error(error)
    frame = _last_own_frame(raised)
    return type(raised).__name__, f"{frame.file}:{frame.line}" if frame else ""


def raised_at(error: BaseException) -> str:
    """The file and line where `error` was raised, in anybody's code."""
    frames = _frames(error)
    return f"{Path(frames[-1].file).name} line {frames[-1].line}" if frames else "nowhere"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """`error`, then what it was raised from, outermost first."""
    link: BaseException | None = error
    # A chain may lead back to its beginning: foreign code can set __cause__ to anything.
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _last_own_frame(error: BaseException) -> _Frame | None:
    """The last frame that is neither Python's, nor an installed package's, nor ours: the model's own code."""
    return next((frame for frame in reversed(_frames(error)) if _is_models_own(frame.file)), None)


def _frames(error: BaseException) -> list[_Frame]:
    """The frames that `error` went through, without their source: a recursion has a thousand of them."""
    return [
        _Frame(frame.f_code.co_filename, line, frame.f_code.co_name)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]


@lru_cache(maxsize=1000)
def _is_models_own(file: str) -> bool:
    path = Path(file)
    is_installed = bool({"site-packages", "dist-packages"} & set(path.parts)) or path.suffix in _COMPILED
    is_ours = path.is_relative_to(_PACKAGE) or path.is_relative_to(_STANDARD_LIBRARY)
    return not is_installed and not is_ours and not file.startswith("<frozen")
