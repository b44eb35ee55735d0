"""Nothing is verified, or used again, that somebody else could still change."""

import mmap
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.steps.sole_access import knows_leases, why_not_alone
from tests.steps.step import Steps
from tests.steps.store import Store

WEIGHTS = "model/weights.bin"


@pytest.fixture
def release(tmp_path: Path, run: Steps) -> Path:
    """A release fetched for the host's own environment."""
    return fetched(tmp_path / "release", run)


def fetched(release: Path, run: Steps) -> Path:
    """Fetch it, once more perhaps."""
    with Store() as store:
        arguments = [*store.arguments(), "--environment", "host"]
        assert run(release, *arguments, MLFLOW_TRACKING_URI=store.address).code == 0
    return release


def _keep_open(file: Path) -> Callable[[], None]:
    descriptor = os.open(file, os.O_RDWR)
    return lambda: os.close(descriptor)


def _keep_mapped(file: Path) -> Callable[[], None]:
    descriptor = os.open(file, os.O_RDWR)
    mapped = mmap.mmap(descriptor, 0)
    os.close(descriptor)
    return mapped.close


def _link(file: Path) -> Callable[[], None]:
    other = file.parents[2] / "other"
    os.link(file, other)
    return other.unlink


def _let_in(path: Path) -> Callable[[], None]:
    mode = path.stat().st_mode
    path.chmod(mode | 0o002)
    return lambda: path.chmod(mode)


def _give_away(file: Path) -> Callable[[], None]:
    os.chown(file, 1234, -1)
    return lambda: os.chown(file, 0, -1)


HELD = {
    "open": (_keep_open, WEIGHTS, "has a file that somebody has open for writing"),
    "the manifest open": (_keep_open, "manifest.json", "has a file that somebody has open for writing"),
    "mapped": (_keep_mapped, WEIGHTS, "has a file that somebody has open for writing"),
    "a second name": (_link, WEIGHTS, "has a file with a second name elsewhere"),
    "a file for everybody": (_let_in, WEIGHTS, "can be changed by others than its owner"),
    "a directory for everybody": (_let_in, "model", "can be changed by others than its owner"),
    "the release for everybody": (_let_in, ".", "can be changed by others than its owner"),
    "another owner": (_give_away, WEIGHTS, "belongs to more than one user"),
}


@pytest.mark.parametrize("how", list(HELD))
def test_what_somebody_else_could_change_is_not_verified(release: Path, run: Steps, how: str) -> None:
    """It says which file; and is verified when that is over, its content being what it was."""
    hold, path, why = HELD[how]
    if hold is _give_away and os.geteuid() != 0:
        pytest.skip("needs root: to give a file away")
    verify = ["verify", "--release-dir", release, "--environment-dir", "host"]
    let_go = hold(release / path)
    shown = os.path.normpath(f"release/{path}")
    assert run(release, *verify).status == f"cannot verify {release}: it {why} ({shown!r}); fetch it again"
    let_go()
    assert run(release, *verify).code == 0


@pytest.mark.parametrize("how", ["open", "mapped", "a second name"])
def test_what_is_fetched_again_is_made_anew(release: Path, run: Steps, how: str) -> None:
    """Whoever holds the former files can change those, and nothing that is served."""
    hold, path, _ = HELD[how]
    before = (release / path).stat().st_ino
    let_go = hold(release / path)
    fetched(release, run)
    assert (release / path).stat().st_ino != before
    assert run(release, "verify", "--release-dir", release, "--environment-dir", "host").code == 0
    let_go()


def test_where_the_kernel_does_not_tell_who_has_a_file_open_that_is_known() -> None:
    """It tells for files, here; not for devices."""
    assert knows_leases(Path(__file__))
    assert not knows_leases(Path("/dev/null"))


def test_links_and_readers_are_in_nobodys_way(tmp_path: Path) -> None:
    """An environment has links to the host's interpreter, and its libraries are mapped by servers that run."""
    (tmp_path / "link").symlink_to("/usr/bin/python3")
    (tmp_path / "file").write_bytes(b"read")
    with (tmp_path / "file").open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ):
        assert why_not_alone(tmp_path) is None
    assert why_not_alone(tmp_path / "missing") is None
