"""The registry by MLflow's REST API, held to a deadline, a size and a shape; MLflow itself is not imported."""

import hashlib
import json
import re
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from reconciler.adapters.credentials import CredentialError, check_the_way, registry_login
from reconciler.adapters.failure_words import causes, describe_failure
from reconciler.adapters.proxies import ProxyError
from reconciler.adapters.registry_answers import ODD, Experiment, Page, experiment, models_page, versions_page
from reconciler.adapters.registry_http import AnswerError, RegistryServer
from reconciler.core.registry.reading import RegistryReading, Version
from reconciler.core.registry.version_queries import MAX_ROWS, Question, agree, needs, questions
from reconciler.core.state.snapshot import Choose
from reconciler.ports.registry import RegistryError

Place = tuple[str, int]
"""The name and the number of a model version."""
MODELS = "/api/2.0/mlflow/registered-models/search"
VERSIONS = "/api/2.0/mlflow/model-versions/search"
SET_TAG = "/api/2.0/mlflow/model-versions/set-tag"
EXPERIMENT = "/api/2.0/mlflow/experiments/get-by-name"
CREATE_EXPERIMENT = "/api/2.0/mlflow/experiments/create"
TAG_EXPERIMENT = "/api/2.0/mlflow/experiments/set-experiment-tag"
SERVER_INFO = "/api/3.0/mlflow/server-info"
MAX_PAGES = 1000
MODELS_A_PAGE = 1000
VERSIONS_A_PAGE = MAX_ROWS
MAX_TAGGED = 1000
"""Versions with a tag of this host that are read at once."""
NO_WORKSPACES = "it has no workspaces; leave registry.workspace empty, or have it started with --enable-workspaces"
_MOST_KNOWN = 8
_LONGEST_KNOWN = 8 * 1024 * 1024
"""Answers that are remembered, and their bytes: those of any usual registry."""


class _OverdueError(BaseException):
    """The deadline has passed. Not an Exception: a layer below would take it for one failed try of several."""


@dataclass(frozen=True)
class _Known:
    """An answer of the reading before."""

    etag: str
    digest: bytes
    page: Page


