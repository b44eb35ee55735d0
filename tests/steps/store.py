"""A registry and artifact store that answer as a test says, for what a real MLflow server would never send."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

MLMODEL = b"flavors:\n  python_function:\n    python_version: 3.11.2\n"
FILES = {"MLmodel": MLMODEL, "requirements.txt": b"tiny==1.0\n", "weights.bin": b"\0" * 3000}


@dataclass
class Store:
    """One model version `odd` 1 with the given files; every answer can be bent."""

    source: str = "models:/m-1"
    location: str = "mlflow-artifacts:/odd"
    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    listed: list[dict[str, object]] | None = None
    """What the listing says, when it lies."""
    endless: bool = False
    """Whether each directory is listed with the same things in it again."""
    on_download: Callable[[BaseHTTPRequestHandler, str], bool] | None = None
    """Called before a file is sent; True when it has answered itself."""
    presigned: str | None = None
    """Where it sends whoever wants a file, in place of sending it; {path} is the file's."""
    seen: list[tuple[str, str]] = field(default_factory=list)
    """Path and Authorization header of every request."""

    def __enter__(self) -> Self:
        """Start to listen."""
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - http.server's own name
                """Stay quiet."""

            def do_GET(self) -> None:
                store._answer(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        url = urlsplit(handler.path)
        self.seen.append((url.path, handler.headers.get("Authorization", "")))
        prefix = "/api/2.0/mlflow-artifacts/artifacts"
        if url.path.endswith("/model-versions/get"):
            version = {"name": "odd", "version": "1", "source": self.source, "status": "READY"}
            return self._json(handler, {"model_version": version})
        if url.path.endswith("/registered-models/get"):
            return self._json(handler, {"registered_model": {"name": "odd"}})
        if url.path.endswith("/model-versions/get-download-uri"):
            return self._json(handler, {"artifact_uri": self.location})
        if url.path.endswith("/server-info") and self.presigned is not None:
            # What a server says that leaves all files to a bucket.
            return self._json(handler, {"artifacts_presigned_only": True, "multipart_downloads_enabled": True})
        if url.path.startswith("/api/2.0/mlflow-artifacts/presigned/odd/") and self.presigned is not None:
            path = url.path.removeprefix("/api/2.0/mlflow-artifacts/presigned/odd/")
            given = {"url": self.presigned.replace("{path}", path), "headers": {}, "file_size": len(self.files[path])}
            return self._json(handler, given)
        if url.path == prefix:
            below = parse_qs(url.query)["path"][0].removeprefix("odd").strip("/")
            return self._json(handler, {"files": self._listing(below)})
        if url.path.startswith(f"{prefix}/odd/"):
            path = url.path.removeprefix(f"{prefix}/odd/")
            if self.on_download is None or not self.on_download(handler, path):
                self._send(handler, self.files[path])
            return None
        return self._send(handler, b"{}", 404)

    def _listing(self, below: str) -> list[dict[str, object]]:
        if self.listed is not None:
            return [] if below and not self.endless else self.listed
        return (
            []
            if below
            else [{"path": path, "is_dir": False, "file_size": len(content)} for path, content in self.files.items()]
        )

    def _json(self, handler: BaseHTTPRequestHandler, document: object) -> None:
        self._send(handler, json.dumps(document).encode())

    def _send(self, handler: BaseHTTPRequestHandler, body: bytes, status: int = 200) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    @property
    def file(self) -> str:
        """Return the address of a file of its, {path} for the file's path."""
        return f"{self.address}/api/2.0/mlflow-artifacts/artifacts/odd/{{path}}"

    def arguments(self, *more: str, schemes: str = "mlflow-artifacts,http", keep_free: int = 0) -> list[str]:
        """Return the fetch step's arguments for the version."""
        options = {"name": "odd", "version": 1, "source": self.source, "schemes": schemes, "keep-free": keep_free}
        return ["fetch", *(word for name, value in options.items() for word in (f"--{name}", str(value))), *more]
