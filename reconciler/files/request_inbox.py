"""Requests of people: one file each, which the command writes (request_client.py) and the reconciler takes and answers.

In a directory of root's, `<id>.json` is a request, `<id>.taken` one that is being carried out, `<id>.answer` what
became of it. Taking is a rename, so a request is either taken back by who wrote it or carried out, never both, never
twice: the answer to one that a killed reconciler had taken is that nobody knows whether it was carried out.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import structlog
from pydantic import Field, ValidationError

from reconciler.core.operators.carry_out import carry_out
from reconciler.core.operators.context import RequestContext
from reconciler.core.operators.requests import RefusedRequestError, Request
from reconciler.core.state.ledger import Ledger
from reconciler.core.text.quote import one_line
from reconciler.core.text.strict import StrictModel
from reconciler.core.units import paths
from reconciler.files.atomic import clear, in_words, replace_file
from reconciler.files.ledger_file import LedgerFile
from reconciler.files.untrusted import UnacceptableFileError, read_foreign_file

log = structlog.get_logger()

REQUESTS = Path(paths.RUN_DIRECTORY) / "requests"
"""In memory: going back must not need a disk."""
MAX_BYTES = 16 * 1024
MAX_ANSWER = 4000
STALE = 120.0
"""Seconds after which nobody waits for a request any more, so that it must not be carried out."""
ABANDONED = 3600.0
"""Seconds after which what nobody fetched is removed."""
_ID = re.compile(r"[0-9a-z-]{1,64}")


class Answer(StrictModel):
    """What became of a request."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    ok: bool
    message: str


@dataclass(frozen=True)
class Done:
    """A request that was answered, for the journal."""

    request: Request
    ok: bool
    message: str


class Requests:
    """The reconciler's side."""

    def __init__(self, directory: Path = REQUESTS, owner: int = 0) -> None:
        """Take requests that user `owner` put into `directory`."""
        self._directory = directory
        self._owner = owner

    def prepare(self) -> None:
        """Make the directory, and answer what a reconciler before this one took and did not answer."""
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            log.warning(f"cannot take requests: {in_words(error)}")
        for path in self._list(".taken"):
            if not path.with_suffix(".answer").exists():
                unknown = "it was interrupted; see reconciler status for whether it was done, and ask again if not"
                self.answer(path.stem, False, f"cannot tell what the reconciler did: {unknown}")
            _remove(path)

    def serve(self, ledger: LedgerFile, facts: Callable[[Ledger], RequestContext], now: datetime) -> tuple[Done, ...]:
        """Carry out what is asked, one after the other, and answer; `facts` are asked for anew each time."""
        done = []
        for identity, request in self.pending(now.timestamp()):
            try:
                changed, message = carry_out(ledger.ledger, request, facts(ledger.ledger), now)
            except RefusedRequestError as error:
                done.append(Done(request, False, str(error)))
            else:
                ledger.write(changed)
                until = f"; until that is mended, a restart of the reconciler forgets it: {ledger.problem}"
                done.append(Done(request, True, message + (until if ledger.problem else "")))
            self.answer(identity, done[-1].ok, done[-1].message)
        self.sweep(now.timestamp())
        return tuple(done)

    def pending(self, now: float) -> Iterator[tuple[str, Request]]:
        """Take the requests, the oldest first; what is none, or was asked too long ago, is answered here.

        `now` is in seconds since the epoch. Each is taken when it is asked for, and is to be answered before the next.
        """
        for path in self._list(".json"):
            taken = path.with_suffix(".taken")
            try:
                path.rename(taken)
            except FileNotFoundError:
                continue  # it was taken back
            except OSError as error:
                log.warning(f"cannot take the request {path}: {error.strerror}")
                continue
            try:
                file = read_foreign_file(taken, self._owner, MAX_BYTES)
                request = Request.model_validate_json(file.content)
            except (UnacceptableFileError, ValidationError) as error:
                why = str(error) if isinstance(error, UnacceptableFileError) else error.errors()[0]["msg"]
                log.warning(f"cannot carry out the request {path}: {why}")
                self.answer(path.stem, False, f"cannot carry out the request: {why}; ask with the reconciler command")
                continue
            if now - file.touched > STALE:
                self.answer(path.stem, False, "cannot carry out the request: it is too old; ask again")
                continue
            yield path.stem, request

    def answer(self, identity: str, ok: bool, message: str) -> None:
        """Say what became of a request. Where that cannot be written, nobody is told, and it is not done twice."""
        try:
            content = Answer(schema=1, ok=ok, message=one_line(message, MAX_ANSWER)).model_dump_json(by_alias=True)
            replace_file(self._directory / f"{identity}.answer", content.encode(), 0o600)
        except OSError as error:
            log.warning(f"cannot answer a request: {in_words(error)}; the answer is: {message}")
        _remove(self._directory / f"{identity}.taken")

    def sweep(self, now: float) -> None:
        """Remove answers that nobody fetched, and what interrupted writes left. `now` is in seconds since the epoch."""
        for path in self._entries():
            try:
                old = now - path.lstat().st_mtime > ABANDONED
            except FileNotFoundError:
                continue
            if old:
                _remove(path)

    def _list(self, suffix: str) -> list[Path]:
        """The files of one kind, in the order in which they were asked, as their names say."""
        found = []
        for path in self._entries():
            if path.suffix == suffix and _ID.fullmatch(path.stem):
                found.append(path)
            elif path.suffix == suffix and not path.name.startswith("."):
                log.warning(f"cannot carry out the request {path}: it has no name of a request; it is removed")
                _remove(path)
        return found

    def _entries(self) -> list[Path]:
        try:
            return sorted(self._directory.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            log.warning(f"cannot look for requests: {self._directory}: {error.strerror}")
            return []


def _remove(path: Path) -> None:
    """Remove whatever is there; a request should be a file, but anything can be put in its place."""
    try:
        clear(path)
    except OSError as error:
        log.warning(f"cannot remove {path}: {error.strerror}")
