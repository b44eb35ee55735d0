"""Answers browsers: the page to try the model, the description, and the few files that the two need."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from modelserver.http.metrics import Identity
from modelserver.http.web import docs_page, try_page
from modelserver.model.request_form import RequestForm

_HERE = Path(__file__).parent
_JAVASCRIPT = "text/javascript"
_FILES = {"/page.css": ("page.css", "text/css"), "/favicon.ico": ("icon.svg", "image/svg+xml")}
_FILES_TO_TRY = {"/try.js": ("try.js", _JAVASCRIPT), "/recorder.js": ("recorder.js", _JAVASCRIPT)}
PATHS = ("/", *_FILES, *_FILES_TO_TRY)
"""What Pages.routes() may have."""
_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # The release that answers may be another one with the next request.
    "cache-control": "no-cache",
}
_MICROPHONE = {"permissions-policy": "microphone=(self), camera=(), geolocation=()"}
# What stands in a command line as it is.
_PLAIN_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]+")


@dataclass(frozen=True)
class Pages:
    """The pages of one release. `max_body`: bytes of a request; `is_tried`: whether there is a page to try it."""

    identity: Identity
    form: RequestForm
    takes_files: bool
    max_body: int
    is_tried: bool

    def routes(self) -> list[Route]:
        """Everything but /docs, which is among the endpoints."""
        files = {**_FILES, **(_FILES_TO_TRY if self.is_tried else {})}
        routes = [Route("/", self._first_page, methods=["GET"])]
        return routes + [Route(path, _file(*what), methods=["GET"]) for path, what in files.items()]

    def docs(self, request: Request) -> Response:
        """The description."""
        release = f"{self.identity.deployment}@{self.identity.release}"
        address = _address(request)
        page = docs_page.html_page(release, self.max_body, self.form, self.takes_files, address, self.is_tried)
        return HTMLResponse(page, headers={**_HEADERS, "content-security-policy": docs_page.CONTENT_SECURITY_POLICY})

    async def _first_page(self, _: Request) -> Response:
        if not self.is_tried:
            return RedirectResponse("docs")
        page = try_page.html_page(self.identity, self.form, self.max_body)
        policy = {"content-security-policy": try_page.CONTENT_SECURITY_POLICY}
        return HTMLResponse(page, headers={**_HEADERS, **_MICROPHONE, **policy})


def _file(name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    content = (_HERE / name).read_bytes()

    async def answer(_: Request) -> Response:
        return Response(content, media_type=media_type, headers=_HEADERS)

    return answer


def _address(request: Request) -> str:
    """How the client reached this server, as far as it says so in words that need no quoting."""
    host = request.headers.get("host", "")
    # A proxy with TLS in front says so.
    scheme = "https" if request.headers.get("x-forwarded-proto") == "https" else "http"
    return f"{scheme}://{host if _PLAIN_HOST.fullmatch(host) else '127.0.0.1'}"
