"""Requests of people: one file each. The command writes them (request_client.py), the reconciler answers them.

In a directory of root's, `<id>.json` is a request, `<id>.taken` one that is being carried out, `<id>.answer` its
answer. Invariant: a request is either taken back by its writer or carried out, never both, never twice, because taking
is a rename. If a reconciler was killed after it took a request, the answer is that nobody knows what became of it.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog
from pydantic import ValidationError

from reconciler.core.operators.carry_out import carry_out
from reconciler.core.operators.context import RequestContext
from reconciler.core.operators.requests import RefusedRequestError, Request
from reconciler.core.operators.verbs import Verb
from reconciler.core.state.ledger import Ledger
from reconciler.core.text.quote import one_line
from reconciler.files.atomic import clear, in_words, replace_file
from reconciler.files.ledger_file import LedgerFile
from reconciler.files.request_answer import MAX_BYTES, REQUESTS, RequestAnswer
from reconciler.files.untrusted import UnacceptableFileError, read_foreign_file

log = structlog.get_logger()

MAX_ANSWER = 4000
STALE = 120.0
"""Seconds after which nobody waits for a request any more. To carry it out then would surprise people."""
ABANDONED = 3600.0
"""Seconds after which an answer that nobody fetched is removed."""
_ID = re.compile(r"[0-9a-z-]{1,64}")


@dataclass(frozen=True)
class AnsweredRequest:
    """A request that was answered, for the journal."""

    request: Request
    ok: bool
    message: str


class RequestInbox:
    """The reconciler's side: takes requests from a directory, and answers each of them once."""

    def __init__(self, directory: Path = REQUESTS, owner: int = 0) -> None:
        """Take requests that user `owner` put into `directory`."""
        self._directory = directory
        self._owner = owner

    def prepare(self) -> None:
        """Make the directory, and answer the requests that an earlier reconciler took and did not answer."""
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            log.warning(f"cannot take requests: {in_words(error)}")
        for path in self._list(".taken"):
            if not path.with_suffix(".answer").exists():
                unknown = "it was interrupted; see reconciler status for whether it was done, and ask again if not"
                self.answer(path.stem, False, f"cannot tell what the reconciler did: {unknown}")
            _remove(path)

    def serve(
        self,
        ledger: LedgerFile,
        context: Callable[[Ledger], RequestContext],
        now: datetime,
        show_plan: Callable[[], None],
        note: Callable[[AnsweredRequest], None],
    ) -> None:
        """Carry out the requests one after the other, have `note` record each, and answer it.

        `context` is called anew for each request: the one before may have changed the ledger that it depends on.
        `show_plan` writes the plan where its reader finds it, or raises an OSError; to ask for that changes nothing, so
        it is not noted. A crash between the three leaves a request that was carried out, and perhaps noted, without an
        answer; never an answer to what was not noted.
        """
        for identity, request in self.pending(now.timestamp()):
            if request.verb is Verb.PLAN:
                self._answer_with_plan(identity, request, show_plan)
                continue
            try:
                changed, message = carry_out(ledger.ledger, request, context(ledger.ledger), now)
            except RefusedRequestError as error:
                answer = AnsweredRequest(request, False, str(error))
            else:
                ledger.write(changed)
                # The change is in force, even where the disk does not take it.
                if ledger.problem:
                    message += f"; until that is mended, a restart of the reconciler forgets it: {ledger.problem}"
                answer = AnsweredRequest(request, True, message)
            note(answer)
            self.answer(identity, answer.ok, answer.message)
        self.sweep(now.timestamp())

    def _answer_with_plan(self, identity: str, request: Request, show_plan: Callable[[], None]) -> None:
        try:
            show_plan()
        except OSError as error:
            self.answer(identity, False, f"{request.cannot}: {in_words(error)}")
        else:
            self.answer(identity, True, "the plan is written")

    def pending(self, now: float) -> Iterator[tuple[str, Request]]:
        """Take the requests, the oldest first. A file that is no request, or an old one, is answered here.

        `now` is in seconds since the epoch. A request is taken when the caller asks for the next one, which must be
        answered before the caller asks again.
        """
        for path in self._list(".json"):
            request = self._take(path, now)
            if request is not None:
                yield path.stem, request

    def _take(self, path: Path, now: float) -> Request | None:
        """Take one request; None when it was taken back, or is answered already because it cannot be carried out."""
        taken = path.with_suffix(".taken")
        try:
            path.rename(taken)
        except FileNotFoundError:
            return None  # its writer took it back
        except OSError as error:
            log.warning(f"cannot take the request {path}: {error.strerror}")
            return None
        try:
            file = read_foreign_file(taken, self._owner, MAX_BYTES)
            request = Request.model_validate_json(file.content)
        except (UnacceptableFileError, ValidationError) as error:
            why = str(error) if isinstance(error, UnacceptableFileError) else error.errors()[0]["msg"]
            log.warning(f"cannot carry out the request {path}: {why}")
            self.answer(path.stem, False, f"cannot carry out the request: {why}; ask with the reconciler command")
            return None
        if now - file.touched > STALE:
            self.answer(path.stem, False, "cannot carry out the request: it is too old; ask again")
            return None
        return request

    def answer(self, identity: str, ok: bool, message: str) -> None:
        """Answer a request. Even when the answer cannot be written, the request is not carried out twice."""
        try:
            answer = RequestAnswer(schema=1, ok=ok, message=one_line(message, MAX_ANSWER))
            content = answer.model_dump_json(by_alias=True).encode()
            replace_file(self._directory / f"{identity}.answer", content, 0o600)
        except OSError as error:
            log.warning(f"cannot answer a request: {in_words(error)}; the answer is: {message}")
        # Last: as long as it is there, a new reconciler answers that nobody knows.
        _remove(self._directory / f"{identity}.taken")

    def sweep(self, now: float) -> None:
        """Remove answers that nobody fetched, and leftovers of interrupted writes. `now`: seconds since the epoch."""
        for path in self._entries():  # of every kind: a leftover of any name would stay until the next boot
            try:
                old = now - path.lstat().st_mtime > ABANDONED
            except FileNotFoundError:
                continue
            if old:
                _remove(path)

    def _list(self, suffix: str) -> list[Path]:
        """List the files of one kind in the order of their names, which begin with the time of the request."""
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
    """Remove a request; it should be a file, but anything can be put in its place."""
    try:
        clear(path)
    except OSError as error:
        log.warning(f"cannot remove {path}: {error.strerror}")
