"""A package index that asks who is there, made of a directory of wheels."""

import base64
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self


class Index:
    """Serves a wheelhouse to one user, or to everybody; `let_in` and `sent_away` count its answers."""

    def __init__(self, house: Path, user: str | None, password: str = "", address: str = "127.0.0.1") -> None:
        """Listen. `user` is None: it asks nobody who is there."""
        self.password = password
        self.let_in = self.sent_away = 0
        index = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - http.server's own name
                """Stay quiet."""

            def do_GET(self) -> None:
                pair = base64.b64encode(f"{user}:{index.password}".encode()).decode()
                if user is not None and self.headers.get("Authorization") != f"Basic {pair}":
                    index.sent_away += 1
                    return self.answer(401, b"who are you?")
                index.let_in += 1
                if wheel := re.fullmatch(r"/files/([\w.+-]+\.whl)", self.path):
                    return self.answer(200, (house / wheel[1]).read_bytes())
                project = self.path.rstrip("/").rpartition("/")[2].replace("-", "_")
                wheels = sorted(path.name for path in house.glob(f"{project}-*.whl"))
                links = "".join(f'<a href="/files/{name}">{name}</a>\n' for name in wheels)
                return self.answer(200 if wheels else 404, f"<html><body>{links}</body></html>".encode())

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                if status == 401:
                    self.send_header("WWW-Authenticate", 'Basic realm="index"')
                self.send_header("Content-Type", "text/html" if body.startswith(b"<") else "application/octet-stream")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815 - http.server's own name

        self._server = ThreadingHTTPServer((address, 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{address}:{self._server.server_port}/simple"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> Self:
        """It listens already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
