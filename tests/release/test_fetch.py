"""Fetch, against a real MLflow server, and against a store that does what no honest one would."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from reconciler.release import manifest as manifests
from reconciler.release.tree import sha256_of
from tests.mlflow_server import PATIENCE, NotifySocket, wait_until
from tests.release.conftest import Registered, log_directory
from tests.release.step import ROOT, Steps, command, environment
from tests.release.store import FILES, MLMODEL, Store

NOBODY_LISTENS = "http://127.0.0.1:9"


def test_a_registered_model_is_on_the_disk_with_the_digest_of_every_file(
    demo: Registered, tmp_path: Path, run: Steps
) -> None:
    """What the registry holds, byte for byte, readable by the server's user, and what it needs to run."""
    import mlflow

    state = tmp_path / "release"
    ended = run(state, *demo.arguments(), MLFLOW_TRACKING_URI=demo.registry)
    assert ended.code == 0, ended.output
    manifest = manifests.read(state)
    assert ended.status.startswith(f"fetched {len(manifest.files)} files, ")
    assert ended.status.endswith(f"; environment={manifest.environment.digest}")
    assert ended.status in ended.output
    assert manifest.environment.requirements == ("mlflow-skinny", "tiny==1.0")
    assert manifest.environment.python == "3.11"
    assert (manifest.name, manifest.version, manifest.source) == ("demo", demo.version, demo.source)
    mlflow.set_tracking_uri(demo.registry)
    original = Path(mlflow.artifacts.download_artifacts(f"models:/demo/{demo.version}", dst_path=str(tmp_path / "own")))
    ours = {path: sha256_of(state / "model" / path) for path in manifest.files}
    assert ours == {
        str(path.relative_to(original)): sha256_of(path)
        for path in original.rglob("*")
        if path.is_file() and path.name != "registered_model_meta"  # made by the client on its way
    }
    assert ours == {path: record.sha256 for path, record in manifest.files.items()}
    assert all((state / "model" / path).stat().st_mode & 0o777 == 0o644 for path in manifest.files)
    assert sorted(path.name for path in state.iterdir()) == ["manifest.json", "model"]


def test_repeating_a_fetch_needs_no_network(demo: Registered, tmp_path: Path, run: Steps) -> None:
    """A boot with the registry down finds everything in place."""
    state = tmp_path / "release"
    first = run(state, *demo.arguments(), MLFLOW_TRACKING_URI=demo.registry)
    before = (state / "manifest.json").stat().st_mtime_ns
    again = run(state, *demo.arguments(), MLFLOW_TRACKING_URI=NOBODY_LISTENS)
    assert (again.code, again.status) == (0, first.status)
    assert (state / "manifest.json").stat().st_mtime_ns == before


