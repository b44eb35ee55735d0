"""A server of a bucket that answers as a test says, for what a real one would never send."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

from tests.steps.store import FILES

Bend = Callable[[BaseHTTPRequestHandler, str], bool]
"""Answers a request for a listing ("") or a file (its path); False leaves it to the server."""


@dataclass
class HostileBucket:
    """The bucket `models` with the given files below `odd/`; it looks at no signature."""

    bend: Bend | None = None
    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    seen: list[tuple[str, str]] = field(default_factory=list)
    """Path and Authorization header of every request."""

    def __enter__(self) -> Self:
        """Start to listen."""
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - http.server's own name
                """Stay quiet."""

            def do_GET(self) -> None:
                bucket._answer(self)

            do_HEAD = do_PUT = do_GET  # noqa: N815 - http.server's own names

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        url = urlsplit(handler.path)
        self.seen.append((handler.path, handler.headers.get("Authorization", "")))
        path = url.path.removeprefix("/models").removeprefix("/odd").strip("/")
        if self.bend is not None and self.bend(handler, path):
            return
        if path:
            send(handler, self.files[path])
        else:
            prefix = parse_qs(url.query).get("prefix", [""])[0]
            listed = ((f"odd/{name}", str(len(content))) for name, content in self.files.items())
            send(handler, listing(listed if prefix == "odd/" else ()))


def listing(keys: Iterable[tuple[str, str]], more: str = "", prefixes: Iterable[str] = ()) -> bytes:
    """Write a page of a listing: keys with their sizes as text, and the token of the next page if there is one."""
    contents = "".join(f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size></Contents>" for key, size in keys)
    groups = "".join(f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in prefixes)
    rest = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{more}</NextContinuationToken>" if more else ""
    return f"<ListBucketResult><Name>models</Name>{rest}{contents}{groups}</ListBucketResult>".encode()


def failure(code: str, more: str = "") -> bytes:
    """Write an error as S3 does."""
    return f"<Error><Code>{code}</Code><Message>no</Message>{more}</Error>".encode()


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    """Send an answer; underscores in the names of headers become hyphens."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def without_end(handler: BaseHTTPRequestHandler, piece: bytes, begin: bytes = b"") -> None:
    """Send until the other side hangs up."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    try:
        handler.wfile.write(begin)
        while True:
            handler.wfile.write(piece)
    except OSError:
        return
