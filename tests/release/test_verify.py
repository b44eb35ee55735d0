"""Verify notices every difference between what was fetched and what lies on the disk."""

import os
from pathlib import Path

import pytest

from tests.release.step import Steps
from tests.release.store import Store


@pytest.fixture
def release(tmp_path: Path, run: Steps) -> Path:
    """A release fetched for the host's own environment."""
    with Store() as store:
        arguments = [*store.arguments(), "--environment", "host"]
        assert run(tmp_path / "release", *arguments, MLFLOW_TRACKING_URI=store.address).code == 0
    return tmp_path / "release"


def test_an_untouched_release_is_verified(release: Path, run: Steps) -> None:
    """The status says how much was compared."""
    ended = run(release, "verify", "--release-dir", release, "--environment-dir", "host")
    assert (ended.code, ended.status) == (0, "verified 3 files, 3.0 KiB; environment=host")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ("missing", "'weights.bin' is missing"),
        ("changed", "'weights.bin' is not what was fetched"),
        ("extra", "'more.py' was not there when it was fetched"),
        ("link", "'link' is a symbolic link"),
        ("linked file", "'weights.bin' is a symbolic link"),
        ("fifo", "'fifo' is neither a file nor a directory"),
        ("manifest", "is not a manifest of this product"),
        ("no manifest", "was not fetched completely"),
        ("manifest leads out", "is not a manifest of this product"),
    ],
)
def test_a_changed_release_is_refused(release: Path, run: Steps, damage: str, why: str) -> None:
    """One sentence that names the file."""
    model, manifest = release / "model", release / "manifest.json"
    if damage in ("missing", "linked file"):
        (model / "weights.bin").unlink()
    if damage == "changed":
        (model / "weights.bin").write_bytes(b"\1" * 3000)
    elif damage == "extra":
        (model / "more.py").touch()
    elif damage == "link":
        (model / "link").symlink_to("/etc/passwd")
    elif damage == "linked file":
        (model / "weights.bin").symlink_to("/dev/zero")
    elif damage == "fifo":
        os.mkfifo(model / "fifo")
    elif damage == "manifest":
        manifest.write_text(manifest.read_text()[:-10])
    elif damage == "manifest leads out":
        manifest.write_text(manifest.read_text().replace("weights.bin", "../weights.bin"))
    elif damage == "no manifest":
        manifest.unlink()
    ended = run(release, "verify", "--release-dir", release, "--environment-dir", "host")
    assert ended.code == 1
    assert ended.status.startswith("cannot ")
    assert why in ended.status


def test_a_release_for_another_environment_is_refused(release: Path, run: Steps, tmp_path: Path) -> None:
    """Neither is the host's taken for the model's, nor the other way round."""
    ended = run(release, "verify", "--release-dir", release, "--environment-dir", tmp_path / "environment")
    assert ended.status == "cannot verify version 1 of odd: it was fetched for the environment host; fetch it again"


def test_an_environment_that_is_not_complete_is_refused(tmp_path: Path, run: Steps) -> None:
    """The record of the environment is compared, too."""
    with Store() as store:
        assert run(tmp_path / "release", *store.arguments(), MLFLOW_TRACKING_URI=store.address).code == 0
    (tmp_path / "environment").mkdir()
    arguments = ["verify", "--release-dir", tmp_path / "release", "--environment-dir", tmp_path / "environment"]
    ended = run(tmp_path / "release", *arguments)
    assert ended.status == ("cannot verify version 1 of odd: its environment was not built completely; build it again")
