"""A real MLflow server, an ordinary account, and a relay that misbehaves on demand."""

import importlib.util
import os
import pty
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 120.0
NOBODY = 65534


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds; fail after DEADLINE seconds."""
    end = time.monotonic() + DEADLINE
    pause = threading.Event()
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"{what} did not happen within {DEADLINE:.0f} s")
        pause.wait(0.05)


@dataclass(frozen=True)
class Result:
    """What one run of the script left behind."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Account:
    """A data scientist: an ordinary user with a home of their own, who runs the script there."""

    home: Path
    registry: str
    cache: Path

    def write(self, name: str, text: str) -> Path:
        """Write a file into the home."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def environment(self, **more: str) -> dict[str, str]:
        """Return an environment without anything of the machine that runs the tests."""
        return {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "PYTHONPYCACHEPREFIX": str(self.cache),  # importing MLflow without bytecode takes three times as long
            "MLFLOW_DISABLE_TELEMETRY": "true",
            **more,
        }

    def command(self, *arguments: str, script: Path | None = None) -> list[str]:
        """Return the command line of the script."""
        return [*ordinary(), sys.executable, str(script or ROOT / "pipeline.py"), *arguments]

    def start(self, *arguments: str, script: Path | None = None, **environment: str) -> subprocess.Popen[str]:
        """Start the script without a terminal."""
        environment.setdefault("MLFLOW_TRACKING_URI", self.registry)
        return subprocess.Popen(
            self.command(*arguments, script=script),
            cwd=self.home,
            env=self.environment(**{key: value for key, value in environment.items() if value}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, script: Path | None = None, **environment: str) -> Result:
        """Run the script without a terminal, to its end."""
        process = self.start(*arguments, script=script, **environment)
        out, err = process.communicate(timeout=DEADLINE)
        return Result(process.returncode, out, err)

    def talk(self, answers: dict[str, str], *arguments: str) -> Result:
        """Run the script on a terminal and give each answer when its question appears, in this order."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            self.command(*arguments),
            cwd=self.home,
            env=self.environment(MLFLOW_TRACKING_URI=self.registry),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        text, waiting, end = "", list(answers.items()), time.monotonic() + DEADLINE
        seen = 0
        while time.monotonic() < end:
            if not select.select([ours], [], [], 1)[0]:
                continue
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux says EIO when the other side is closed
                break
            if not piece:
                break
            text += piece.decode()
            if waiting and waiting[0][0] in text[seen:]:
                seen = len(text)
                os.write(ours, f"{waiting.pop(0)[1]}\n".encode())
        os.close(ours)
        return Result(process.wait(timeout=DEADLINE), text.replace("\r\n", "\n"), "")


# In a mount namespace of its own: the checkout at its place, and nothing else of the directory that hides it.
OPEN_UP = """
mount --bind "$1" /mnt; mount -t tmpfs -o mode=0755 tmpfs "$0"; mkdir -p "$1"; mount --move /mnt "$1"; shift; exec "$@"
"""


def ordinary() -> list[str]:
    """Return the words before a command that change the account: the tests may run as root, a data scientist does not.

    root's checkout is often in root's home, which nobody else may enter.
    """
    if os.geteuid() != 0:
        return []
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    hidden = [parent for parent in reversed(ROOT.parents) if not parent.stat().st_mode & stat.S_IXOTH]
    if not hidden:
        return become
    apart = ["unshare", "--mount", "--propagation=private", "sh", "-ec", OPEN_UP]
    return [*apart, str(hidden[0]), str(ROOT), *become]


@pytest.fixture(scope="module")
def pipeline() -> Iterator[ModuleType]:
    """The script as a module, as a served template imports it."""
    spec = importlib.util.spec_from_file_location("pipeline", ROOT / "pipeline.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pipeline"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["pipeline"]


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server; yields its address."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    log = (folder / "log").open("wb")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    server = subprocess.Popen(
        command,
        cwd=folder,
        env={key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        | {"PYTHONPYCACHEPREFIX": str(folder / "bytecode")},  # its second process starts faster
        stdout=log,
        stderr=log,
        start_new_session=True,
    )

    def healthy() -> bool:
        if server.poll() is not None:
            pytest.fail(f"mlflow server ended: {(folder / 'log').read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:  # noqa: S310 - our own server
                return bool(answer.status == 200)
        except OSError:
            return False

    try:
        wait_for(healthy, "the start of the MLflow server")
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # all of it is thrown away, and stopping politely takes it seconds
        server.wait(timeout=DEADLINE)
        log.close()


@pytest.fixture(scope="session")
def bytecode() -> Iterator[Path]:
    """A place for compiled Python that the ordinary account may write to."""
    yield from owned_folder("pipeline-bytecode-")


@pytest.fixture
def scientist(registry: str, bytecode: Path) -> Iterator[Account]:
    """An ordinary account with an empty home."""
    for home in owned_folder("pipeline-home-"):
        yield Account(home, registry, bytecode)


def owned_folder(prefix: str) -> Iterator[Path]:
    """Make a folder that belongs to the ordinary account (pytest's own may not be entered by others)."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


@dataclass
class Relay:
    """Passes requests on to the real server, except for what a test wants to go wrong."""

    address: str = ""
    answers: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    stalls: str = ""
    stalled: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def relay(registry: str) -> Iterator[Relay]:
    """A relay in front of the real server: `answers` by a part of the path, `stalls` on one."""
    state = Relay()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's own name
            """Stay quiet."""

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if state.stalls and state.stalls in self.path:
                state.stalled.set()
                state.release.wait(DEADLINE)
                self.close_connection = True
                return
            for part, (status, kind, text) in state.answers.items():
                if part in self.path:
                    self.reply(status, kind, text.encode())
                    return
            headers = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "connection")}
            request = urllib.request.Request(registry + self.path, body or None, headers, method=self.command)  # noqa: S310 - our own server
            try:
                with urllib.request.urlopen(request, timeout=DEADLINE) as answer:  # noqa: S310 - our own server
                    self.reply(answer.status, answer.headers.get("Content-Type", ""), answer.read())
            except urllib.error.HTTPError as error:
                self.reply(error.code, error.headers.get("Content-Type", ""), error.read())

        def reply(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815 - http.server's own names

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield state
    finally:
        state.release.set()
        server.shutdown()
        thread.join()
        server.server_close()
