"""Speaks HTTP to one registry: its login, its authorities, no redirects, answers of a bounded size."""

import json
import os
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from urllib3 import HTTPHeaderDict, PoolManager, ProxyManager, Timeout
from urllib3.response import BaseHTTPResponse
from urllib3.util.ssl_ import create_urllib3_context

from reconciler.adapters.credentials import SYSTEM_AUTHORITIES, CredentialError, Login
from reconciler.adapters.failure_words import status_words
from reconciler.adapters.proxies import proxy_for
from reconciler.core.text.quote import one_line
from reconciler.core.text.urls import is_loopback

WORKSPACE = "X-MLFLOW-WORKSPACE"
MAX_ANSWER_BYTES = 64 * 1024 * 1024
_PIECE = 64 * 1024
_MAX_ETAG = 200


class AnswerError(Exception):
    """An answer that cannot be used; the message says why in plain words. `status` is that of a refusal, or 0."""

    def __init__(self, message: str, status: int = 0) -> None:
        """Say why, and with which HTTP status."""
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """A success (200), or the word of a cache that nothing has changed (304)."""

    is_unchanged: bool
    body: bytes
    etag: str
    """What a cache calls this content; "" where nobody names it."""


class RegistryServer:
    """One server, spoken to over a connection that is kept as long as the server keeps it."""

    def __init__(self, uri: str, login: Login, timeout: int, *, workspace: str = "", plain_http: bool = False) -> None:
        """Prepare to talk to `uri`, waiting at most `timeout` seconds for each packet.

        Raises CredentialError when a proxy could read a secret and `plain_http` does not permit that, and ProxyError.
        """
        self._base = uri.removesuffix("/")
        self._is_encrypted = urlsplit(uri).scheme == "https"
        self._login = login
        self._timeout = Timeout(connect=timeout, read=timeout)
        self._proxy = proxy_for(uri)
        proxy_reads_along = self._proxy is not None and not is_loopback(urlsplit(self._proxy.address).hostname or "")
        if login.authorization and proxy_reads_along and not self._is_encrypted and not plain_http:
            raise CredentialError("it would send the credentials to a proxy in plain text; use https")
        self._headers = {"User-Agent": "mlflow-systemd", "Accept-Encoding": "gzip"}
        if login.authorization:
            self._headers["Authorization"] = login.authorization
        if workspace:
            self._headers[WORKSPACE] = workspace
        self._connections: PoolManager | None = None
        self._stamp: tuple[int, int] | None = None

    def get(self, path: str, query: Mapping[str, object] | None = None, **headers: str) -> Answer:
        """Ask for what is at `path`, with more headers; raises AnswerError and what urllib3 raises."""
        address = f"{self._base}{path}"
        return self._ask("GET", f"{address}?{urlencode(query)}" if query else address, headers)

    def post(self, path: str, document: Mapping[str, object]) -> None:
        """Send a document to `path`; raises AnswerError and what urllib3 raises."""
        self._ask("POST", f"{self._base}{path}", {"Content-Type": "application/json"}, json.dumps(document).encode())

    def _ask(self, method: str, address: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        answer = self._pool().request(
            method,
            address,
            body=body,
            headers=HTTPHeaderDict({**self._headers, **headers}),
            redirect=False,
            retries=False,
            timeout=self._timeout,
            preload_content=False,
        )
        try:
            found = _bounded(answer.stream(_PIECE))
        except BaseException:
            # What is left of the answer must not be taken for the next one.
            answer.close()
            raise
        answer.release_conn()
        asked_for_changes = "If-None-Match" in headers
        is_unchanged = answer.status == 304 and asked_for_changes
        if answer.status != 200 and not is_unchanged:
            raise AnswerError(_refusal(answer.status, found), answer.status)
        return Answer(is_unchanged, found, _etag(answer))

    def _pool(self) -> PoolManager:
        """Give the connections. Reading the authorities takes as long as ten requests, so it is done once for each."""
        if not self._is_encrypted:
            if self._connections is None:
                self._connections = self._connect(None, None)
            return self._connections
        authorities = _authorities(self._login)
        try:
            state = authorities.stat()
            stamp = (state.st_mtime_ns, state.st_ino)
            if self._connections is None or self._stamp != stamp:
                own = _context(authorities)
                if self._login.certificate is not None:
                    own.load_cert_chain(self._login.certificate)
                self._connections, self._stamp = self._connect(own, _context(authorities)), stamp
        except OSError as error:  # ssl.SSLError is one
            why = error.strerror or "it holds no certificates"
            raise AnswerError(f"the authorities in {one_line(str(authorities), 80)} cannot be used: {why}") from None
        return self._connections

    def _connect(self, own: ssl.SSLContext | None, of_proxy: ssl.SSLContext | None) -> PoolManager:
        if self._proxy is None:
            return PoolManager(num_pools=1, maxsize=1, ssl_context=own)
        shown = {"Proxy-Authorization": self._proxy.authorization} if self._proxy.authorization else None
        return ProxyManager(
            self._proxy.address,
            num_pools=1,
            maxsize=1,
            proxy_headers=shown,
            proxy_ssl_context=of_proxy or create_urllib3_context(),
            ssl_context=own,
        )


def _authorities(login: Login) -> Path:
    """Find the authorities that are trusted: the registry's own, those that the environment names, or this host's."""
    if login.ca is not None:
        return login.ca
    named = os.environ.get("REQUESTS_CA_BUNDLE")
    if named:
        return Path(named)
    if Path(SYSTEM_AUTHORITIES).exists():
        return Path(SYSTEM_AUTHORITIES)
    from certifi import where

    return Path(os.environ.get("CURL_CA_BUNDLE") or where())


def _context(authorities: Path) -> ssl.SSLContext:
    context = create_urllib3_context()
    if authorities.is_dir():
        context.load_verify_locations(capath=authorities)
    else:
        context.load_verify_locations(cafile=authorities)
    return context


def _bounded(pieces: Iterable[bytes]) -> bytes:
    body = bytearray()
    for piece in pieces:
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            raise AnswerError("its answer is too long")
    return bytes(body)


def _etag(answer: BaseHTTPResponse) -> str:
    name = answer.headers.get("ETag", "")
    is_plain = name.isascii() and name.isprintable() and len(name) <= _MAX_ETAG
    return name if is_plain else ""


_TRY_LATER = frozenset({408, 429, 500, 502, 503, 504})
"""What the servers in front of MLflow say, too: the status says more than the body."""


def _refusal(status: int, body: bytes) -> str:
    """Say why an answer is no success: MLflow's own words, where it has any, or what the status means."""
    words = status_words(str(status))
    try:
        document = {} if status in _TRY_LATER else json.loads(body)
    except (ValueError, RecursionError):
        return words
    code, message = (document.get("error_code"), document.get("message")) if isinstance(document, dict) else (None, "")
    if not isinstance(code, str) or not code:
        return words
    return one_line(f"{code}: {message if isinstance(message, str) else ''}", 200)
