"""The registry as MLflow's client sees it, held to a deadline, a size and a shape that the client does not check."""

import json
import re
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from reconciler.adapters.credentials import CredentialError, registry_login
from reconciler.adapters.mlflow_client import causes, describe_failure, log_in, prepare_environment
from reconciler.adapters.registry_answers import LISTS, is_odd
from reconciler.core.registry.selection import Model, RegistryReading, Version
from reconciler.core.registry.version_queries import MAX_ROWS, Question, agree, needs, questions
from reconciler.core.state.snapshot import Choose
from reconciler.ports.registry import RegistryError

if TYPE_CHECKING:
    from mlflow.store.entities import PagedList
    from mlflow.utils.rest_utils import MlflowHostCreds
    from requests import PreparedRequest, Response

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_PAGES = 1000
MODELS_A_PAGE = 1000
VERSIONS_A_PAGE = MAX_ROWS
MAX_TAGGED = 1000
"""Versions with a tag of this host that are read at once."""
NO_WORKSPACES = "it has no workspaces; leave registry.workspace empty, or have it started with --enable-workspaces"


class OddAnswerError(Exception):
    """An answer that MLflow would not give; MLflow's client would have taken some of them for an empty registry."""


class _OverdueError(BaseException):
    """The deadline has passed. Not an Exception, so that no layer below mistakes it for one failed try of several."""


class MlflowRegistry:
    """Reads and tags model versions through MlflowClient; in the main thread only, for its deadline is a signal."""

    def __init__(self, uri: str, timeout: int, *, plain_http: bool = False, workspace: str = "") -> None:
        """Prepare to talk to `uri`; a reading, and each report, takes at most `timeout` seconds.

        `plain_http`: credentials may be sent in plain text. One that cannot be used is each reading's reason to fail.
        `workspace`: the one that is meant, where the server has several.
        """
        prepare_environment(timeout=timeout, retries=0)
        self._why_not = ""
        try:
            log_in(uri, registry_login(), plain_http=plain_http, workspace=workspace, also=_guarded)
        except CredentialError as error:
            self._why_not = str(error)
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self._uri = uri
        self._timeout = timeout
        self._workspace = workspace

    def read(self, selectors: Sequence[str] = (), choose: Choose = "first") -> RegistryReading:
        """Read all models, and of their versions those that the choice depends on; raises RegistryError.

        How many requests that takes depends on how many models the selectors match, not on how many versions there are.
        """
        with self._in_plain_words():
            if self._workspace:
                self._check_that_it_has_workspaces()
            reading, paged = self._read_once(selectors, choose)
            # Page tokens are offsets, so pages are no snapshot; two equal readings are.
            if paged and self._read_once(selectors, choose)[0] != reading:
                raise OddAnswerError("it changed while it was read")
            if not reading.models:
                self._check_that_it_is_mlflow()
            return reading

    def tagged_versions(self, key: str) -> tuple[Version, ...]:
        """Find the versions with a tag of this key, the latest changed first; of very many only the first ones.

        Raises RegistryError. `key` has letters, digits and `_-.` only.
        """
        with self._in_plain_words():
            found = self._client.search_model_versions(f"tags.`{key}` LIKE '%'", max_results=MAX_TAGGED)
            return tuple(map(_version, found))

    def report(self, name: str, version: int, key: str, value: str) -> None:
        """Set a tag on a model version; raises RegistryError."""
        with self._in_plain_words():
            self._client.set_model_version_tag(name, str(version), key, value)

    def _read_once(self, selectors: Sequence[str], choose: Choose) -> tuple[RegistryReading, bool]:
        found, paged = _all_pages(
            lambda token: self._client.search_registered_models(max_results=MODELS_A_PAGE, page_token=token)
        )
        models = tuple(map(_model, found))
        versions = {(one.name, one.version): one for model in found for one in map(_version, model.latest_versions)}
        if not all(one.stage for one in versions.values()) and any(one.startswith("stage:") for one in selectors):
            raise OddAnswerError("it knows no stages; use selectors such as alias:champion")
        highest = {model.name: max(model.latest, default=0) for model in models}
        needed = needs(models, versions.values(), selectors, choose)
        answered: dict[tuple[str, int], Version] = {}
        for question in questions(needed, highest):
            answer, more = self._ask(question)
            paged = paged or more
            answered |= {(one.name, one.version): one for one in answer}
        for need in needed:
            if (need.name, need.high) not in answered:
                raise OddAnswerError(f"it names version {need.high} of {need.name!r} but does not list it")
        if not all(agree(versions.get(place, one), one) for place, one in answered.items()):
            raise OddAnswerError("it changed while it was read")
        return RegistryReading(models, tuple((answered | versions).values())), paged

    def _ask(self, question: Question) -> tuple[list[Version], bool]:
        names = ",".join(f"'{name}'" for name in question.names)  # deployable ones, in which nothing needs quoting
        wanted = f"name IN ({names}) AND version_number >= {question.low} AND version_number <= {question.high}"
        answer, more = _all_pages(
            lambda token: self._client.search_model_versions(wanted, max_results=VERSIONS_A_PAGE, page_token=token)
        )
        return [_version(found) for found in answer], more

    def _check_that_it_has_workspaces(self) -> None:
        # One that knows none would ignore the name and show other models.
        from mlflow.utils.server_info import SERVER_INFO_WORKSPACES_ENABLED, fetch_server_info

        info = fetch_server_info(self._credentials())
        if not (info.data or {}).get(SERVER_INFO_WORKSPACES_ENABLED):
            raise OddAnswerError(NO_WORKSPACES)

    def _credentials(self) -> "MlflowHostCreds":
        from mlflow.utils.credentials import get_default_host_creds

        return get_default_host_creds(self._uri)  # type: ignore[no-untyped-call,no-any-return]  # MLflow gives it no types

    def _check_that_it_is_mlflow(self) -> None:
        # Any web server can say `{}`, which is how MLflow says that it has no models, and then everything would go.
        from mlflow.utils.rest_utils import http_request

        credentials = self._credentials()
        answer = http_request(credentials, "/version", "GET")  # type: ignore[no-untyped-call]  # the same
        if answer.status_code != 200 or not re.fullmatch(r"\d+\.\d+[\w.+-]{0,40}", answer.text.strip()):
            raise OddAnswerError("it has no models and does not say that it is MLflow")

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
        except Exception as error:  # MLflow's client raises anything
            odd = next((cause for cause in causes(error) if isinstance(cause, OddAnswerError)), None)
            raise RegistryError(str(odd) if odd else describe_failure(error)) from error


