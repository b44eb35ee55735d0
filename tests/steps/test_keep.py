"""What a server compiled is copied as it is, as a whole or not at all, whatever its model puts there."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.steps import keep as module
from reconciler.steps.keep import keep
from reconciler.steps.step_report import StepError
from tests.steps.step import Steps

CONTENT = os.urandom(3_000_000)
MOST = 4_000_000
INSTANCE = f"{MOST}.model-demo@3.1a2b3c4d"


@pytest.fixture
def offered(tmp_path: Path) -> Path:
    """Where a server puts what it compiled."""
    (tmp_path / "from").mkdir()
    return tmp_path / "from" / "compiled.zip"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A directory as systemd makes it for this step."""
    (tmp_path / "to").mkdir()
    return tmp_path / "to"


def names(directory: Path) -> list[str]:
    """What is in a directory."""
    return [path.name for path in directory.iterdir()]


def test_the_file_is_copied_and_nobody_may_change_it(offered: Path, kept: Path) -> None:
    """The next start of the model reads it as another user."""
    offered.write_bytes(CONTENT)
    assert keep(offered, kept, MOST) == "kept 2.9 MiB that the model compiled: its next start is faster"
    assert (kept / "compiled.zip").read_bytes() == CONTENT
    assert (kept / "compiled.zip").stat().st_mode & 0o777 == 0o444
    assert names(kept) == ["compiled.zip"]


def to_a_secret(offered: Path) -> None:
    """Make a link to a file that the model may not read."""
    secret = offered.with_name("secret")
    secret.write_text("secret")
    offered.symlink_to(secret)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (to_a_secret, "Too many levels of symbolic links"),
        (os.mkfifo, "it is no plain file"),
        (os.mkdir, "it is no plain file"),
        (lambda _offered: None, "No such file or directory"),
    ],
    ids=["link", "fifo", "directory", "nothing"],
)
def test_what_is_no_plain_file_is_not_kept(offered: Path, kept: Path, make: Callable[[Path], object], why: str) -> None:
    """And nobody is waited for."""
    make(offered)
    with pytest.raises(StepError, match=f"^cannot keep what the model compiled: {why}; the model serves"):
        keep(offered, kept, MOST)
    assert names(kept) == []


def test_a_full_disk_keeps_its_last_space(offered: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file grows while it is read, so its size says nothing: the space that is left does."""
    offered.write_bytes(CONTENT)
    left = iter([module.LEAST_FREE + 2_000_000, module.LEAST_FREE + 900_000])
    monkeypatch.setattr(module, "free_bytes", lambda _path: next(left))
    with pytest.raises(StepError, match=r"less than 1\.0 GiB would stay free below /var/cache; .* reconciler rollout"):
        keep(offered, kept, MOST)
    assert names(kept) == []


def test_a_file_of_great_length_and_little_content_fills_no_disk(offered: Path, kept: Path) -> None:
    """In memory a hole takes no room; on disk it would."""
    with offered.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(StepError, match=r"it is more than 3\.8 MiB, the size of the model's temporary"):
        keep(offered, kept, MOST)
    assert names(kept) == []


def test_what_an_interruption_left_is_no_hindrance(offered: Path, kept: Path) -> None:
    """Half a copy is never used, and goes."""
    offered.write_bytes(CONTENT)
    (kept / ".compiled.zip.new").write_bytes(b"half")
    keep(offered, kept, MOST)
    assert names(kept) == ["compiled.zip"]


def test_the_command_works_in_the_directory_that_systemd_names(
    offered: Path, kept: Path, tmp_path: Path, run: Steps
) -> None:
    """And says so where nobody made one."""
    offered.write_bytes(CONTENT)
    done = run(tmp_path / "state", "keep", "--from", offered, "--of", INSTANCE, CACHE_DIRECTORY=str(kept))
    assert (done.code, done.status) == (0, "kept 2.9 MiB that the model compiled: its next start is faster")
    refused = run(tmp_path / "state", "keep", "--from", offered, "--of", INSTANCE)
    assert refused.code == 1
    assert refused.status.startswith("cannot work without $CACHE_DIRECTORY")
