"""A registry that answers well, or badly in one of many ways, as it is told while it runs."""

import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.mlflow_server import free_port

VERSIONS: dict[str, Any] = {
    "model_versions": [
        {"name": "demo", "version": "1", "current_stage": "None", "status": "READY", "source": "models:/m-1"},
        {"name": "demo", "version": "2", "current_stage": "Production", "status": "READY", "source": "models:/m-2"},
    ]
}
MODELS: dict[str, Any] = {
    "registered_models": [{"name": "demo", "latest_versions": VERSIONS["model_versions"], "aliases": []}]
}


class Handler(BaseHTTPRequestHandler):
    """Answers with what `Broken.mode` says."""

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - http.server's own name
        """Stay quiet."""

    def do_GET(self) -> None:
        """Answer a search, well or badly."""
        registry: Broken = self.server.registry  # type: ignore[attr-defined]  # put there by Broken
        registry.seen.append(self.headers.get("Authorization", ""))
        if urlsplit(self.path).path == "/version":
            return self.send(b"3.17.2" if registry.mode != "not MLflow" else b"nginx")
        is_models = "registered-models" in self.path
        document = MODELS if is_models else VERSIONS
        return getattr(self, "_" + registry.mode.replace(" ", "_"))(document, is_models)  # type: ignore[no-any-return]  # None

    def send(self, body: bytes, status: int = 200, length: int | None = None) -> None:
        """Send one whole answer, announced as `length` bytes."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def _good(self, document: dict[str, Any], _is_models: bool) -> None:
        self.send(json.dumps(document).encode())

    def _as_given(self, document: dict[str, Any], is_models: bool) -> None:
        registry: Broken = self.server.registry  # type: ignore[attr-defined]  # put there by Broken
        self.send(json.dumps(registry.bend(document, is_models)).encode())

    def _hanging(self, _document: dict[str, Any], _is_models: bool) -> None:
        self.rfile.read(1)  # returns when the client hangs up

    def _trickling(self, drop: bytes) -> None:
        pause = threading.Event()
        try:
            while not pause.wait(0.2):
                self.wfile.write(drop)
        except OSError:
            self.close_connection = True

    def _dripping(self, _document: dict[str, Any], _is_models: bool) -> None:
        self.send_response(200)
        self.end_headers()
        self._trickling(b" ")

    def _dripping_headers(self, _document: dict[str, Any], _is_models: bool) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        self._trickling(b"X-More: yes\r\n")

    def _endless(self, _document: dict[str, Any], _is_models: bool) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b" " * 1_000_000)
        except OSError:
            self.close_connection = True

    def _error_500(self, _document: dict[str, Any], _is_models: bool) -> None:
        self.send(b"<html>Internal Server Error</html>", 500)

    def _error_401(self, _document: dict[str, Any], _is_models: bool) -> None:
        self.send(b"You are not authenticated. hunter2", 401)

    def _refusal(self, _document: dict[str, Any], _is_models: bool) -> None:
        self.send(b'{"error_code": "PERMISSION_DENIED", "message": "no\\nway"}', 403)

    def _redirect(self, _document: dict[str, Any], _is_models: bool) -> None:
        self.send_response(302)
        self.send_header("Location", "http://127.0.0.1:9/")
        self.end_headers()

    def _html(self, _document: dict[str, Any], _is_models: bool) -> None:
        self.send(b"<html>Welcome</html>")

    def _empty(self, _document: dict[str, Any], _is_models: bool) -> None:
        self.send(b"")

    def _something_else(self, _document: dict[str, Any], _is_models: bool) -> None:
        self.send(b'{"status": "ok"}')

    def _null(self, _document: dict[str, Any], is_models: bool) -> None:
        self.send(b'{"registered_models": null}' if is_models else b'{"model_versions": null}')

    def _not_MLflow(self, _document: dict[str, Any], _is_models: bool) -> None:  # noqa: N802 - the mode's name
        self.send(b"{}")

    def _truncated(self, document: dict[str, Any], _is_models: bool) -> None:
        body = json.dumps(document).encode()
        self.send(body[:-20], length=len(body))

    def _half_a_document(self, document: dict[str, Any], _is_models: bool) -> None:
        self.send(json.dumps(document).encode()[:-20])

    def _garbage_types(self, _document: dict[str, Any], is_models: bool) -> None:
        self.send(b'{"registered_models": {"name": 7}}' if is_models else b'{"model_versions": [[]]}')

    def _odd_versions(self, document: dict[str, Any], is_models: bool) -> None:
        document = document if is_models else {"model_versions": [{**VERSIONS["model_versions"][1], "version": "two"}]}
        self.send(json.dumps(document).encode())

    def _half_the_versions(self, document: dict[str, Any], is_models: bool) -> None:
        document = document if is_models else {"model_versions": VERSIONS["model_versions"][:1]}
        self.send(json.dumps(document).encode())

    def _moving_pages(self, document: dict[str, Any], is_models: bool) -> None:
        if is_models:
            return self.send(json.dumps(document).encode())
        registry: Broken = self.server.registry  # type: ignore[attr-defined]  # put there by Broken
        if "page_token" in parse_qs(urlsplit(self.path).query):
            registry.pages += 1
            stage = "Production" if registry.pages % 2 else "None"
            page: dict[str, Any] = {"model_versions": [{**VERSIONS["model_versions"][1], "current_stage": stage}]}
        else:
            page = {"model_versions": VERSIONS["model_versions"][:1], "next_page_token": "x"}
        return self.send(json.dumps(page).encode())

    def _pages(self, document: dict[str, Any], is_models: bool) -> None:
        if is_models:
            return self.send(json.dumps(document).encode())
        if "page_token" in parse_qs(urlsplit(self.path).query):
            return self.send(json.dumps({"model_versions": VERSIONS["model_versions"][1:]}).encode())
        page = {"model_versions": VERSIONS["model_versions"][:1], "next_page_token": "x"}
        return self.send(json.dumps(page).encode())

    def _endless_pages(self, document: dict[str, Any], is_models: bool) -> None:
        page = document if is_models else {"model_versions": [], "next_page_token": "again"}
        self.send(json.dumps(page).encode())


class Broken:
    """The registry's address stays the same while it goes and comes back."""

    def __init__(self) -> None:
        """Answer well from the start."""
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.mode = "good"
        self.bend: Callable[[dict[str, Any], bool], object] = lambda document, _is_models: document
        """What "as given" makes of a good document, and whether that is the one of the models."""
        self.pages = 0
        self.seen: list[str] = []
        self._server: ThreadingHTTPServer | None = None
        self.start()

    def start(self) -> None:
        """Listen, unless it does already."""
        if self._server is not None:
            return
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler, bind_and_activate=False)
        self._server.daemon_threads = True
        self._server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._server.server_bind()
        self._server.server_activate()
        self._server.registry = self  # type: ignore[attr-defined]  # for the handler
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