def _all_pages(search: Callable[[str | None], "PagedList[Any]"]) -> tuple[list[Any], bool]:
    """Follow the page tokens to the end; return the entries and whether there was more than one page."""
    page = search(None)
    found, pages = list(page), 1
    while page.token:
        page = search(page.token)
        found += page
        pages += 1
        if pages > MAX_PAGES:
            raise OddAnswerError("its answer has no end")
    return found, pages > 1


def _model(found: Any) -> Model:
    return Model(
        name=found.name,
        tags=dict(found.tags),
        aliases={alias: _number(version) for alias, version in found.aliases.items()},
        latest=tuple(_number(latest.version) for latest in found.latest_versions),
    )


def _version(found: Any) -> Version:
    return Version(
        name=found.name,
        version=_number(found.version),
        stage=found.current_stage or "",
        status=found.status,
        source=found.source or "",
        tags=dict(found.tags),
    )


def _number(version: object) -> int:
    text = str(version)
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        raise OddAnswerError("it names a version that is not a number")
    return int(text)


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


def _guarded(request: "PreparedRequest") -> "PreparedRequest":
    """Have every answer looked at before MLflow's client does."""
    request.register_hook("response", _check_answer)  # type: ignore[no-untyped-call]  # its stubs do not type it
    return request


def _check_answer(answer: "Response", **_options: object) -> "Response":
    """Read the body, up to a limit, and refuse what MLflow's client would take for an empty registry."""
    body = _bounded(answer.iter_content(64 * 1024))
    answer._content = body  # what requests would have read itself, without a limit, as soon as this returns
    path = urlsplit(answer.url).path
    if path.endswith(tuple(LISTS)) and answer.status_code == 200:
        try:
            odd = is_odd(path, json.loads(body))
        except ValueError:
            odd = True
        if odd:
            raise OddAnswerError("its answer is not MLflow's")
    return answer


def _bounded(chunks: Iterable[bytes]) -> bytes:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise OddAnswerError("its answer is too long")
    return bytes(body)
