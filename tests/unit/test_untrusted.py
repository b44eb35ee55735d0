"""Files of somebody less trusted: what is read and what is refused."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.files.snapshot_file import Snapshots
from reconciler.files.status_file import NoStatusError, read_status
from reconciler.files.untrusted import UnacceptableFileError, read_foreign_file
from tests.hostile import NOT_FOR_UNITS


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


def writable_by_group(path: Path) -> None:
    """Others of its group may change it."""
    ordinary(path)
    path.chmod(0o664)


def unix_socket(path: Path) -> None:
    """Somebody listens there."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def dangling(path: Path) -> None:
    """Points nowhere."""
    path.symlink_to("nowhere")


def device(path: Path) -> None:
    """An endless one."""
    path.symlink_to("/dev/zero")


def in_a_file(path: Path) -> None:
    """Its directory is none."""
    path.parent.rmdir()
    path.parent.write_bytes(b"")


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
        (writable_by_group, "others may write"),
        (unix_socket, "No such device"),
        (dangling, "Too many levels"),
        (device, "Too many levels"),
        (in_a_file, "Not a directory"),
        (large, "101 bytes"),
    ],
    ids=[
        *("missing", "symlink", "fifo", "directory", "second name", "world-writable", "group-writable", "socket"),
        *("dangling", "link to a device", "directory that is a file", "large"),
    ],
)
def test_anything_else_is_refused_with_a_reason(tmp_path: Path, make: Callable[[Path], None], word: str) -> None:
    """Refused at once; a FIFO without a writer does not block."""
    directory = tmp_path / "run"
    directory.mkdir()
    path = directory / "file"
    make(path)
    with pytest.raises(UnacceptableFileError, match=word):
        read_foreign_file(path, os.getuid(), 100)
    with pytest.raises(NoStatusError):  # the agent reads the status in the same way
        read_status(path)


def test_a_device_is_refused() -> None:
    """It is opened, and not read."""
    with pytest.raises(UnacceptableFileError, match="not a regular file"):
        read_foreign_file(Path("/dev/zero"), 0, 100)


def test_a_file_of_another_owner_is_refused(tmp_path: Path) -> None:
    """The owner is part of what is trusted."""
    path = tmp_path / "file"
    ordinary(path)
    with pytest.raises(UnacceptableFileError, match="owned by"):
        read_foreign_file(path, os.getuid() + 1, 100)


GOOD: dict[str, Any] = {
    "schema": 1,
    "registry": "http://r",
    "read_at": "2026-01-01T00:00:00Z",
    "models": [{"name": "demo", "version": 1, "source": "models:/m-1", "selected_by": "stage:Production"}],
}
TEXT = json.dumps(GOOD)


def model(**changes: object) -> bytes:
    """Write a snapshot in which the model is not as it should be."""
    return json.dumps({**GOOD, "models": [{**GOOD["models"][0], **changes}]}).encode()


BAD: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \n",
    "null": b"null",
    "list": b"[]",
    "truncated": TEXT[:-3].encode(),
    "two documents": (TEXT * 2).encode(),
    "not UTF-8": TEXT.replace("demo", "de\udcffmo").encode(errors="surrogateescape"),
    "byte order mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "UTF-16": TEXT.encode("utf-16"),
    "lone surrogate": TEXT.replace("demo", "\\ud800").encode(),
    "a NUL": TEXT.encode() + b"\0",
    "deep lists": TEXT.replace("[", "[" * 200_000, 1).encode(),
    "deep objects": (TEXT[:-1] + ', "x": ' + '{"x": ' * 200_000).encode(),
    "a key twice": TEXT.replace('"models"', '"models": [], "models"').encode(),
    "a model's key twice": TEXT.replace('"version"', '"version": 2, "version"').encode(),
    "no schema of ours": TEXT.replace('"schema": 1', '"schema": 2').encode(),
    "schema as text": TEXT.replace('"schema": 1', '"schema": "1"').encode(),
    "another key": TEXT.replace('"schema"', '"run": "id", "schema"').encode(),
    "a model's other key": model(unit="x.service"),
    "no registry": TEXT.replace('"registry": "http://r", ', "").encode(),
    "no time": TEXT.replace("2026-01-01T00:00:00Z", "soon").encode(),
    "no time zone": TEXT.replace("00Z", "00").encode(),
    "a far time": TEXT.replace("2026", "99999").encode(),
    "not a number": TEXT.replace('"version": 1', '"version": NaN').encode(),
    "infinite": TEXT.replace('"version": 1', '"version": 1e999').encode(),
    "huge": TEXT.replace('"version": 1', f'"version": {"9" * 5000}').encode(),
    "too high": model(version=10_000_000_000),
    "zero": model(version=0),
    "negative": model(version=-1),
    "a version that is text": model(version="1"),
    "a version that is true": model(version=True),
    "a path as a name": model(name="../../etc"),
    "a blank in a name": model(name="a b"),
    "a name with a line": model(name="a\n"),
    "a long name": model(name="a" * 65),
    "an option as a name": model(name="-a"),
    "no name": model(name=""),
    "another alphabet": model(name="d\u0435mo"),
    "no source": model(source=""),
    "a long source": model(source="x" * 4097),
    "a long selector": model(selected_by="x" * 1025),
    "many settings": model(settings={str(number): "" for number in range(101)}),
    "a long setting": model(settings={"a": "x" * 5001}),
    "a setting that is none": model(settings={"a": 1}),
    "many others": model(also_matching=[*range(1001)]),
    "twice": json.dumps({**GOOD, "models": GOOD["models"] * 2}).encode(),
    "too many": json.dumps(
        {**GOOD, "models": [{**GOOD["models"][0], "name": f"m{n}"} for n in range(10_001)]}
    ).encode(),
    "too large": TEXT.encode() + b" " * 17_000_000,
}


@pytest.mark.parametrize("kind", BAD)
def test_a_snapshot_that_is_not_as_it_should_be_leaves_the_last_one_in_force(tmp_path: Path, kind: str) -> None:
    """With one printable line that names the file; also over a restart."""
    source, kept = tmp_path / "registry.json", tmp_path / "kept.json"
    source.write_text(TEXT)
    source.chmod(0o644)
    snapshots = Snapshots(source, kept, os.getuid)
    accepted = snapshots.read().snapshot
    assert accepted is not None
    source.write_bytes(BAD[kind])
    for reader in (snapshots, Snapshots(source, kept, os.getuid)):
        reading = reader.read()
        assert reading.snapshot == accepted
        assert reading.problem.startswith(f"cannot use the agent's snapshot: {source}: ")
        assert reading.problem.isprintable()
        assert len(reading.problem) < 600
        assert reading.touched is None


@pytest.mark.parametrize("text", NOT_FOR_UNITS)
def test_text_that_no_unit_can_carry_does_not_stop_the_reading(tmp_path: Path, text: str) -> None:
    """It is refused here, or where a unit would be made of it."""
    source = tmp_path / "registry.json"
    source.write_bytes(model(source=f"models:/{text}"))
    source.chmod(0o644)
    reading = Snapshots(source, tmp_path / "kept.json", os.getuid).read()
    assert (reading.snapshot is None) == bool(reading.problem)