def test_a_model_registered_through_its_run_is_found(ridge: Registered, tmp_path: Path, run: Steps) -> None:
    """Old clients register `runs:/…`; the registry resolves it."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "MLmodel").write_bytes(MLMODEL)
    (own / "requirements.txt").write_text("tiny==1.0\n")
    (own / "deep/er").mkdir(parents=True)
    (own / "deep/er/data.bin").write_bytes(b"x" * 100_000)
    registered = log_directory(ridge.registry, "through-its-run", own)
    assert registered.source.startswith("runs:/")
    ended = run(tmp_path / "a", *registered.arguments(), MLFLOW_TRACKING_URI=ridge.registry)
    assert ended.code == 0, ended.output
    assert manifests.read(tmp_path / "a").files["deep/er/data.bin"].size == 100_000
    assert run(tmp_path / "b", *ridge.arguments(), MLFLOW_TRACKING_URI=ridge.registry).code == 0


@pytest.mark.parametrize("damage", ["missing", "shorter", "extra", "manifest", "another source"])
def test_what_is_not_as_it_was_fetched_is_fetched_again(tmp_path: Path, run: Steps, damage: str) -> None:
    """A deleted file, or a version number that was given to other bytes, is repaired by fetching."""
    with Store() as store:
        state = tmp_path / "release"
        first = run(state, *store.arguments(), MLFLOW_TRACKING_URI=store.address)
        assert first.code == 0, first.output
        if damage == "missing":
            (state / "model/weights.bin").unlink()
        elif damage == "shorter":
            (state / "model/weights.bin").write_bytes(b"\0")
        elif damage == "extra":
            (state / "model/more").write_bytes(b"")
        elif damage == "manifest":
            (state / "manifest.json").write_text('{"schema": 2}')
        else:
            store.source, store.files["weights.bin"] = "models:/m-2", b"\1" * 3000
        again = run(state, *store.arguments(), MLFLOW_TRACKING_URI=store.address)
        assert again.code == 0
        assert (again.status == first.status) == (damage != "another source")
        assert (state / "model/weights.bin").read_bytes() == store.files["weights.bin"]


def test_another_environment_is_written_down_without_a_download(tmp_path: Path, run: Steps) -> None:
    """`deploy.environment` may change after the files are there."""
    with Store() as store:
        state = tmp_path / "release"
        own = run(state, *store.arguments(), MLFLOW_TRACKING_URI=store.address)
        host = run(state, *store.arguments(), "--environment", "host", MLFLOW_TRACKING_URI=NOBODY_LISTENS)
        assert host.status.endswith("; environment=host"), host.output
        back = run(state, *store.arguments(), MLFLOW_TRACKING_URI=NOBODY_LISTENS)
        assert back.status == own.status


@pytest.mark.parametrize(
    ("location", "where"),
    [
        ("file:///etc", "file:"),
        ("/etc", "a plain path:"),
        ("etc", "a plain path:"),
        ("s3://bucket/model", "s3:"),
        ("ftp://host/model", "ftp:"),
        ("sqlite:///x.db", "sqlite:"),
        ("", "a plain path:"),
    ],
)
def test_a_location_outside_the_settings_is_refused(tmp_path: Path, run: Steps, location: str, where: str) -> None:
    """MLflow's client would copy this host's own files; the allowed schemes decide, not the model."""
    with Store(location=location) as store:
        ended = run(tmp_path / "release", *store.arguments(), MLFLOW_TRACKING_URI=store.address)
    assert ended.code == 1
    assert ended.status.startswith("cannot download version 1 of odd: its files are at ")
    assert where in ended.status
    assert not list((tmp_path / "release").iterdir())


@pytest.mark.parametrize(
    ("bend", "why"),
    [
        ({"files": {"weights.bin": b""}}, "it has no file MLmodel"),
        ({"files": {}}, "the artifact store has no files for it"),
        ({"files": {"MLmodel": MLMODEL}}, "it has no requirements.txt"),
        ({"files": {**FILES, "requirements.txt": b"-e .\n"}}, "only package names with versions are allowed"),
        ({"location": "mlflow-artifacts:/odd/../../etc"}, "its location has '..'"),
        ({"listed": [{"path": "../../etc/x", "is_dir": False, "file_size": 1}]}, "cannot download"),
        ({"listed": [{"path": "/etc/x", "is_dir": False, "file_size": 1}]}, "cannot download"),
        ({"listed": [{"path": "a\u202eb", "is_dir": False, "file_size": 1}]}, "characters that cannot be shown"),
        ({"listed": [{"path": "d" * 300, "is_dir": False, "file_size": 1}]}, "it is too long"),
        (
            {"listed": [{"path": f"f{n}", "is_dir": False, "file_size": 1} for n in range(10_001)]},
            "it has more than 10000 files",
        ),
        (
            {"listed": [{"path": "MLmodel", "is_dir": False, "file_size": 10**18}]},
            "free on this host",
        ),
        (
            {"listed": [{"path": path, "is_dir": False, "file_size": 7} for path in FILES]},
            "another size than listed",
        ),
    ],
)
def test_a_model_that_cannot_be_used_leaves_nothing_that_counts(
    tmp_path: Path, run: Steps, bend: dict[str, object], why: str
) -> None:
    """The reason is one sentence, and there is no manifest."""
    with Store(**bend) as store:  # type: ignore[arg-type]  # the table holds fields of several types
        ended = run(tmp_path / "release", *store.arguments(), MLFLOW_TRACKING_URI=store.address)
    assert ended.code == 1
    assert ended.status.startswith("cannot ")
    assert why in ended.status
    assert "Traceback" not in ended.output
    assert not (tmp_path / "release/manifest.json").exists()
    assert not (tmp_path / "release/model").exists()


def test_space_that_must_stay_free_is_left_free(tmp_path: Path, run: Steps) -> None:
    """The sum of the listing is compared before the first byte is downloaded."""
    free = shutil.disk_usage(tmp_path).free
    with Store() as store:
        ended = run(tmp_path / "release", *store.arguments(keep_free=2 * free), MLFLOW_TRACKING_URI=store.address)
        assert not any("odd/" in path for path, _ in store.seen)
    assert ended.code == 1
    assert "stay free; make room on the host" in ended.status


@pytest.mark.parametrize("kind", ["more than listed", "less than announced", "not there", "HTML"])
def test_a_store_that_breaks_its_word_is_a_reason(tmp_path: Path, run: Steps, kind: str) -> None:
    """Endless bodies are cut off, truncated ones noticed."""

    def bend(handler: BaseHTTPRequestHandler, path: str) -> bool:
        if path != "weights.bin":
            return False
        if kind == "not there":
            handler.send_error(404)
            return True
        handler.send_response(200)
        handler.send_header("Connection", "close")
        if kind == "less than announced":
            handler.send_header("Content-Length", "3000")
        handler.end_headers()
        handler.close_connection = True
        if kind == "more than listed":
            try:
                while True:
                    handler.wfile.write(b"\0" * 65536)
            except OSError:
                return True
        handler.wfile.write(b"<html>" if kind == "HTML" else b"\0" * 100)
        return True

    with Store(on_download=bend) as store:
        ended = run(tmp_path / "release", *store.arguments(), MLFLOW_TRACKING_URI=store.address)
    assert ended.code == 1
    assert ended.status.startswith("cannot download version 1 of odd: ")
    assert not (tmp_path / "release/manifest.json").exists()
    written = sum(path.stat().st_size for path in (tmp_path / "release").rglob("*") if path.is_file())
    assert written < 32 * 1024 * 1024


def test_credentials_go_to_the_registry_and_nowhere_else(tmp_path: Path, run: Steps) -> None:
    """Whoever may register a version may name any host; that host is not handed the password."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "registry.username").write_text("fetcher\n")
    (credentials / "registry.password").write_text("hunter2\n")
    with Store() as registry, Store() as elsewhere:
        for location in (
            "mlflow-artifacts:/odd",
            f"mlflow-artifacts://{elsewhere.address.removeprefix('http://')}/odd",
        ):
            registry.location = location
            state = tmp_path / str(len(location))
            ended = run(
                state,
                *registry.arguments(),
                MLFLOW_TRACKING_URI=registry.address,
                CREDENTIALS_DIRECTORY=str(credentials),
            )
            assert ended.code == 0, ended.output
            assert "hunter2" not in ended.output
    assert all(authorization.startswith("Basic ") for _, authorization in registry.seen)
    assert elsewhere.seen
    assert not any(authorization for _, authorization in elsewhere.seen)


