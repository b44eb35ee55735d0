"""Which credentials are refused, in which words, and which address they may be sent to."""

import re
from pathlib import Path

import pytest

from reconciler.adapters.credentials import CredentialError, Login, registry_login, user_and_password
from reconciler.apply.render import Renderer
from reconciler.core.planner import unit_values
from reconciler.core.state.release import Parameters, Release
from reconciler.core.text.urls import is_readable_on_the_way, origin
from reconciler.core.units.addresses import Listening
from reconciler.daemon.desired import step_settings
from reconciler.settings.model import BuildSettings, FetchSettings, Settings

CANARY = "c4n4ry-hunter2"

ODD: list[tuple[dict[str, str | bytes], str]] = [
    ({"registry.token": ""}, "the credential 'registry.token' is empty"),
    ({"registry.token": f"{CANARY}\n{CANARY}\n"}, "the credential 'registry.token' has a line break"),
    ({"registry.token": f"{CANARY}\0"}, "the credential 'registry.token' has a line break or another"),
    ({"registry.token": f"{CANARY} x"}, "the credential 'registry.token' has a space"),
    ({"registry.token": CANARY.encode() + b"\xff"}, "the credential 'registry.token' is not text"),
    ({"registry.token": CANARY * 30_000}, "the credential 'registry.token' is too long"),
    ({"registry.username": "ada"}, "the credential 'registry.password' is missing, though 'registry.username' is"),
    ({"registry.password": CANARY}, "the credential 'registry.username' is missing"),
    ({"registry.username": "a:b", "registry.password": CANARY}, "'registry.username' has a colon"),
    (
        {"registry.username": "ada", "registry.password": CANARY, "registry.token": CANARY},
        "both 'registry.token' and 'registry.password' are given",
    ),
    (
        {"registry.token": CANARY, "registry.token.encrypted": CANARY},
        "both 'registry.token' and 'registry.token.encrypted' are given",
    ),
    ({"index.username": "ada"}, "the credential 'index.password' is missing"),
    ({"registry.ca": CANARY}, "the credential 'registry.ca' is not a certificate in PEM form"),
    ({"registry.client-certificate": CANARY}, "'registry.client-certificate' is not a key without a passphrase"),
]


def test_odd_credentials_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, in which nothing of the content is."""
    for number, (given, why) in enumerate(ODD):
        directory = tmp_path / str(number)
        directory.mkdir()
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
        for name, content in given.items():
            (directory / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        read = (lambda: user_and_password("index")) if "index.username" in given else registry_login
        with pytest.raises(CredentialError) as refused:
            read()
        assert why in str(refused.value)
        assert CANARY not in repr(refused.value)
        assert refused.value.__cause__ is None
    print(f"odd credentials tried {len(ODD)}, used 0")  # noqa: T201 - a figure for people


def test_no_credentials_are_no_error_and_a_login_does_not_show_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most registries inside a hospital ask for nothing."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert registry_login() == Login()
    assert user_and_password("index") is None
    assert CANARY not in repr(Login(authorization=CANARY))


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("http://Host/x", "http://host:80"),
        ("https://host:443", "https://host:443"),
        ("https://[::1]:5000/a", "https://[::1]:5000"),
        ("s3://Bucket/key", "s3://Bucket"),
        ("http://user@host/", "http://user@host"),
        ("http://host:99999/", ""),
        ("http://[x/", ""),
        ("s3:///key", ""),
        ("/etc", ""),
    ],
)
def test_an_address_names_one_server(address: str, named: str) -> None:
    """However it is written; a user's name makes it another one, and nonsense is none."""
    assert origin(address) == named


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "[::1]", "localhost", "LOCALHOST"])
def test_what_stays_on_this_host_is_not_read_on_the_way(host: str) -> None:
    """Loopback, in any of its forms; with TLS, anything."""
    assert not is_readable_on_the_way(f"http://{host}:5000/")
    assert not is_readable_on_the_way("https://registry.example.org")


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "localhost.example.org", "127.0.0.1.example.org", "[::ffff:10.0.0.1]", "10.1", "127.1"]
)
def test_what_looks_like_loopback_and_is_not_is_read_on_the_way(host: str) -> None:
    """Only the written forms that every resolver keeps on this host count."""
    assert is_readable_on_the_way(f"http://{host}:5000/")


SHIPPED = [Path(__file__).parents[2] / "templates"]
RENDERER = Renderer(SHIPPED, lambda _unit, _text: None)


def loaded(
    template: str,
    renderer: Renderer = RENDERER,
    *,
    allow_source: bool = False,
    key: str = "LoadCredential(?:Encrypted)?",
) -> set[str]:
    """Which credentials a release's unit asks systemd for."""
    release = Release("example", 1, "models:/example/1", Parameters())
    steps = step_settings(Settings(build=BuildSettings(allow_source=allow_source)))
    render = {"fetch": unit_values.fetch(release, steps), "build": unit_values.build(release, "0" * 32, steps)}.get(
        template, unit_values.server(release, "0" * 32, Listening(), None)
    )
    return set(re.findall(rf"^{key}=(\S+)$", renderer.render(render), re.MULTILINE))


def test_each_unit_asks_for_what_its_own_step_needs() -> None:
    """Fetch nothing of the index, build nothing of the registry and nothing where it runs code; a server nothing."""
    fetch, build = loaded("fetch"), loaded("build")
    names = {"registry.username", "registry.password", "registry.token", "registry.ca", "registry.client-certificate"}
    names |= {"artifacts.aws", "artifacts.gcs", "artifacts.ca"}
    assert fetch == names | {f"{name}.encrypted" for name in names}
    assert build == {f"index.{name}{end}" for name in ("username", "password") for end in ("", ".encrypted")}
    assert loaded("build", allow_source=True) == set()
    assert loaded("server") == set()


@pytest.mark.parametrize("template", ["fetch", "build"])
def test_a_systemd_that_can_import_credentials_says_nothing_of_missing_ones(template: str) -> None:
    """The same names, by the key that 252 does not know."""
    newer = Renderer(SHIPPED, lambda _unit, _text: None, systemd=254)
    assert loaded(template, newer) == set()
    assert loaded(template, newer, key="ImportCredential") == loaded(template)


def test_the_fetch_is_told_the_server_of_buckets_and_its_release_stays_the_same() -> None:
    """What the settings say of it is in the unit; another server is no reason to fetch all models again."""
    release = Release("example", 1, "models:/example/1", Parameters())
    set_up = FetchSettings(s3_endpoint_url="http://minio.example:9000/", s3_region="eu-west-1", s3_plain_http=True)
    renders = [unit_values.fetch(release, step_settings(Settings(fetch=fetch))) for fetch in (FetchSettings(), set_up)]
    without, told = [RENDERER.render(render) for render in renders]
    line = next(line for line in told.splitlines() if line.startswith("ExecStart="))
    assert '--s3-endpoint-url "http://minio.example:9000"' in line
    assert '--s3-region "eu-west-1" --s3-plain-http' in line
    assert "--s3" not in without
    assert renders[0].facts.done_for == renders[1].facts.done_for
