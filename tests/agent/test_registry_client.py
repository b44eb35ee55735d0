"""How the agent speaks HTTP: what it takes from its environment, what it imports, and what is left after many polls."""

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.adapters import registry_http
from reconciler.adapters.proxies import proxy_for
from reconciler.adapters.registry_answers import models_page
from reconciler.adapters.registry_mlflow import MlflowRegistry
from reconciler.ports.registry import RegistryError
from tests.agent.broken import MODELS, Broken
from tests.agent.front import Front
from tests.agent.process import ROOT, AgentProcess
from tests.mlflow_server import wait_until
from tests.tls import Authority, TlsFront

SELECTORS = ("stage:Production",)
VARIABLES = [f"{name}_proxy" for name in ("http", "https", "all", "no")]
AUTHORITIES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (*VARIABLES, *map(str.upper, VARIABLES), *AUTHORITIES, "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="module")
def registry() -> Iterator[Broken]:
    """One that answers well."""
    broken = Broken()
    yield broken
    broken.stop()


@pytest.fixture(autouse=True)
def _good_again(registry: Broken) -> Iterator[None]:
    yield
    registry.mode = "good"


def with_token(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this process a token for the registry."""
    (directory / "registry.token").write_text("hunter2\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_proxy_of_the_environment_is_used(
    registry: Broken, monkeypatch: pytest.MonkeyPatch, variable: str, scheme: str
) -> None:
    """It is asked for the whole address, and shown its own login."""
    with Front(registry.uri) as proxy:
        monkeypatch.setenv(variable, f"{scheme}ada:p%40ss@{proxy.uri.removeprefix('http://')}")
        assert MlflowRegistry("http://registry.example", 5).read(SELECTORS).models
    assert all(one.path.startswith("http://registry.example/api/2.0/mlflow/") for one in proxy.seen)
    assert {one.headers["Proxy-Authorization"] for one in proxy.seen} == {"Basic YWRhOnBAc3M="}


@pytest.mark.parametrize(
    "listed", ["*", "127.0.0.1", "10.0.0.0/8, 127.0.0.0/8", "elsewhere,127.0.0.1", "127.0.0.1,::1"]
)
@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
def test_what_no_proxy_lists_is_reached_without_one(
    registry: Broken, monkeypatch: pytest.MonkeyPatch, variable: str, listed: str
) -> None:
    """Names, addresses and networks."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with pytest.raises(RegistryError, match="refused"):
        MlflowRegistry(registry.uri, 5).read(SELECTORS)
    monkeypatch.setenv(variable, listed)
    assert MlflowRegistry(registry.uri, 5).read(SELECTORS).models


@pytest.mark.parametrize(
    ("host", "listed", "is_reached"),
    [
        ("mlflow.ward.example", "ward.example", True),
        ("mlflow.ward.example", ".ward.example", True),
        ("mlflow.ward.example:5000", "mlflow.ward.example:5000", True),
        ("mlflow.ward.example:5000", "mlflow.ward.example:5001", False),
        ("mlflow.ward.example", "other.example", False),
        ("10.1.2.3", "10.1.0.0/16", True),
        ("10.1.2.3", "10.2.0.0/16", False),
        ("10.1.2.3", "10.1.2.0/99,x/y", False),
        ("mlflow.ward.example", "", False),
    ],
)
def test_the_proxy_is_the_one_that_mlflows_client_took(
    monkeypatch: pytest.MonkeyPatch, host: str, listed: str, is_reached: bool
) -> None:
    """MLflow's client goes by requests' rules."""
    from requests.utils import get_environ_proxies, select_proxy

    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", listed)
    for scheme in ("http", "https"):
        address = f"{scheme}://{host}/mlflow"
        found = proxy_for(address)
        theirs = select_proxy(address, get_environ_proxies(address))
        assert (found.address if found else None) == theirs
        assert (found is None) == (is_reached or scheme == "http")


@pytest.mark.parametrize("proxy", ["socks5://ada:hunter2@proxy:1080", "http://ada:hunter2@:3128", "http://a:99999"])
def test_a_proxy_that_is_none_is_each_readings_reason_to_fail(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """The sentence names the variable and does not quote it."""
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(RegistryError, match="the environment variable http_proxy ") as caught:
        MlflowRegistry("http://127.0.0.1:5000", 5).read(SELECTORS)
    assert "hunter2" not in str(caught.value)


def test_a_login_does_not_go_to_a_proxy_elsewhere_in_plain_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the registry itself is on this host."""
    with_token(tmp_path, monkeypatch)
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:3128")
    with pytest.raises(RegistryError, match="to a proxy in plain text"):
        MlflowRegistry("http://127.0.0.1:5000", 5).read(SELECTORS)


def test_what_else_mlflows_client_takes_from_the_environment_counts_for_nothing(
    registry: Broken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logins are credentials, certificates are checked, and a redirect is followed for nobody."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ada password hunter2\n")
    (tmp_path / ".netrc").chmod(0o600)
    for variable, value in {
        "HOME": str(tmp_path),
        "MLFLOW_TRACKING_TOKEN": "hunter2",
        "MLFLOW_TRACKING_USERNAME": "ada",
        "MLFLOW_TRACKING_PASSWORD": "hunter2",
        "MLFLOW_TRACKING_INSECURE_TLS": "true",
        "MLFLOW_ALLOW_HTTP_REDIRECTS": "true",
        "MLFLOW_WORKSPACE": "ward",
        "MLFLOW_TRACKING_URI": "http://192.0.2.1",
    }.items():
        monkeypatch.setenv(variable, value)
    with Front(registry.uri) as front:
        assert MlflowRegistry(front.uri, 5).read(SELECTORS).models
        assert not any("hunter2" in text for one in front.seen for text in one.headers.values())
        assert not any({"Authorization", "X-MLFLOW-WORKSPACE"} & one.headers.keys() for one in front.seen)
    registry.mode = "redirect"
    with pytest.raises(RegistryError, match="HTTP 302"):
        MlflowRegistry(registry.uri, 5).read(SELECTORS)
    own = Authority(tmp_path / "own")
    with (
        TlsFront(registry.uri, own.issue("server")) as tls,
        pytest.raises(RegistryError, match="its certificate is not trusted"),
    ):
        MlflowRegistry(tls.uri, 5).read(SELECTORS)


def test_the_environment_may_name_the_authorities_and_they_may_change(
    registry: Broken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose content is renewed is read again, without a restart."""
    own, other = Authority(tmp_path / "own"), Authority(tmp_path / "other", "other")
    bundle = tmp_path / "bundle.pem"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with TlsFront(registry.uri, own.issue("server")) as tls:
        reader = MlflowRegistry(tls.uri, 5)
        for content, why in (
            (None, "cannot be used: No such file"),
            (b"none", "cannot be used: "),
            (other.pem.read_bytes(), "its certificate is not trusted"),
        ):
            if content is not None:
                bundle.write_bytes(content)
            with pytest.raises(RegistryError, match=why):
                reader.read(SELECTORS)
        renewed = tmp_path / "renewed"
        renewed.write_bytes(own.pem.read_bytes())
        renewed.replace(bundle)
        assert reader.read(SELECTORS).models


@pytest.mark.parametrize("end", ["", "/", "/ward/mlflow", "/ward/mlflow/"])
def test_the_address_may_have_a_path(registry: Broken, end: str) -> None:
    """With a slash at its end, or without."""
    with Front(registry.uri) as front:
        assert MlflowRegistry(front.uri + end, 5).read(SELECTORS).models
    path = end.removesuffix("/")
    assert all(one.path.startswith(f"{path}/api/2.0/mlflow/") for one in front.seen)


def test_a_packed_answer_is_as_long_as_what_is_in_it(registry: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a small one cannot fill the memory."""
    registry.bend = lambda document, is_models: {**MODELS, "more": " " * 2_000_000} if is_models else document
    registry.mode = "as given"
    monkeypatch.setattr(registry_http, "MAX_ANSWER_BYTES", 1_000_000)
    with Front(registry.uri, packs=True) as front:
        with pytest.raises(RegistryError, match="its answer is too long"):
            MlflowRegistry(front.uri, 5).read(SELECTORS)
        assert front.bytes_sent() < 100_000


@pytest.mark.parametrize("text", ['{"registered_models": [{"name": "\\ud800"}]}', "[" * 100_000, '{"a": "\\ud83d"}'])
def test_text_that_no_file_can_hold_is_no_answer(text: str) -> None:
    """Half a character, or lists in lists without end."""
    with pytest.raises(registry_http.AnswerError, match="its answer is not MLflow's"):
        models_page(text.encode())


@pytest.mark.parametrize("part", ['{"name":"m"}', "[]", "1"])
def test_an_answer_of_very_many_parts_is_not_parsed(part: str) -> None:
    """Within the limit for bytes, it would take a hundred times its size."""
    body = f'{{"registered_models": [{",".join([part] * 1_000_001)}]}}'
    assert len(body) < registry_http.MAX_ANSWER_BYTES
    with pytest.raises(registry_http.AnswerError, match="its answer is too long"):
        models_page(body.encode())


def test_nobody_may_say_that_nothing_changed_who_was_not_asked(
    registry: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 304 to a request without a condition is an error, and a change is read."""
    with Front(registry.uri, names=True) as front:
        reader = MlflowRegistry(front.uri, 5)
        assert reader.read(SELECTORS) == reader.read(SELECTORS)
        assert [one.status for one in front.seen[2:]] == [304, 304]
        registry.bend = lambda document, is_models: {"registered_models": []} if is_models else document
        registry.mode = "as given"
        assert reader.read(SELECTORS).models == ()
    monkeypatch.setattr(registry_http.RegistryServer, "_pool", lambda _self: _Always304())
    with pytest.raises(RegistryError, match="HTTP 304"):
        MlflowRegistry(registry.uri, 5).read(SELECTORS)


class _Always304:
    status = 304
    headers: dict[str, str] = {"ETag": '"x"'}  # noqa: RUF012 - never changed

    def request(self, *_arguments: object, **_more: object) -> "_Always304":
        """Give an answer."""
        return self

    def stream(self, _size: int) -> Iterator[bytes]:
        """Give its body."""
        return iter(())

    def release_conn(self) -> None:
        """Do nothing."""


def test_the_agent_imports_neither_mlflow_nor_what_it_brings() -> None:
    """They would be three quarters of its memory."""
    program = "import sys; import reconciler.agent.__main__; print(len(sys.modules)); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    count, _, names = done.stdout.partition("\n")
    foreign = {"mlflow", "requests", "pandas", "numpy", "boto3", "google", "flask", "sqlalchemy", "typer", "jinja2"}
    assert not foreign & {name.partition(".")[0] for name in names.split()}
    # With MLflow there were 2,100.
    assert int(count) < 700


def test_a_running_agent_has_not_loaded_mlflow(registry: Broken, tmp_path: Path) -> None:
    """Also not while it reads and has a login: its memory holds no file of MLflow's or of a library that it brings."""
    with AgentProcess(tmp_path, f'[registry]\nuri = "{registry.uri}"\npoll_interval = 1\nreport = false\n') as agent:
        agent.wait_for_selection(demo=2)
        maps = Path(f"/proc/{agent.process.pid}/maps").read_text()
    assert "pydantic_core" in maps
    assert not [name for name in ("numpy", "pandas", "pyarrow", "sqlalchemy", "google") if f"/{name}/" in maps]


POLLS = 3000


def test_after_thousands_of_polls_nothing_is_left(registry: Broken) -> None:
    """Neither descriptors nor threads nor memory, whether the registry answers well, badly or not at all."""
    uri = f"http://127.0.0.1:{registry.port}"
    reader = MlflowRegistry(uri, 5)
    modes = ("good", "error 500", "html", "truncated", "good")

    def polls(number: int) -> tuple[int, int]:
        for poll in range(number):
            registry.mode = modes[poll % len(modes)]
            if registry.mode == "good":
                assert reader.read(SELECTORS).models
            else:
                with pytest.raises(RegistryError):
                    reader.read(SELECTORS)
        registry.seen.clear()
        return _descriptors(), _blocks()

    polls(POLLS // 10)
    threads = threading.active_count()
    descriptors, blocks = polls(POLLS // 10)
    assert polls(POLLS)[1] - blocks < POLLS
    wait_until(lambda: _descriptors() <= descriptors, "the descriptors are as many as before")
    wait_until(lambda: threading.active_count() <= threads, "the threads are as many as before")


def _descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def _blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()