def test_an_unreachable_registry_is_a_plain_reason(tmp_path: Path, run: Steps) -> None:
    """Nobody listening, and an address that does not exist."""
    with Store() as store:
        arguments = store.arguments()
    ended = run(tmp_path / "release", *arguments, MLFLOW_TRACKING_URI=NOBODY_LISTENS)
    assert ended.code == 1
    assert f"{NOBODY_LISTENS}: connection refused; it is tried again by itself" in ended.status


def test_a_stopped_fetch_says_that_it_goes_on_and_does(tmp_path: Path, run: Steps) -> None:
    """SIGTERM is what systemd sends at the deadline; the store hangs, and the step ends at once."""
    hangs = [True]

    def bend(handler: BaseHTTPRequestHandler, path: str) -> bool:
        if path == "weights.bin" and hangs:
            handler.rfile.read(1)  # nothing comes before the client hangs up
        return False

    state = tmp_path / "release"
    listener = NotifySocket(tmp_path / "own.sock")
    with Store(on_download=bend) as store:
        process = subprocess.Popen(
            command(*store.arguments()),
            cwd=ROOT,
            env=environment(state, **listener.environment, MLFLOW_TRACKING_URI=store.address),
        )
        wait_until(lambda: any("weights" in path for path, _ in store.seen), "the download hangs")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 75
        listener.close()
        assert listener.statuses() == ["stopped by SIGTERM before it was done; the next start goes on"]
        assert not (state / "manifest.json").exists()
        hangs.clear()
        assert run(state, *store.arguments(), MLFLOW_TRACKING_URI=store.address).code == 0


@pytest.mark.parametrize("stride", [3, pytest.param(1, marks=pytest.mark.exhaustive)])
def test_a_fetch_killed_at_any_action_is_finished_by_the_next(tmp_path: Path, stride: int) -> None:
    """SIGKILL before every single change of the disk; a manifest never lies over files that are not whole."""
    with Store() as store:
        done = subprocess.run(
            [command()[0], "-m", "tests.release.killed", str(stride), *store.arguments(), "--environment", "host"],
            cwd=ROOT,
            env=environment(tmp_path / "release", MLFLOW_TRACKING_URI=store.address),
            stdout=subprocess.PIPE,
            text=True,
            timeout=3 * PATIENCE,
            check=True,
        )
    kills = [json.loads(line) for line in done.stdout.splitlines()]
    assert [kill["again"] for kill in kills] == [0] * len(kills)
    assert all(kill["whole"] for kill in kills)
    assert [kill["code"] for kill in kills] == [-signal.SIGKILL] * (len(kills) - 1) + [0]
    assert len(kills) > 10 // stride, kills


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of three pages."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a tiny file system")
    disk = tmp_path / "release"
    disk.mkdir()
    subprocess.run(["/usr/bin/mount", "-t", "tmpfs", "-o", "size=12k", "tmpfs", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["/usr/bin/umount", str(disk)], check=True)


def test_a_disk_that_fills_up_is_a_plain_reason_and_nothing_counts(tiny_disk: Path, run: Steps) -> None:
    """Small files take whole blocks, so the sum of the listing fitted and the disk did not."""
    files = {**FILES, **{f"part{number}": b"x" * 100 for number in range(6)}}
    with Store(files=files) as store:
        ended = run(tiny_disk, *store.arguments(), MLFLOW_TRACKING_URI=store.address)
        assert ended.code == 1
        assert "no space left on this host's disk; make room on the host" in ended.status
        assert not (tiny_disk / "manifest.json").exists()
        subprocess.run(["/usr/bin/mount", "-o", "remount,size=1m", str(tiny_disk)], check=True)
        assert run(tiny_disk, *store.arguments(), MLFLOW_TRACKING_URI=store.address).code == 0
