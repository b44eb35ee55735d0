"""How the agent shows a registry who it is, over TLS: what it is given, what it demands, and what it never sends."""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.agent.broken import Broken
from tests.agent.process import AgentProcess
from tests.tls import Authority, TlsFront

SETTINGS = '[registry]\nuri = "{uri}"\npoll_interval = 1\ntimeout = 3\nreport = false\nplain_http = {plain_http}\n'
CANARY = "c4n4ry-hunter2"


@dataclass(frozen=True)
class Site:
    """A registry that answers well, and two authorities of which hosts may trust one."""

    registry: Broken
    authority: Authority
    stranger: Authority
    certificate: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Made once."""
    directory = tmp_path_factory.mktemp("tls")
    authority, registry = Authority(directory / "own"), Broken()
    yield Site(registry, authority, Authority(directory / "stranger", "stranger"), authority.issue("server"))
    registry.stop()


@pytest.fixture(autouse=True)
def _nothing_seen(place: Site) -> None:
    place.registry.seen.clear()


@contextmanager
def agent(
    directory: Path, uri: str, credentials: Mapping[str, Path | str], *, plain_http: bool = False
) -> Iterator[AgentProcess]:
    """An agent with these credentials, none of which it may tell."""
    given = directory / "credentials"
    given.mkdir(parents=True)
    for name, content in credentials.items():
        (given / name).write_text(content.read_text() if isinstance(content, Path) else content)
    settings = SETTINGS.format(uri=uri, plain_http=str(plain_http).lower())
    with AgentProcess(directory, settings, CREDENTIALS_DIRECTORY=str(given)) as running:
        yield running
        told = [*running.lines, *(message.get("STATUS", "") for message in running.messages)]
        environment = Path(f"/proc/{running.process.pid}/environ").read_bytes()
    assert not any(CANARY in line or "BEGIN" in line or "Traceback" in line for line in told)
    assert CANARY.encode() not in environment


def why_not(running: AgentProcess) -> str:
    """Wait for a failed reading and return its reason."""
    return running.wait_for_status("cannot read the registry").partition(": ")[2]


def test_a_registry_with_a_certificate_of_an_unknown_authority_is_not_spoken_to(place: Site, tmp_path: Path) -> None:
    """Not even the password goes there."""
    with TlsFront(place.registry.uri, place.certificate) as front:
        with agent(tmp_path / "none", front.uri, {"registry.token": CANARY}) as running:
            assert why_not(running).startswith("its certificate is not trusted")
        with agent(
            tmp_path / "other", front.uri, {"registry.token": CANARY, "registry.ca": place.stranger.pem}
        ) as running:
            assert why_not(running).startswith("its certificate is not trusted")
    assert place.registry.seen == []


def test_the_certificate_must_be_for_the_registrys_name(place: Site, tmp_path: Path) -> None:
    """An authority that is trusted has issued it, and it is somebody else's."""
    elsewhere = place.authority.issue("elsewhere", "127.0.0.9")
    with (
        TlsFront(place.registry.uri, elsewhere) as front,
        agent(tmp_path / "a", front.uri, {"registry.ca": place.authority.pem}) as running,
    ):
        assert why_not(running).startswith("its certificate is for another name")
    assert place.registry.seen == []


@pytest.mark.parametrize("how", ["token", "basic", "encrypted", "none"])
def test_the_registrys_own_authority_is_trusted_and_the_login_is_shown(place: Site, tmp_path: Path, how: str) -> None:
    """A token, or a name and a password; a name with `.encrypted` is the same credential."""
    shown = {"token": {f"Bearer {CANARY}"}, "none": {""}}.get(how, {"Basic YWRhOmM0bjRyeS1odW50ZXIy"})
    given: dict[str, str] = {
        "token": {"registry.token": f"{CANARY}\n"},
        "basic": {"registry.username": "ada\n", "registry.password": CANARY},
        "encrypted": {"registry.username": "ada", "registry.password.encrypted": CANARY},
        "none": {},
    }[how]
    with (
        TlsFront(place.registry.uri, place.certificate) as front,
        agent(tmp_path / "a", front.uri, {"registry.ca": place.authority.pem, **given}) as running,
    ):
        running.wait_for_selection(demo=2)
    assert set(place.registry.seen) == shown


def test_a_registry_may_demand_a_client_certificate(place: Site, tmp_path: Path) -> None:
    """None, a stranger's, and the right one."""
    with TlsFront(place.registry.uri, place.certificate, clients=place.authority.pem) as front:
        ca = place.authority.pem
        with agent(tmp_path / "none", front.uri, {"registry.ca": ca}) as running:
            assert "client certificate" in why_not(running)
        stranger = place.stranger.issue("stranger")
        with agent(
            tmp_path / "odd", front.uri, {"registry.ca": ca, "registry.client-certificate": stranger}
        ) as running:
            assert "client certificate" in why_not(running)
        assert place.registry.seen == []
        own = place.authority.issue("agent")
        with agent(tmp_path / "own", front.uri, {"registry.ca": ca, "registry.client-certificate": own}) as running:
            running.wait_for_selection(demo=2)


@contextmanager
def counted(address: str) -> Iterator[tuple[str, list[int]]]:
    """A listener that counts connections and answers none."""
    connections: list[int] = []
    with socket.create_server((address, 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connections.append(1)
                    connection.close()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://{address}:{listener.getsockname()[1]}", connections
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def own_address() -> str:
    """Find an address of this machine that is not its loopback; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but its loopback")
        return str(probe.getsockname()[0])


def test_credentials_do_not_go_over_plain_http(tmp_path: Path) -> None:
    """Not a single connection is made, unless there is no secret or a setting says so."""
    with counted(own_address()) as (uri, connections):
        with agent(tmp_path / "secret", uri, {"registry.token": CANARY}) as running:
            sentence = "it would send the credentials in plain text; use https or set registry.plain_http"
            assert running.wait_for_try(2).startswith(f"cannot read the registry at {uri}: {sentence} (")
        assert connections == []
        with agent(tmp_path / "none", uri, {}) as running:
            assert "plain text" not in why_not(running)
        assert connections
        connections.clear()
        with agent(tmp_path / "setting", uri, {"registry.token": CANARY}, plain_http=True) as running:
            assert "plain text" not in why_not(running)
        assert connections


def test_an_odd_credential_is_each_readings_reason_to_fail(place: Site, tmp_path: Path) -> None:
    """The agent goes on, says which one it is, and asks nobody anything."""
    with agent(tmp_path / "a", place.registry.uri, {"registry.token": f"{CANARY}\n{CANARY}\n"}) as running:
        assert why_not(running).startswith("the credential 'registry.token' has a line break")
        running.wait_for_try(2)
    assert place.registry.seen == []
