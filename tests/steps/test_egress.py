"""Fetch speaks to no server that the settings do not name, wherever the registry sends it and whoever asks."""

import json
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.mlflow_server import PATIENCE
from tests.steps.step import ROOT, Steps, environment
from tests.steps.store import FILES, Store

Bend = Callable[[BaseHTTPRequestHandler, str], bool]


def token(directory: Path) -> str:
    """Make the registry's credential and return the directory."""
    directory.mkdir()
    (directory / "registry.token").write_text("hunter2")
    return str(directory)


def redirecting(to: str) -> Bend:
    """Answer every file with another address, and a body that could be taken for it."""

    def bend(handler: BaseHTTPRequestHandler, path: str) -> bool:
        handler.send_response(302)
        handler.send_header("Location", to.replace("{path}", path))
        handler.send_header("Content-Length", str(len(FILES[path])))
        handler.end_headers()
        handler.wfile.write(FILES[path])
        return True

    return bend


ELSEWHERE = {
    "another port": "{elsewhere}",
    "another name of the registry": "http://localhost:{registry port}/api/2.0/mlflow-artifacts/artifacts/odd/{path}",
    "another writing of an address": "http://[::ffff:127.0.0.1]:{port}/{path}",
    "a number for an address": "http://2130706433:{port}/{path}",
    "a user before the name": "http://127.0.0.1:{registry port}@127.0.0.1:{port}/{path}",
    "a name that is looked up": "http://files.example.org:{port}/{path}",
}


@pytest.mark.parametrize("where", ELSEWHERE)
def test_a_presigned_address_elsewhere_is_not_asked(tmp_path: Path, run: Steps, where: str) -> None:
    """The server hands out addresses only; whoever runs it could name any."""
    with Store() as registry, Store() as elsewhere:
        own, port = registry.address.rpartition(":")[2], elsewhere.address.rpartition(":")[2]
        address = ELSEWHERE[where].replace("{elsewhere}", elsewhere.file)
        registry.presigned = address.replace("{registry port}", own).replace("{port}", port)
        ended = run(tmp_path / "release", *registry.arguments(), MLFLOW_TRACKING_URI=registry.address)
    assert ended.code == 1, ended.output
    assert ended.status.startswith("cannot download version 1 of odd: it is sent on to "), ended.status
    assert "which fetch.hosts does not list; have fetch.hosts extended" in ended.status
    assert elsewhere.seen == []
    assert not any(path.endswith("/artifacts/odd/MLmodel") for path, _ in registry.seen)
    assert not (tmp_path / "release/manifest.json").exists()


def test_a_presigned_address_that_the_settings_name_is_downloaded_from(tmp_path: Path, run: Steps) -> None:
    """Every file, byte for byte, and nobody but the registry is shown a credential."""
    with Store() as registry, Store() as bucket:
        registry.presigned = bucket.file
        ended = run(
            tmp_path / "release",
            *registry.arguments("--host", bucket.address),
            MLFLOW_TRACKING_URI=registry.address,
            CREDENTIALS_DIRECTORY=token(tmp_path / "credentials"),
        )
        assert ended.code == 0, ended.output
    assert {path: (tmp_path / "release/model" / path).read_bytes() for path in FILES} == FILES
    assert {authorization for _, authorization in registry.seen} == {"Bearer hunter2"}
    assert len(bucket.seen) == len(FILES)
    assert {authorization for _, authorization in bucket.seen} == {""}
    assert not any("/artifacts/odd/" in path for path, _ in registry.seen)


def test_a_redirect_leads_nowhere(tmp_path: Path, run: Steps) -> None:
    """Neither from a server that is named, nor from the registry itself; its body is not taken for the file."""
    with Store() as registry, Store() as bucket, Store() as elsewhere:
        registry.presigned, bucket.on_download = bucket.file, redirecting(elsewhere.file)
        arguments = registry.arguments("--host", bucket.address)
        ended = run(tmp_path / "presigned", *arguments, MLFLOW_TRACKING_URI=registry.address)
        assert (ended.code, "HTTP 302" in ended.status) == (1, True), ended.status
        assert elsewhere.seen == []
        registry.presigned, registry.on_download = None, redirecting(elsewhere.file)
        run(tmp_path / "own", *registry.arguments(), MLFLOW_TRACKING_URI=registry.address)
        assert elsewhere.seen == []


def endless(handler: BaseHTTPRequestHandler, path: str) -> bool:
    """Send the large file without end."""
    if path != "weights.bin":
        return False
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    try:
        while True:
            handler.wfile.write(b"\0" * 65536)
    except OSError:
        return True


def answering(status: int, body: bytes) -> Bend:
    """Send a page of somebody's on the way."""

    def bend(handler: BaseHTTPRequestHandler, path: str) -> bool:
        if path != "weights.bin":
            return False
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        return True

    return bend


