"""What root recorded at the first fetch is compared at every later one, and before every start."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from reconciler.steps import check_files
from tests.steps.step import ROOT, Steps
from tests.steps.store import Store

CHECKER = ROOT / "reconciler" / "steps" / "check_files.py"


def test_other_files_of_the_same_version_are_refused_and_good_ones_kept(tmp_path: Path, run: Steps) -> None:
    """A good copy needs no store; a damaged one is not replaced by what the store has now, however often tried."""
    with Store() as store:
        state, pin = tmp_path / "release", tmp_path / "pin"
        arguments = [*store.arguments(), "--pin", pin]
        first = run(state, *arguments, MLFLOW_TRACKING_URI=store.address)
        match = re.search(r"; files=([0-9a-f]{64}); environment=", first.status)
        assert match, first.output
        pin.write_text(match[1])
        store.files["weights.bin"] = b"\1" * 3000
        assert run(state, *arguments, MLFLOW_TRACKING_URI=store.address).status == first.status
        (state / "model/weights.bin").write_bytes(b"\1" * 3000)
        for why in (r" \(weights.bin\)", ""):
            refused = run(state, *arguments, MLFLOW_TRACKING_URI=store.address)
            assert refused.code == 1
            assert re.search(f"other files than when it was first fetched here{why}; register a new", refused.status)
            assert not (state / "model").exists()
        store.files["weights.bin"] = b"\0" * 3000
        assert run(state, *arguments, MLFLOW_TRACKING_URI=store.address).status == first.status


@pytest.mark.parametrize(
    "damage", ["none", "same size", "extra", "missing", "link", "fifo", "linked directory", "no record", "bytecode"]
)
def test_a_server_starts_only_with_what_was_recorded(tmp_path: Path, damage: str) -> None:
    """The check becomes the server, or ends with 78 and a sentence; it never waits for a pipe."""
    model, venv = tmp_path / "model", tmp_path / "venv"
    (venv / "__pycache__").mkdir(parents=True)
    (venv / "__pycache__/a.pyc").write_bytes(b"1234")
    (venv / "python").symlink_to("/usr/bin/python3")
    model.mkdir()
    (model / "weights").write_bytes(b"1234")
    (tmp_path / "files").write_text(check_files.digest(check_files.listing(str(model))))
    (tmp_path / "content").write_text(check_files.digest(check_files.listing(str(venv), links=True)))
    if damage == "same size":
        (model / "weights").write_bytes(b"4321")
    elif damage == "extra":
        (model / "more").touch()
    elif damage in ("missing", "link", "fifo"):
        (model / "weights").unlink()
        if damage == "link":
            (model / "weights").symlink_to("/dev/zero")
        elif damage == "fifo":
            os.mkfifo(model / "weights")
    elif damage == "linked directory":
        model.rename(tmp_path / "moved")
        model.symlink_to(tmp_path / "moved")
    elif damage == "no record":
        (tmp_path / "files").unlink()
    elif damage == "bytecode":
        (venv / "__pycache__/a.pyc").write_bytes(b"4321")
    command = ["/usr/bin/python3", "-IS", str(CHECKER), "--model-files", f"{tmp_path}/files", str(model)]
    command += ["--environment-files", f"{tmp_path}/content", str(venv), "--", "/bin/echo", "--served"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if damage == "none":
        assert (done.returncode, done.stdout) == (0, "--served\n")
    else:
        assert (done.returncode, done.stdout) == (78, "")
        assert done.stderr.startswith(check_files.CHANGED)


def test_signals_of_the_server_wait_for_it(tmp_path: Path) -> None:
    """To stand by, or to answer: during the check they would kill the process, so they are kept for the server."""
    (tmp_path / "model").mkdir()
    (tmp_path / "files").write_text(check_files.digest({}))
    said = "import signal; print(*sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])))"
    command = ["/usr/bin/python3", "-IS", str(CHECKER), "--model-files", f"{tmp_path}/files", f"{tmp_path}/model", "--"]
    done = subprocess.run([*command, "/usr/bin/python3", "-c", said], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(int(number)) for number in (signal.SIGUSR1, signal.SIGUSR2)]
