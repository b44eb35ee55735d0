"""The audit log on disk: files of lines that are only ever added to, each up to a size; none of them is removed.

`<state directory>/audit/000001.jsonl`, and so on. A line counts once it is on the disk as a whole. Part of one, of a
write that was interrupted, is cut off at the next start: its entry is in the history still, and is written again.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from reconciler.core.state.audit import NOTHING_BEFORE, Entry, Signer, hash_of, read_line, sealed
from reconciler.core.units import paths
from reconciler.files.atomic import in_words, sync_directory
from reconciler.files.untrusted import UnacceptableFileError, read_own_file

log = structlog.get_logger()

AUDIT_DIRECTORY = Path(paths.STATE_DIRECTORY) / "audit"
MAX_FILE_BYTES = 16 * 1024 * 1024
"""A file that has so many is not added to any more: ten years of a host with a promotion each day."""
_READ_AT_MOST = 4 * MAX_FILE_BYTES
"""The last write may go beyond the maximum."""
_NAME = re.compile(r"[0-9]{6}\.jsonl")


class UnusableAuditError(Exception):
    """A file of the log cannot be read; the message says why."""


@dataclass(frozen=True)
class _End:
    """Where the log ends."""

    file: int
    """The number of the last file; 0 where there is none."""
    size: int
    """Bytes of it that are whole lines."""
    seen: int
    """Bytes that it had when it was looked at."""
    number: int
    """Of the last entry."""
    digest: str
    """What the next line carries."""


class AuditFile:
    """The reconciler's side: adds entries, each sealed with the hash of the line before it."""

    def __init__(self, directory: Path, signer: Signer | None = None) -> None:
        """Go on from what the directory holds; nothing is written before the first entry.

        Where the directory cannot be read, `append` looks again: nothing else waits for that.
        """
        self._directory = directory
        self._signer = signer
        self._end: _End | None = None
        with suppress(OSError):
            self._end = self._find_end()

    @property
    def last_number(self) -> int:
        """The number of the last entry that is in the log; 0 where there is none, or none can be read now."""
        return self._end.number if self._end else 0

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries, all or none of them, and make them durable. Raises OSError."""
        begin = self._end
        if begin is None:
            begin = self._find_end()
            # Nobody could tell before which of them are in the log already.
            entries = [entry for entry in entries if entry.number > begin.number]
        elif self._has_changed(begin):
            # Somebody else was here. What is there stays, and the chain shows where this went on from it.
            log.error(f"somebody changed the audit log in {self._directory}; see reconciler history --export")
            begin = self._find_end()
        end, lines = begin, []
        for entry in entries:
            line = sealed(entry, end.digest, self._signer)
            lines.append(line + b"\n")
            end = replace(end, number=entry.number, digest=hash_of(line))
        content = b"".join(lines)
        is_new = begin.file == 0 or begin.size >= MAX_FILE_BYTES
        file, size = (begin.file + 1, 0) if is_new else (begin.file, begin.size)
        self._directory.mkdir(mode=0o700, exist_ok=True)
        try:
            _add(self._path(file), size, content)
        except OSError:
            # What was left of an interrupted write is cut off by now, and that was not somebody else.
            self._end = replace(begin, seen=_size(self._path(begin.file)))
            raise
        if is_new:
            sync_directory(self._directory)
        size += len(content)
        self._end = replace(end, file=file, size=size, seen=size)

    def _path(self, file: int) -> Path:
        return self._directory / f"{file:06}.jsonl"

    def _has_changed(self, end: _End) -> bool:
        return _size(self._path(end.file)) != end.seen

    def _find_end(self) -> _End:
        """Look for the last whole line, in the last file that can be read and has one. Raises OSError."""
        files = _files(self._directory)
        latest = int(files[-1].stem) if files else 0
        for path in reversed(files):
            try:
                content = read_own_file(path, _READ_AT_MOST)
            except UnacceptableFileError as error:
                log.error(f"cannot use a file of the audit log: {error}; the log goes on in another")  # noqa: TRY400 - the sentence says all
                latest += path == files[-1]  # never into what is not ours
                continue
            whole = content[: content.rfind(b"\n") + 1]
            if not whole:
                continue
            line = whole[:-1].rpartition(b"\n")[2]
            size = len(whole) if path == self._path(latest) else 0
            return _End(latest, size, _size(self._path(latest)), _number(line, path), hash_of(line))
        return _End(latest, 0, _size(self._path(latest)), 0, NOTHING_BEFORE)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def _number(line: bytes, path: Path) -> int:
    try:
        return read_line(line)[0].number
    except ValueError:
        log.error(f"the last line of {path} is no entry of the audit log; see reconciler history --export")  # noqa: TRY400 - the sentence says all
        return 0


def _files(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if _NAME.fullmatch(path.name))
    except FileNotFoundError:
        return []


def _add(path: Path, size: int, content: bytes) -> None:
    """Add to a file that is to have `size` bytes: what is beyond them is part of a line. Raises OSError, about it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
        try:
            os.ftruncate(descriptor, size)
            try:
                _write(descriptor, size, content)
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _write(descriptor: int, place: int, content: bytes) -> None:
    """Write all of it; a full disk may take a part first."""
    while content:
        written = os.pwrite(descriptor, content, place)
        place, content = place + written, content[written:]


def audit_lines(directory: Path = AUDIT_DIRECTORY) -> Iterator[bytes]:
    """Read the lines of the log, the oldest first, without their line breaks. Raises UnusableAuditError.

    Part of a line at the end is passed over: it does not count yet.
    """
    try:
        files = _files(directory)
    except OSError as error:
        raise UnusableAuditError(in_words(error)) from error
    for path in files:
        try:
            content = read_own_file(path, _READ_AT_MOST)
        except UnacceptableFileError as error:
            raise UnusableAuditError(str(error)) from error
        yield from content[: content.rfind(b"\n") + 1].splitlines()


def audit_entries(lines: Iterable[bytes]) -> Iterator[Entry]:
    """Read entries. Raises UnusableAuditError where a line is none."""
    for line in lines:
        try:
            yield read_line(line)[0]
        except ValueError as error:
            raise UnusableAuditError(f"a line of the audit log is no entry: {line[:80]!r}") from error