@pytest.mark.parametrize(
    ("bend", "why"),
    [
        (endless, "sends more than it listed"),
        (answering(200, b"<html>log in"), "it broke off its answer"),
        (answering(206, b"\0" * 3000), "it answered HTTP 206"),
        (answering(403, b"expired"), "(HTTP 403)"),
        (answering(500, b"\0" * 3000), "it answered HTTP 500"),
    ],
)
def test_what_a_presigned_address_sends_is_held_to_the_listing(
    tmp_path: Path, run: Steps, bend: Bend, why: str
) -> None:
    """No page of an error is taken for the model, and nothing writes without end."""
    with Store() as registry, Store(on_download=bend) as bucket:
        registry.presigned = bucket.file
        ended = run(
            tmp_path / "release",
            *registry.arguments("--host", bucket.address),
            MLFLOW_TRACKING_URI=registry.address,
        )
    assert ended.code == 1
    assert why in ended.status, ended.status
    assert not (tmp_path / "release/manifest.json").exists()
    written = sum(path.stat().st_size for path in (tmp_path / "release").rglob("*") if path.is_file())
    assert written < 32 * 1024 * 1024


WAYS = """
import http.client, json, os, socket, subprocess, sys, threading, urllib.request
import _socket
from pathlib import Path
from reconciler.adapters.artifact_store import ArtifactStore
from reconciler.adapters.egress import Egress, EgressError
from reconciler.core.text.urls import origin
registry, elsewhere, named = sys.argv[1:4]
host, port = "127.0.0.1", int(elsewhere.rpartition(":")[2])
import requests
store = ArtifactStore(registry, 5, 0)
egress = Egress([origin(registry), *filter(None, [origin(named)])])
hold = egress.held()
hold.__enter__()
# A later MLflow goes where it is sent though this says that it must not; the installed one does so when it may.
os.environ["MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD"] = "true"
repository = store.open("mlflow-artifacts:/odd")._repository

def raw():
    plain = _socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        plain.connect((host, port))
    finally:
        plain.close()

def thread():
    caught = []
    def work():
        try:
            requests.get(elsewhere, timeout=5)
        except BaseException as error:
            caught.append(error)
    one = threading.Thread(target=work)
    one.start()
    one.join()
    if caught:
        raise caught[0]

ways = {
    "MLflow": lambda: repository._download_file("weights.bin", "weights.bin"),
    "requests": lambda: requests.get(elsewhere, timeout=5),
    "a thread": thread,
    "urllib": lambda: urllib.request.urlopen(elsewhere, timeout=5),
    "http.client": lambda: http.client.HTTPConnection(host, port, timeout=5).request("GET", "/"),
    "create_connection": lambda: socket.create_connection((host, port), 5),
    "a bare socket": raw,
    "a datagram": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", (host, port)),
    "a program": lambda: subprocess.run(["/bin/true"]),
    "a fork": lambda: os.fork() or os._exit(0),
}
ended = {}
for way, go in ways.items():
    try:
        go()
        ended[way] = "went"
    except (EgressError, PermissionError) as refused:
        ended[way] = refused.strerror if isinstance(refused, OSError) else str(refused)
    except Exception as error:
        ended[way] = "went" if isinstance(error, requests.RequestException | OSError) else repr(error)
hold.__exit__(None, None, None)
assert subprocess.run(["/bin/true"]).returncode == 0
print(json.dumps(ended))
"""


UNHELD = """
import sys
from pathlib import Path
from reconciler.adapters.artifact_store import ArtifactStore
artifacts = ArtifactStore(sys.argv[1], 5, 0).open("mlflow-artifacts:/odd")
try:
    artifacts.download("MLmodel", Path("MLmodel"))
except Exception as error:
    print(error)
"""


def test_nobody_follows_an_address_who_is_not_held_to_the_servers_that_are_named(tmp_path: Path) -> None:
    """A caller that forgets to say what is allowed goes nowhere: not even the first server has to be trusted."""
    with Store() as registry, Store() as elsewhere:
        registry.presigned = elsewhere.file
        done = subprocess.run(
            [sys.executable, "-c", UNHELD, registry.address],
            cwd=tmp_path,
            env=environment(tmp_path / "state", PYTHONPATH=str(ROOT)),
            stdout=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
    assert done.stdout.startswith("cannot follow an address that the artifact server gives"), done.stdout
    assert elsewhere.seen == []
    assert not (tmp_path / "MLmodel").exists()


def ways_out(directory: Path, registry: Store, elsewhere: Store, named: str) -> dict[str, str]:
    """Try every way out of a process that is held, and say for each how it ended."""
    directory.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", WAYS, registry.address, elsewhere.address, named],
        cwd=directory,
        env=environment(directory / "state", PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    ended: dict[str, str] = json.loads(done.stdout)
    return ended


def test_no_library_goes_past_what_is_allowed(tmp_path: Path) -> None:
    """MLflow's own presigned download in its threads, other clients, bare sockets, another program."""
    with Store() as registry, Store() as elsewhere:
        registry.presigned = elsewhere.file
        refused = ways_out(tmp_path / "refused", registry, elsewhere, "")
        assert elsewhere.seen == []
        place = elsewhere.address.removeprefix("http://")
        programs = dict.fromkeys(("a program", "a fork"), "no other program is started while files are downloaded")
        assert refused == dict.fromkeys(refused, place) | programs
        allowed = ways_out(tmp_path / "allowed", registry, elsewhere, elsewhere.address)
        assert allowed == dict.fromkeys(allowed, "went") | programs
        assert (tmp_path / "allowed/weights.bin").read_bytes() == FILES["weights.bin"]
        assert elsewhere.seen