class MlflowRegistry:
    """Reads and tags model versions; in the main thread only, for its deadline is a signal."""

    def __init__(self, uri: str, timeout: int, *, plain_http: bool = False, workspace: str = "") -> None:
        """Prepare to talk to `uri`; a reading, and each report, takes at most `timeout` seconds.

        `plain_http`: credentials may be sent in plain text. Credentials that cannot be used make each reading fail.
        `workspace`: the one that is meant, where the server has several.
        """
        self._why_not = ""
        self._timeout = timeout
        self._workspace = workspace
        self._known: dict[str, _Known] = {}
        try:
            login = registry_login()
            check_the_way(uri, login, plain_http=plain_http)
            self._server = RegistryServer(uri, login, timeout, workspace=workspace, plain_http=plain_http)
        except (CredentialError, ProxyError) as error:
            self._why_not = str(error)

    def read(self, selectors: Sequence[str] = (), choose: Choose = "first") -> RegistryReading:
        """Read all models, and of their versions those that the choice depends on; raises RegistryError.

        How many requests that takes depends on how many models the selectors match, not on how many versions there are.
        """
        with self._in_plain_words():
            if self._workspace:
                self._check_that_it_has_workspaces()
            reading, paged = self._read_once(selectors, choose)
            # Page tokens are offsets, so pages are no snapshot; two equal readings are. A cache must not answer twice.
            if paged and self._read_once(selectors, choose, **{"Cache-Control": "no-cache"})[0] != reading:
                raise AnswerError("it changed while it was read")
            if not reading.models:
                self._check_that_it_is_mlflow()
            return reading

    def tagged_versions(self, key: str) -> tuple[Version, ...]:
        """Find the versions with a tag of this key, the latest changed first; of very many only the first ones.

        Raises RegistryError. `key` has letters, digits and `_-.` only.
        """
        with self._in_plain_words():
            query = {"filter": f"tags.`{key}` LIKE '%'", "max_results": MAX_TAGGED}
            return versions_page(self._server.get(VERSIONS, query).body).versions

    def report(self, name: str, version: int, key: str, value: str) -> None:
        """Set a tag on a model version; raises RegistryError."""
        with self._in_plain_words():
            self._server.post(SET_TAG, {"name": name, "version": str(version), "key": key, "value": value})

    def experiment_tags(self, name: str) -> Mapping[str, str]:
        """Return the tags of an experiment, none of one that does not exist; raises RegistryError."""
        with self._in_plain_words():
            found = self._experiment(name)
            return found.tags if found else {}

    def tag_experiment(self, name: str, key: str, value: str) -> None:
        """Set a tag of an experiment, which is made if it does not exist; raises RegistryError."""
        with self._in_plain_words():
            found = self._experiment(name) or self._made_experiment(name)
            if found.is_deleted:
                raise AnswerError(f"the experiment {name} is deleted; restore it in MLflow, or delete it for good")
            self._server.post(TAG_EXPERIMENT, {"experiment_id": found.id, "key": key, "value": value})

    def _experiment(self, name: str) -> Experiment | None:
        try:
            return experiment(self._server.get(EXPERIMENT, {"experiment_name": name}).body)
        except AnswerError as error:
            # Without MLflow's own word for it, it is the page of another server.
            if error.status == 404 and str(error).startswith("RESOURCE_DOES_NOT_EXIST"):
                return None
            raise

    def _made_experiment(self, name: str) -> Experiment:
        try:
            self._server.post(CREATE_EXPERIMENT, {"name": name})
        except AnswerError as error:
            # Another host may have made it in between.
            if not str(error).startswith("RESOURCE_ALREADY_EXISTS"):
                raise
        return experiment(self._server.get(EXPERIMENT, {"experiment_name": name}).body)

    def _read_once(self, selectors: Sequence[str], choose: Choose, **headers: str) -> tuple[RegistryReading, bool]:
        """Read once; return the reading, and whether an answer had several pages, so that it may be no snapshot."""
        known: dict[str, _Known] = {}
        search = _Search(self._server, self._known, known, headers)
        pages = search.all_pages(MODELS, models_page, {"max_results": MODELS_A_PAGE})
        models = tuple(model for page in pages for model in page.models)
        latest = _by_place(version for page in pages for version in page.versions)
        _refuse_unknown_stages(latest.values(), selectors)
        needed = needs(models, latest.values(), selectors, choose)
        highest = {model.name: max(model.latest, default=0) for model in models}
        answered: dict[Place, Version] = {}
        paged = len(pages) > 1
        for question in questions(needed, highest):
            pages = search.all_pages(VERSIONS, versions_page, _query(question))
            paged = paged or len(pages) > 1
            answered |= _by_place(version for page in pages for version in page.versions)
        for need in needed:
            if (need.name, need.high) not in answered:
                raise AnswerError(f"it names version {need.high} of {need.name!r} but does not list it")
        for place, version in answered.items():
            if not agree(latest.get(place, version), version):
                raise AnswerError("it changed while it was read")
        self._known = known
        # `latest` wins: it has the stages of the same answer as the models.
        return RegistryReading(models, tuple((answered | latest).values())), paged

    def _check_that_it_has_workspaces(self) -> None:
        # A server without workspaces would ignore the name and show other models.
        try:
            info = json.loads(self._server.get(SERVER_INFO).body)
        except (ValueError, RecursionError):
            raise AnswerError(ODD) from None
        except AnswerError as error:
            # A server from before there were any.
            raise AnswerError(NO_WORKSPACES) if error.status == 404 else error from None
        has_workspaces = isinstance(info, dict) and info.get("workspaces_enabled") is True
        if not has_workspaces:
            raise AnswerError(NO_WORKSPACES)

    def _check_that_it_is_mlflow(self) -> None:
        # Any web server can answer `{}`. So does an MLflow without models, and then every deployment would be removed.
        no_mlflow = "it has no models and does not say that it is MLflow"
        try:
            text = self._server.get("/version").body.decode(errors="replace").strip()
        except AnswerError:
            raise AnswerError(no_mlflow) from None
        if not re.fullmatch(r"\d+\.\d+[\w.+-]{0,40}", text):
            raise AnswerError(no_mlflow)

    @contextmanager
    def _in_plain_words(self) -> Iterator[None]:
        if self._why_not:
            raise RegistryError(self._why_not)
        try:
            with _deadline(self._timeout):
                yield
        except _OverdueError:
            signal.setitimer(signal.ITIMER_REAL, 0)  # it may have struck while the deadline was being taken back
            raise RegistryError(f"no complete answer within {self._timeout} s") from None
        except Exception as error:  # urllib3 and ssl raise anything
            said = [cause for cause in causes(error) if isinstance(cause, AnswerError)]
            raise RegistryError(str(said[0]) if said else describe_failure(error)) from error


