"""The socket in a container is found from outside, and no link of the container's leads anywhere else."""

import os
import socket
from pathlib import Path

import pytest

from containerserver.door import Door, NoDoorError, Root


def listen(path: Path) -> socket.socket:
    """Listen at a path."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    return server


def test_it_is_opened_and_connected_to(tmp_path: Path) -> None:
    """By a path that this process alone has."""
    server = listen(tmp_path / "http.sock")
    door = Door(Root(os.getpid()), str(tmp_path / "http.sock"))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(door.path)
        connection, _ = server.accept()
        connection.sendall(b"x")
        assert client.recv(1) == b"x"
        connection.close()
    assert door.is_current
    door.close()
    server.close()


def test_a_socket_that_was_made_anew_is_another_one(tmp_path: Path) -> None:
    """The server in the container has started again."""
    first = listen(tmp_path / "http.sock")
    door = Door(Root(os.getpid()), str(tmp_path / "http.sock"))
    (tmp_path / "http.sock").unlink()
    assert not door.is_current
    second = listen(tmp_path / "http.sock")
    assert not door.is_current
    for one in (door, first, second):
        one.close()


@pytest.mark.parametrize("what", ["a link", "a directory that is a link", "a file", "nothing", "a fifo"])
def test_what_is_no_socket_of_the_containers_own_is_refused(tmp_path: Path, what: str) -> None:
    """A link would be followed on the host: to the engine's own socket, for one."""
    engine = listen(tmp_path / "engine.sock")
    place = tmp_path / "run" / "http.sock"
    if what == "a directory that is a link":
        (tmp_path / "real").mkdir()
        listen(tmp_path / "real/http.sock").close()
        place.parent.symlink_to(tmp_path / "real")
    else:
        place.parent.mkdir()
    if what == "a link":
        place.symlink_to(tmp_path / "engine.sock")
    elif what == "a file":
        place.write_text("")
    elif what == "a fifo":
        os.mkfifo(place)
    with pytest.raises(NoDoorError):
        Door(Root(os.getpid()), str(place))
    engine.close()
