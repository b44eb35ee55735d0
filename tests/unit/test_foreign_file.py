"""Files of somebody less trusted: what is read and what is refused."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.apply.foreign_file import UnacceptableFileError, read_foreign_file


def ordinary(path: Path) -> None:
    """As its owner writes it."""
    path.write_bytes(b"content")
    path.chmod(0o644)


def symlink(path: Path) -> None:
    """Points to a good file."""
    ordinary(path.with_name("good"))
    path.symlink_to("good")


def second_name(path: Path) -> None:
    """Another name leads to the same file."""
    ordinary(path)
    os.link(path, path.with_name("other"))


def writable_by_all(path: Path) -> None:
    """Anybody may change it."""
    ordinary(path)
    path.chmod(0o666)


def large(path: Path) -> None:
    """More than is read."""
    path.write_bytes(b"x" * 101)
    path.chmod(0o644)


def test_an_ordinary_file_is_read(tmp_path: Path) -> None:
    """Content and the moment of its last touch."""
    path = tmp_path / "file"
    ordinary(path)
    os.utime(path, (5, 7))
    file = read_foreign_file(path, os.getuid(), 100)
    assert (file.content, file.touched) == (b"content", 7)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda _path: None, "No such file"),
        (symlink, "Too many levels"),
        (os.mkfifo, "not a regular file"),
        (Path.mkdir, "not a regular file"),
        (second_name, "2 names"),
        (writable_by_all, "others may write"),
        (large, "101 bytes"),
    ],
    ids=["missing", "symlink", "fifo", "directory", "second name", "world-writable", "large"],
)
def test_anything_else_is_refused_with_a_reason(tmp_path: Path, make: Callable[[Path], None], word: str) -> None:
    """Refused at once; a FIFO without a writer does not block."""
    path = tmp_path / "file"
    make(path)
    with pytest.raises(UnacceptableFileError, match=word):
        read_foreign_file(path, os.getuid(), 100)


def test_a_file_of_another_owner_is_refused(tmp_path: Path) -> None:
    """The owner is part of what is trusted."""
    path = tmp_path / "file"
    ordinary(path)
    with pytest.raises(UnacceptableFileError, match="owned by"):
        read_foreign_file(path, os.getuid() + 1, 100)
