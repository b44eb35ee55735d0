"""A stand-in of the SPIRA API as far as pipeline.py speaks to it: a login by form, a bearer token, models by name."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

USER, PASSWORD, TOKEN = "deploy", "a+secret&of=tests", "token.of-tests"


@dataclass
class SpiraApi:
    """One running API, and what it was told."""

    url: str
    models: dict[str, str] = field(default_factory=dict)
    """Channels, by the names of the models."""
    paths: list[str] = field(default_factory=list)
    behave: str = ""
    """How the next answers are to be odd: see `_Handler`."""
    hold: threading.Event = field(default_factory=threading.Event)
    """Set to end what hangs."""

    def environment(self, **other: str) -> dict[str, str]:
        """What a .env has that names it."""
        return {
            "AUTH_ENDPOINT": f"{self.url}/v1/users/auth",
            "MODEL_CREATION_ENDPOINT": f"{self.url}/v1/models",
            "ACCESS_USER": USER,
            "ACCESS_KEY": PASSWORD,
            **other,
        }


class _Handler(BaseHTTPRequestHandler):
    api: SpiraApi

    def do_POST(self) -> None:
        """Answer a login or a new model."""
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.api.paths.append(self.path)
        if self.path == "/v1/users/auth":
            self._log_in(body)
        elif self.path == "/v1/models":
            self._create(body)
        else:
            self._answer(404, {"detail": "Not Found"})

    def _log_in(self, body: bytes) -> None:
        form = parse_qs(body.decode())
        match self.api.behave:
            case "hang":
                self.api.hold.wait(60)
            case "redirect":
                self.send_response(307)
                self.send_header("Location", f"{self.api.url}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()
            case "page":
                self._answer(200, "<html>a page for browsers</html>")
            case "no token":
                self._answer(200, {"access_token": 7})
            case "deep":
                self._answer(200, "[" * 60_000)
            case "endless":
                self.send_response(200)
                self.end_headers()
                while not self.api.hold.is_set():
                    self.wfile.write(b" " * 65536)
            case "broken":
                self._answer(500, {"detail": "Internal Server Error"})
            case _ if form == {"username": [USER], "password": [PASSWORD]}:
                self._answer(200, {"access_token": TOKEN, "token_type": "bearer"})
            case _:
                self._answer(401, {"detail": "Incorrect username or password"})

    def _create(self, body: bytes) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"detail": "could not validate the credentials"})
            return
        model = json.loads(body)
        if self.api.behave == "forbidden":
            self._answer(403, {"detail": "not enough permissions"})
        elif self.api.behave == "invalid":
            self._answer(422, {"detail": "model name is not valid\x1b[2J"})
        elif model["name"] in self.api.models:
            self._answer(409 if self.api.behave == "conflict" else 422, {"detail": "model already exists"})
        else:
            self.api.models[model["name"]] = model["publishing_channel"]
            self._answer(201, {"message": "model registered!"})

    def _answer(self, status: int, content: object) -> None:
        body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: the body has a password."""


@contextmanager
def spira_api() -> Iterator[SpiraApi]:
    """Run an API at a port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {}))
    api = SpiraApi(f"http://127.0.0.1:{server.server_port}")
    server.RequestHandlerClass.api = api  # type: ignore[attr-defined]  # a class of its own for each server
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield api
    finally:
        api.hold.set()
        server.shutdown()
        server.server_close()
