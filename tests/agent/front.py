"""An HTTP server in front of a registry, as hospitals have them: it counts, packs, and names what it answers."""

import gzip
import hashlib
import threading
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Seen:
    """One request, and what was sent for it."""

    path: str
    """As it was asked for: a client that takes this for a proxy asks for a whole address."""
    headers: dict[str, str]
    status: int
    sent: int
    """Bytes of the body."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - http.server's own name
        """Stay quiet."""

    def do_GET(self) -> None:
        """Pass a request on."""
        front: Front = self.server.front  # type: ignore[attr-defined]  # put there by Front
        parts = urlsplit(self.path)
        connection = HTTPConnection(front.behind.hostname or "", front.behind.port or 80)
        try:
            length = int(self.headers.get("Content-Length", "0"))
            asked = f"{parts.path}?{parts.query}" if parts.query else parts.path
            connection.request(self.command, asked, self.rfile.read(length), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            status, body = answer.status, answer.read()
        finally:
            connection.close()
        more: dict[str, str] = {}
        if front.names:
            more["ETag"] = f'"{hashlib.sha256(body).hexdigest()}"'
            if self.headers.get("If-None-Match") == more["ETag"]:
                status, body = 304, b""
        if front.packs and body and "gzip" in self.headers.get("Accept-Encoding", ""):
            body, more["Content-Encoding"] = gzip.compress(body, 1), "gzip"
        front.seen.append(Seen(self.path, dict(self.headers), status, len(body)))
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - http.server's own name


@dataclass
class Front:
    """Listens at `uri`; `names`: by ETag, `packs`: with gzip. As a proxy it passes all on to what is behind it."""

    uri_behind: str
    names: bool = False
    packs: bool = False
    seen: list[Seen] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Listen."""
        self.behind = urlsplit(self.uri_behind)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.front = self  # type: ignore[attr-defined]  # for the handler
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()

    def bytes_sent(self) -> int:
        """Count what was sent in bodies."""
        return sum(one.sent for one in self.seen)
