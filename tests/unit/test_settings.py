"""What the settings accept, what they refuse, and whether the refusal names the place."""

import os
import re
import tomllib
from pathlib import Path

import pytest

from reconciler.core.registry.tags import SETTABLE
from reconciler.settings.load import SettingsError, load, settings_files
from reconciler.settings.model import DeploySettings, RegistrySettings, Settings, known_keys

SHIPPED = Path(__file__).parents[2] / "config" / "config.toml"


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MLFLOW_RECONCILER_")]:
        monkeypatch.delenv(name)


def write(path: Path, text: str) -> Path:
    """Write a settings file and the directories it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def refusal(path: Path) -> str:
    """Return the sentence with which a file is refused."""
    with pytest.raises(SettingsError) as caught:
        load(path)
    return str(caught.value)


def test_no_file_means_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without a settings file follows what is in Production on its own MLflow server."""
    monkeypatch.setattr("reconciler.settings.load.DEFAULT_PATH", tmp_path / "config.toml")
    settings = load(None)
    assert settings.registry.selectors == ("stage:Production",)
    assert settings.registry.poll_interval == 10
    assert settings.deploy.port_range == (20000, 20999)
    assert settings.deploy.memory_max == 4 * 1024**3
    assert settings.policy.names == ()
    assert settings.deploy.max_body == 64 * 1024 * 1024


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong --config or variable must not quietly mean the defaults."""
    missing = tmp_path / "config.toml"
    assert refusal(missing) == (
        f"cannot use the settings: {missing}: no such file; create it or name another with --config"
    )
    monkeypatch.setenv("MLFLOW_RECONCILER_CONFIG", str(missing))
    with pytest.raises(SettingsError, match="no such file"):
        load(None)


def test_drop_ins_win_in_order_and_the_environment_wins_over_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys merge one by one, a list is replaced as a whole."""
    main = write(
        tmp_path / "config.toml",
        '[registry]\nuri = "http://a:1"\nselectors = ["stage:Production", "alias:old"]\n[deploy]\nmax_body = "1K"\n',
    )
    write(tmp_path / "config.d/20-b.toml", '[registry]\nselectors = ["alias:champion"]\npoll_interval = 20\n')
    write(tmp_path / "config.d/10-a.toml", '[registry]\nselectors = ["alias:x"]\npoll_interval = 15\n')
    write(tmp_path / "config.d/30-c.toml.off", "nonsense")
    monkeypatch.setenv("MLFLOW_RECONCILER_REGISTRY__POLL_INTERVAL", "30")
    settings = load(main)
    assert settings.registry.uri == "http://a:1"
    assert settings.registry.selectors == ("alias:champion",)
    assert settings.registry.poll_interval == 30
    assert settings.deploy.max_body == 1024
    assert [file.name for file in settings_files(main)] == ["config.toml", "10-a.toml", "20-b.toml"]


