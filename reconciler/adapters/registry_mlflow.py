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
from reconciler.core.registry.reading import Model, RegistryReading, Version
from reconciler.core.registry.version_queries import MAX_ROWS, Question, agree, needs, questions
from reconciler.core.state.snapshot import Choose
from reconciler.ports.registry import RegistryError

if TYPE_CHECKING:
    from mlflow.store.entities import PagedList
    from mlflow.utils.rest_utils import MlflowHostCreds
    from requests import PreparedRequest, Response

Place = tuple[str, int]
"""The name and the number of a model version."""
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
    """The deadline has passed. Not an Exception: a layer below would take it for one failed try of several."""


class MlflowRegistry:
    """Reads and tags model versions through MlflowClient; in the main thread only, for its deadline is a signal."""

    def __init__(self, uri: str, timeout: int, *, plain_http: bool = False, workspace: str = "") -> None:
        """Prepare to talk to `uri`; a reading, and each report, takes at most `timeout` seconds.

        `plain_http`: credentials may be sent in plain text. Credentials that cannot be used make each reading fail.
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
        """Read once; return the reading, and whether an answer had several pages, so that it may be no snapshot."""
        found, paged = _all_pages(
            lambda token: self._client.search_registered_models(max_results=MODELS_A_PAGE, page_token=token)
        )
        models = tuple(map(_model, found))
        latest = _by_place(_version(version) for model in found for version in model.latest_versions)
        _refuse_unknown_stages(latest.values(), selectors)
        needed = needs(models, latest.values(), selectors, choose)
        highest = {model.name: max(model.latest, default=0) for model in models}
        answered: dict[Place, Version] = {}
        for question in questions(needed, highest):
            versions, has_more_pages = self._ask(question)
            paged = paged or has_more_pages
            answered |= _by_place(versions)
        for need in needed:
            if (need.name, need.high) not in answered:
                raise OddAnswerError(f"it names version {need.high} of {need.name!r} but does not list it")
        for place, version in answered.items():
            if not agree(latest.get(place, version), version):
                raise OddAnswerError("it changed while it was read")
        # `latest` wins: it has the stages of the same answer as the models.
        return RegistryReading(models, tuple((answered | latest).values())), paged

    def _ask(self, question: Question) -> tuple[list[Version], bool]:
        names = ",".join(f"'{name}'" for name in question.names)  # deployable ones, in which nothing needs quoting
        condition = f"name IN ({names}) AND version_number >= {question.low} AND version_number <= {question.high}"
        answer, has_more_pages = _all_pages(
            lambda token: self._client.search_model_versions(condition, max_results=VERSIONS_A_PAGE, page_token=token)
        )
        return [_version(found) for found in answer], has_more_pages

    def _check_that_it_has_workspaces(self) -> None:
        # A server without workspaces would ignore the name and show other models.
        from mlflow.utils.server_info import SERVER_INFO_WORKSPACES_ENABLED, fetch_server_info

        info = fetch_server_info(self._credentials())
        if not (info.data or {}).get(SERVER_INFO_WORKSPACES_ENABLED):
            raise OddAnswerError(NO_WORKSPACES)

    def _credentials(self) -> "MlflowHostCreds":
        from mlflow.utils.credentials import get_default_host_creds

        return get_default_host_creds(self._uri)  # type: ignore[no-untyped-call,no-any-return]  # MLflow gives it no types

    def _check_that_it_is_mlflow(self) -> None:
        # Any web server can answer `{}`. So does an MLflow without models, and then every deployment would be removed.
        from mlflow.utils.rest_utils import http_request

        credentials = self._credentials()
        answer = http_request(credentials, "/version", "GET")  # type: ignore[no-untyped-call]  # the same
        names_its_version = re.fullmatch(r"\d+\.\d+[\w.+-]{0,40}", answer.text.strip())
        if answer.status_code != 200 or not names_its_version:
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
            odd = [cause for cause in causes(error) if isinstance(cause, OddAnswerError)]
            raise RegistryError(str(odd[0]) if odd else describe_failure(error)) from error


def _by_place(versions: Iterable[Version]) -> dict[Place, Version]:
    return {(version.name, version.version): version for version in versions}


def _refuse_unknown_stages(versions: Iterable[Version], selectors: Sequence[str]) -> None:
    """Raise OddAnswerError when a selector names a stage and the server knows none: nothing would be selected."""
    asks_for_a_stage = any(selector.startswith("stage:") for selector in selectors)
    if asks_for_a_stage and not all(version.stage for version in versions):
        raise OddAnswerError("it knows no stages; use selectors such as alias:champion")


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
    is_number = text.isascii() and text.isdecimal()
    if not is_number or len(text) > 10:
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
    """Check every answer before MLflow's client reads it."""
    request.register_hook("response", _check_answer)  # type: ignore[no-untyped-call]  # its stubs do not type it
    return request


def _check_answer(answer: "Response", **_options: object) -> "Response":
    """Read the body, up to a limit, and refuse what MLflow's client would take for an empty registry."""
    body = _bounded(answer.iter_content(64 * 1024))
    answer._content = body  # what requests would have read itself, without a limit, as soon as this returns
    path = urlsplit(answer.url).path
    is_search = path.endswith(tuple(LISTS))
    if is_search and answer.status_code == 200:
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