class _Search:
    """Searches for one reading; what was answered in the reading before is not parsed, and perhaps not sent, again."""

    def __init__(
        self, server: RegistryServer, before: Mapping[str, _Known], now: dict[str, _Known], headers: Mapping[str, str]
    ) -> None:
        """Compare with what was answered `before`, and note in `now` what is answered."""
        self._server, self._before, self._now, self._headers = server, before, now, headers

    def all_pages(self, path: str, read: Callable[[bytes], Page], query: Mapping[str, object]) -> list[Page]:
        """Follow the page tokens to the end."""
        pages = [self._page(path, read, query)]
        while token := pages[-1].token:
            if len(pages) >= MAX_PAGES:
                raise AnswerError("its answer has no end")
            pages.append(self._page(path, read, {**query, "page_token": token}))
        return pages

    def _page(self, path: str, read: Callable[[bytes], Page], query: Mapping[str, object]) -> Page:
        place = json.dumps([path, query])
        before = self._before.get(place)
        # Only what was read in full before can be unchanged, and MLflow itself names no content; a cache may.
        conditional = {"If-None-Match": before.etag} if before and before.etag else {}
        answer = self._server.get(path, query, **self._headers, **conditional)
        if answer.is_unchanged and before is not None:
            self._now[place] = before
            return before.page
        digest = hashlib.blake2b(answer.body, digest_size=32).digest()
        page = before.page if before is not None and before.digest == digest else read(answer.body)
        if len(self._now) < _MOST_KNOWN and len(answer.body) <= _LONGEST_KNOWN:
            self._now[place] = _Known(answer.etag, digest, page)
        return page


def _query(question: Question) -> dict[str, object]:
    names = ",".join(f"'{name}'" for name in question.names)  # deployable ones, in which nothing needs quoting
    condition = f"name IN ({names}) AND version_number >= {question.low} AND version_number <= {question.high}"
    return {"filter": condition, "max_results": VERSIONS_A_PAGE}


def _by_place(versions: Iterable[Version]) -> dict[Place, Version]:
    return {(version.name, version.version): version for version in versions}


def _refuse_unknown_stages(versions: Iterable[Version], selectors: Sequence[str]) -> None:
    """Raise AnswerError when a selector names a stage and the server knows none: nothing would be selected."""
    asks_for_a_stage = any(selector.startswith("stage:") for selector in selectors)
    if asks_for_a_stage and not all(version.stage for version in versions):
        raise AnswerError("it knows no stages; use selectors such as alias:champion")


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Interrupt the block after `seconds` altogether: a server that drips a byte a second never times out by itself."""

    def overdue(_number: int, _frame: FrameType | None) -> None:
        raise _OverdueError

    previous = signal.signal(signal.SIGALRM, overdue)
    # It repeats, because an exception that is raised inside a finaliser is lost.
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.2)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