def test_the_variable_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLFLOW_RECONCILER_CONFIG is used when no path is given, and the argument wins over it."""
    monkeypatch.setenv("MLFLOW_RECONCILER_CONFIG", str(write(tmp_path / "a/c.toml", "[registry]\ntimeout = 3\n")))
    assert load(None).registry.timeout == 3
    assert load(write(tmp_path / "b/c.toml", "[registry]\ntimeout = 4\n")).registry.timeout == 4


@pytest.mark.parametrize(
    ("text", "key", "why"),
    [
        (
            "[registry]\npoll_interval = 0\n",
            "registry.poll_interval",
            "should be a whole number of seconds, at least 1",
        ),
        ('[registry]\npoll_interval = "fast"\n', "registry.poll_interval", "should be a whole number of seconds"),
        ("[registry]\npoll_interval = true\n", "registry.poll_interval", "should be a whole number of seconds"),
        ("[registry]\npoll_interval = 1.5\n", "registry.poll_interval", "should be a whole number of seconds"),
        ("[registry]\nselectors = []\n", "registry.selectors", "should have at least 1 item"),
        ('[registry]\nselectors = ["production"]\n', "registry.selectors", '"stage:Production" or "alias:champion"'),
        ('[registry]\nselectors = ["stage:production"]\n', "registry.selectors", "should be a list of selectors"),
        ('[registry]\nselectors = ["alias:a b"]\n', "registry.selectors", "should be a list of selectors"),
        ('[registry]\nselectors = "stage:Production"\n', "registry.selectors", "should be a list"),
        ('[registry]\nchoose = "latest"\n', "registry.choose", "should be 'first' or 'newest'"),
        ('[registry]\nring = "all"\n', "registry.ring", "should be one of registry.rings"),
        ('[registry]\nrings = ["a b"]\n', "registry.rings", "should be the name of an alias in the registry"),
        (
            '[registry]\nrings = ["all"]\nring = "all"\nselectors = ["alias:champion"]\n',
            "registry.ring",
            "should stand alone: leave registry.selectors and registry.choose out",
        ),
        ('[rollout]\nafter = "ward-1"\n', "rollout.after", "should be a list"),
        ('[rollout]\nafter = ["ward 1"]\n', "rollout.after", "should be a list of hosts"),
        ('[registry]\nworkspace = "Ward"\n', "registry.workspace", 'such as "ward", or "" for none'),
        ('[registry]\nworkspace = "-x"\n', "registry.workspace", "should be the name of a workspace"),
        ('[registry]\nworkspace = "w/x"\n', "registry.workspace", "should be the name of a workspace"),
        ('[registry]\nuri = "sqlite:///x.db"\n', "registry.uri", "should be an http:// or https:// address"),
        ('[registry]\nuri = "http://"\n', "registry.uri", "should be an http:// or https:// address"),
        ('[registry]\nuri = "http://h:99999"\n', "registry.uri", "should be an http:// or https:// address"),
        ('[registry]\nuri = "http://h\\nx"\n', "registry.uri", "should be an http:// or https:// address"),
        ('[registry]\nreport = "perhaps"\n', "registry.report", "should be a valid boolean"),
        ("[deploy]\nport_range = [80, 90]\n", "deploy.port_range", "within 1024 and 65535"),
        ("[deploy]\nport_range = [3000, 2000]\n", "deploy.port_range", "[lowest, highest]"),
        ("[deploy]\nport_range = [3000]\n", "deploy.port_range", "required"),
        ('[deploy]\naddress = "0.0.0.0"\n', "deploy.address", "deploy.peers should name who may speak to it"),
        ('[deploy]\naddress = "10.0.0.1"\npeers = []\n', "deploy.address", "should be a loopback address"),
        ('[deploy]\npublic_url = "https://h"\n', "deploy.public_url", "with {name} or {port}"),
        ('[deploy]\npublic_url = "https://h/{model}"\n', "deploy.public_url", "with {name} or {port}"),
        ('[deploy]\npublic_url = "ftp://h/{name}"\n', "deploy.public_url", "with {name} or {port}"),
        ('[deploy]\npublic_url = "https://a:b@h/{name}"\n', "deploy.public_url", "credentials belong in systemd"),
        ('[deploy]\naddress = "model.example"\n', "deploy.address", "IPv4 or IPv6 address"),
        ('[deploy]\npeers = ["10.0.0.1/8"]\n', "deploy.peers", "should be a network such as"),
        ('[deploy]\nsocket_mode = "rw"\n', "deploy.socket_mode", 'should be a mode such as "0660"'),
        ('[deploy]\nsocket_mode = "4777"\n', "deploy.socket_mode", "should be a mode"),
        ('[deploy]\nsocket_group = "a b"\n', "deploy.socket_group", "should be the name of a user or a group"),
        ('[deploy]\nnetwork = ["example.org"]\n', "deploy.network", "should be a network such as"),
        ('[deploy]\ndevices = ["/etc/shadow"]\n', "deploy.devices", "should be the path of a device"),
        ('[deploy]\nmemory_max = "lots"\n', "deploy.memory_max", "should be a size such as 512M"),
        ('[deploy]\nmax_body = "-1"\n', "deploy.max_body", "should be a size such as 512M"),
        ('[deploy]\ncpu_quota = "2"\n', "deploy.cpu_quota", "150%"),
        ('[deploy]\nruntime = "../x"\n', "deploy.runtime", "should be a name of lower-case letters"),
        ('[deploy]\nenvironment = "conda"\n', "deploy.environment", "should be 'model' or 'host'"),
        ('[fetch]\nschemes = ["s3", "file"]\n', "fetch.schemes", "this host's files"),
        (
            '[fetch]\ns3_endpoint_url = "minio:9000"\n',
            "fetch.s3_endpoint_url",
            'such as "https://minio.example.org:9000',
        ),
        ('[fetch]\ns3_endpoint_url = "s3://models"\n', "fetch.s3_endpoint_url", "an http:// or https:// address"),
        ('[fetch]\ns3_endpoint_url = "https://h/models"\n', "fetch.s3_endpoint_url", "without a path"),
        ('[fetch]\ns3_endpoint_url = "https://h?x=y"\n', "fetch.s3_endpoint_url", "without a path"),
        ('[fetch]\ns3_endpoint_url = "https://a:b@h"\n', "fetch.s3_endpoint_url", "credentials belong in systemd"),
        ('[fetch]\ns3_region = "Mars/x"\n', "fetch.s3_region", 'such as "eu-central-1", or ""'),
        ('[fetch]\ns3_plain_http = "perhaps"\n', "fetch.s3_plain_http", "should be a valid boolean"),
        ('[build]\nindex_url = "pypi"\n', "build.index_url", "should be an absolute path or an http(s):// address"),
        ("[build]\nallow_source = true\nrequire_hashes = true\n", "build.require_hashes", "false where allow_source"),
        ('[fetch]\nverify_command = ["check"]\n', "fetch.verify_command", "a program's absolute path first"),
        ('[fetch]\nverify_command = ["/check", ""]\n', "fetch.verify_command", "should be a list of words"),
        ('[build]\npythons = "mine"\n', "build.pythons", "should be 'system' or 'managed'"),
        ('[build]\npython_list = "list.json"\n', "build.python_list", "should be the absolute path of a file"),
        ('[build]\npython_mirror = "mirror"\n', "build.python_mirror", "should be an absolute path or an http(s)://"),
        ('[build]\nfind_links = ["wheels"]\n', "build.find_links", "should be an absolute path"),
        ("[reconcile]\nretry_min = 20\nretry_max = 10\n", "reconcile.retry_max", "should be at least retry_min"),
        ('[policy]\ntags = ["port_range"]\n', "policy.tags", "should be 'runtime'"),
        ('[policy]\nnames = ["a b"]\n', "policy.names", "should be a list of model names"),
        ('[policy]\nnames = "*"\n', "policy.names", "should be a list"),
        ("[policy]\nmax_deployments = 0\n", "policy.max_deployments", "greater than or equal to 1"),
        ("registry = 1\n", "registry", "should be a table"),
    ],
)
def test_a_wrong_value_is_refused_with_file_key_and_what_would_be_right(
    tmp_path: Path, text: str, key: str, why: str
) -> None:
    """One sentence is enough to mend the file."""
    message = refusal(write(tmp_path / "config.toml", text))
    assert message.startswith(f"cannot use the settings: {tmp_path}/config.toml: {key}: ")
    assert why in message
    assert message.endswith("; mend the file")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "[registry]\npoll_intervall = 5\n",
            "registry.poll_intervall: no such key; did you mean registry.poll_interval?",
        ),
        ("[registy]\nuri = 'http://h'\n", "registy: no such key; did you mean registry?"),
        ("poll_interval = 5\n", "poll_interval: no such key; did you mean registry.poll_interval?"),
        ("[deploy]\npoll_interval = 5\n", "deploy.poll_interval: no such key; did you mean registry.poll_interval?"),
        (
            "[zzz]\nqqq = 5\n",
            "zzz: no such key; the sections are registry, deploy, fetch, build, nats, compose, kubernetes, rollout, "
            "reconcile, metrics, policy",
        ),
        ("[registry]\npassword = 'hunter2'\n", "registry.password: no such key: credentials are not settings"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path: Path, text: str, why: str) -> None:
    """A typing mistake must not mean the default."""
    message = refusal(write(tmp_path / "config.toml", text))
    assert why in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[registry]\nuri = \n", "line 2, column 7: Invalid value"),
        ("[registry]\nuri = 'a'\nuri = 'b'\n", "line 3, column 10: Cannot overwrite a value"),
        ("[registry", "end of document"),
        ("[registry]\nuri = 'caf\udce9'\n", "line 2: not UTF-8"),
    ],
)
def test_wrong_syntax_is_refused_with_its_line(tmp_path: Path, text: str, where: str) -> None:
    """An editor can be opened at the right place."""
    path = tmp_path / "config.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert f"{path}: " in refusal(path)
    assert where in refusal(path)


def test_a_wrong_key_is_blamed_on_the_file_that_set_it(tmp_path: Path) -> None:
    """With several drop-ins the last one that sets the key is the one to mend."""
    main = write(tmp_path / "config.toml", "[registry]\ntimeout = 5\n")
    write(tmp_path / "config.d/10.toml", "[registry]\ntimeout = 0\n")
    write(tmp_path / "config.d/20.toml", "[registry]\npoll_interval = 9\n")
    assert f"{tmp_path}/config.d/10.toml: registry.timeout: " in refusal(main)


def test_a_wrong_drop_in_is_named_when_its_syntax_is_wrong(tmp_path: Path) -> None:
    """The main file being right does not hide where the mistake is."""
    main = write(tmp_path / "config.toml", "[registry]\ntimeout = 5\n")
    write(tmp_path / "config.d/10.toml", "timeout 5")
    assert f"{tmp_path}/config.d/10.toml: line 1" in refusal(main)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("MLFLOW_RECONCILER_REGISTRY__TIMEOUT", "0", "should be a whole number of seconds"),
        ("MLFLOW_RECONCILER_REGISTRY__TIMEOUTS", "3", "did you mean registry.timeout?"),
        ("MLFLOW_RECONCILER_REGSTRY__TIMEOUT", "3", "did you mean registry.timeout?"),
        ("MLFLOW_RECONCILER_REGISTRY__SELECTORS", "stage:Production", "a list is written as JSON"),
        ("MLFLOW_RECONCILER_DEPLOY__PORT_RANGE", "[1, 2]", "within 1024 and 65535"),
    ],
)
def test_a_wrong_variable_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    """The environment is blamed, not the file."""
    monkeypatch.setenv(name, value)
    message = refusal(write(tmp_path / "config.toml", "[registry]\ntimeout = 5\n"))
    assert message.startswith("cannot use the settings: environment: ")
    assert "MLFLOW_RECONCILER_" in message
    assert why in message


@pytest.mark.parametrize("key", ["registry.uri", "build.index_url"])
def test_a_password_in_an_address_is_refused_and_never_repeated(tmp_path: Path, key: str) -> None:
    """The file is readable by everyone; credentials come from systemd."""
    section, name = key.split(".")
    message = refusal(write(tmp_path / "config.toml", f'[{section}]\n{name} = "https://me:hunter2@host/x"\n'))
    assert "systemd credentials" in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("1K", 1024), ("64M", 64 << 20), ("1G", 1 << 30), ("2T", 2 << 40), ("123", 123)]
)
def test_sizes_are_bytes(text: str, size: int) -> None:
    """Suffixes are powers of 1024, and a size that was parsed already stays."""
    assert DeploySettings.model_validate({"max_body": text}).max_body == size
    assert DeploySettings.model_validate({"max_body": size}).max_body == size


def test_every_key_that_a_tag_may_set_is_a_key_of_deploy() -> None:
    """The policy, the section it opens and the tags that the core understands cannot drift apart."""
    assert set(DeploySettings.model_fields) >= SETTABLE
    assert "registry.uri" in known_keys()


def test_settings_cannot_be_changed_after_loading() -> None:
    """A reload makes new settings; nobody edits the old ones."""
    with pytest.raises(ValueError, match="frozen"):
        Settings().registry = Settings().registry


def test_the_shipped_file_says_what_the_defaults_are() -> None:
    """Whoever reads the comments of the shipped file reads what holds without it."""
    assert load(SHIPPED).model_dump() == Settings().model_dump()


def test_the_shipped_file_has_every_key() -> None:
    """It is the reference; there is no other."""
    tables = tomllib.loads(SHIPPED.read_text())
    assert sorted(f"{section}.{key}" for section, keys in tables.items() for key in keys) == sorted(known_keys())


def test_the_shipped_file_says_which_keys_a_tag_may_have() -> None:
    """Its comment on policy.tags names the first and the last of them."""
    keys = list(tomllib.loads(SHIPPED.read_text())["deploy"])
    first, last = re.findall(r"keys of \[deploy\]\n# from (\w+) to (\w+)\.", SHIPPED.read_text())[0]
    assert set(keys[keys.index(first) : keys.index(last) + 1]) == SETTABLE


@pytest.mark.parametrize(
    ("ring", "selectors", "choose"),
    [
        ("canary", ("alias:canary", "alias:ward", "alias:all"), "newest"),
        ("all", ("alias:all",), "newest"),
        ("", ("stage:Production",), "first"),
    ],
)
def test_a_ring_takes_its_own_versions_and_those_of_later_rings(
    ring: str, selectors: tuple[str, ...], choose: str
) -> None:
    """So a host that goes first is not left behind by what went through all rings since."""
    source = RegistrySettings(rings=("canary", "ward", "all"), ring=ring).source
    assert (source.selectors, source.choose) == (selectors, choose)
