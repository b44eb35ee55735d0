"""Credentials on a host: where they work, where they never lie, how they are exchanged while models go on serving.

Its registry asks for a password, behind a server that speaks TLS with a certificate of the hospital's own authority and
demands one of each client; its package index asks for a password, too. Its bucket wants signatures, behind TLS of that
authority.
"""

import base64
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import pytest

from tests.host import CHECKOUT_INSIDE, Host, Layers, Registry
from tests.host.installed import configure
from tests.index import Index
from tests.s3 import Buckets, buckets
from tests.steps import wheels
from tests.system.conftest import SETTINGS
from tests.system.site import PYTHON, Site, code
from tests.tls import Authority, TlsFront

pytestmark = [pytest.mark.system, pytest.mark.exhaustive, pytest.mark.timeout(600)]

AGENT = "mlflow-registry-agent.service"
STORE = "/etc/credstore"
BELOW = ["/run", "/etc", "/tmp", "/var/tmp"]  # noqa: S108 - of the host, and searched
BELOW += ["/var/lib", "/var/cache", "/var/log", "/var/crash"]
BELOW += ["/home/ada", "/opt/mlflow-reconciler/templates", "/usr/local/lib/systemd"]
# Where they are kept and handed out; the registry's own; what the machine below brings.
BUT = [
    f"{STORE}",
    # Of the one unit that goes on using them: steps are done, though systemd calls them active.
    f"/run/credentials/{AGENT}",
    "/var/lib/test-mlflow-server",
    "/var/lib/dpkg",
    "/var/lib/apt",
    "/var/lib/docker",
]


@dataclass
class Vault:
    """The host and the secrets that it was given."""

    site: Site
    front: TlsFront
    index: Index
    bucket: Buckets
    secrets: dict[str, str]
    since: float
    """When they were made, as files tell time."""

    def give(self, name: str, content: str) -> None:
        """Put a credential where systemd looks for it."""
        self.site.host.write(f"{STORE}/{name}", content, 0o600)

    @property
    def needles(self) -> list[str]:
        """Everything that may be found nowhere."""
        password, index = self.secrets["registry.password"], self.secrets["index.password"]
        pairs = [f"fetcher:{password}", f"builder:{index}"]
        key = self.secrets["registry.client-certificate"].splitlines()[1]
        return [password, index, key, self.bucket.secret_key, *(encoded(pair) for pair in pairs)]

    def search(self) -> dict[str, Any]:
        """Look for all of them everywhere."""
        asked = json.dumps({"needles": self.needles, "below": BELOW, "but": BUT, "since": self.since})
        program = [PYTHON, "-I", f"{CHECKOUT_INSIDE}/tests/system/searched.py"]
        found: dict[str, Any] = json.loads(self.site.host.run(program, stdin=asked, timeout=120).stdout)
        return found

    def agent_says(self) -> str:
        """The agent's status line."""
        return self.site.host.output(f"systemctl show --property=StatusText --value {AGENT}")


def encoded(text: str) -> str:
    """As it goes over the wire, without what depends on its length."""
    return base64.b64encode(text.encode()).decode().rstrip("=")[:-1]


@pytest.fixture(scope="module")
def vault(image: Layers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    """A host on which everything asks who is there."""
    directory = tmp_path_factory.mktemp("vault")
    since = directory.stat().st_ctime
    wheels.server_needs(directory / "house")
    wheels.wheel(directory / "house", "tiny", "1.0")
    wheels.wheel(directory / "house", "mlflow", version("mlflow"))  # it requires itself of every model
    authority = Authority(directory / "authority")
    given = {
        "registry.username": "fetcher\n",
        "registry.password": f"c4n4ry{secrets.token_hex(12)}",
        "registry.ca": authority.pem.read_text(),
        "registry.client-certificate": authority.issue("host").read_text(),
        "index.username": "builder",
        "index.password": f"c4n4ry{secrets.token_hex(12)}",
        "artifacts.ca": authority.pem.read_text(),
    }
    host = Host("vault", base=image)
    with (
        TlsFront(f"http://127.0.0.1:{host.registry_port}", authority.issue("front"), clients=authority.pem) as front,
        Index(directory / "house", "builder", given["index.password"]) as index,
        buckets(directory, authority, ("AKIACANARYCANARY", secrets.token_hex(20))) as bucket,
    ):
        given["artifacts.aws"] = bucket.credential
        settings = f"[registry]\nuri = '{front.uri}'\ntimeout = 20\n[build]\nindex_url = '{index.url}'\n"
        settings += f"[fetch]\nhosts = ['s3://models']\ns3_endpoint_url = '{bucket.url}'\n"
        configure(host, SETTINGS + settings)
        for name, content in given.items():
            host.write(f"{STORE}/{name}", content, 0o600)
        with host:
            registry = Registry(host, host.registry_port, f"admin{secrets.token_hex(8)}")
            registry.start()
            registry.set_user("fetcher", given["registry.password"])
            site = Site(host, registry)
            site.serve({"name": "guarded", "code": code()})
            yield Vault(site, front, index, bucket, given, since)


def test_a_model_whose_files_are_in_a_bucket_is_promoted_and_serves(vault: Vault) -> None:
    """The data scientist wrote them there himself; the host has keys, server and authority from its operator."""
    site, authority = vault.site, "/home/ada/authority.pem"
    vault.bucket.put("models", {"another/thing": b""})
    site.host.write(authority, vault.secrets["artifacts.ca"], 0o644)
    variables = {"AWS_CA_BUNDLE": authority, "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required"}
    model = {"name": "bucketed", "code": code(), "artifacts_at": "s3://models/bucketed"}
    site.register(model, environment=vault.bucket.environment | variables)
    site.host.run(["rm", authority])
    site.registry.promote("bucketed", 1)
    site.wait_for("bucketed", "serving", 1)
    assert site.predict("bucketed", {}, {}).status_code == 200
    assert (vault.bucket.directory / "models/bucketed").is_dir()
    assert vault.site.host.output("systemctl show --property=StatusText --value mlflow-fetch@bucketed.1").startswith(
        "fetched "
    )


def test_a_whole_deployment_leaves_no_secret_anywhere(vault: Vault) -> None:
    """Read, fetched with a password and a certificate, built with another password, served; then all is searched."""
    site = vault.site
    site.register(
        {"name": "built", "code": code(), "requirements": ["tiny==1.0"], "settings": {"environment": "model"}},
    )
    site.registry.promote("built", 1)
    site.host.wait_for(lambda: vault.index.let_in and built(site.host), 120, "the environment to be built")
    assert vault.front.handshakes > 0
    site.host.wait_for(lambda: "deployed." in str(site.registry.version("guarded", 1)), 60, "the agent to report")
    found = vault.search()
    assert found["found"] == []
    assert found["places"] > 200
    figures = f"canaries {len(vault.needles)}, places searched {found['places']}, bytes {found['bytes']}, found 0"
    print(figures)  # noqa: T201 - the figures
    site.host.write("/var/lib/mlflow-reconciler/planted", f"x{vault.secrets['registry.password']}")
    site.host.run(["systemd-run", "--unit=planted", f"--setenv=X={vault.secrets['index.password']}", "sleep", "600"])
    planted = vault.search()["found"]
    site.host.run("systemctl stop planted; rm /var/lib/mlflow-reconciler/planted")
    assert "/var/lib/mlflow-reconciler/planted" in planted
    assert "properties of units" in planted
    assert any(name.endswith("/environ") for name in planted)


def built(host: Host) -> bool:
    """Whether a build has succeeded."""
    shown = host.output("systemctl show --property=StatusText --value 'mlflow-build@*'")
    return "built environment" in shown or "is complete" in shown


def test_nobody_but_its_users_sees_a_credential(vault: Vault) -> None:
    """The agent does; not a person, not the steps' own user, not a model, in whose sight there is no such file."""
    host = vault.site.host
    for user in ("mlflow-deploy", "ada"):
        for path in (f"{STORE}/registry.password", f"/run/credentials/{AGENT}/registry.password"):
            assert host.run(["cat", path], user=user, check=False).returncode != 0
    assert host.run(["cat", f"/run/credentials/{AGENT}/registry.password"], user="mlflow-agent").returncode == 0
    model = host.output("systemctl list-units --plain --no-legend 'model-guarded@*' | cut -d' ' -f1")
    pid = host.output(["systemctl", "show", "--property=MainPID", "--value", model])
    seen = f"/proc/{pid}/root/run/credentials/{AGENT}/registry.password"
    assert host.run(["test", "-e", f"/run/credentials/{AGENT}/registry.password"]).returncode == 0
    assert host.run(["test", "-e", seen], check=False).returncode == 1
    limits = host.read(f"/proc/{host.output(f'systemctl show --property=MainPID --value {AGENT}')}/limits")
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE), limits


def invocations(host: Host) -> dict[str, str]:
    """The run of each model's server: another one after any restart."""
    shown = host.output("systemctl show --property=Id,InvocationID 'model-guarded@*'")
    lines = dict(line.split("=", 1) for line in shown.splitlines() if line)
    return {lines["Id"]: lines["InvocationID"]}


def test_a_model_that_the_login_may_no_longer_see_serves_on(vault: Vault) -> None:
    """For MLflow it is as if it did not exist; a person is asked, and with the permission back nobody is."""
    site, before = vault.site, invocations(vault.site.host)
    site.registry.set_permission("fetcher", "guarded", "DENY")
    try:
        one = site.wait_for("guarded", "held")
        assert "this host may no longer see it" in one["message"]
        assert site.predict("guarded", {}, {}).status_code == 200
    finally:
        site.registry.set_permission("fetcher", "guarded")
    site.wait_for("guarded", "serving", 1)
    assert invocations(site.host) == before


@pytest.mark.parametrize("kept", [pytest.param("plain", marks=pytest.mark.by_hand), "encrypted"])
def test_a_password_is_exchanged_and_models_go_on(vault: Vault, kept: str) -> None:
    """First in the registry, then on the host; only the agent is restarted, and the next fetch has the new one."""
    site, host = vault.site, vault.site.host
    before = invocations(host)
    password = f"c4n4ry{secrets.token_hex(12)}"
    site.registry.set_user("fetcher", password, new=False)
    host.wait_for(lambda: "(HTTP 401)" in vault.agent_says(), 60, "the agent to be sent away")
    assert password not in vault.agent_says()
    vault.secrets["registry.password"] = password
    if kept == "plain":
        vault.give("registry.password", password)
    else:
        target = f"{STORE}.encrypted/registry.password.encrypted"
        host.run(
            f"install -d -m 0700 {STORE}.encrypted; systemd-creds encrypt --with-key=host - {target}", stdin=password
        )
        host.run(["rm", f"{STORE}/registry.password"])
        assert password not in host.read(target)
    host.run(["systemctl", "restart", AGENT])
    host.wait_for(lambda: "read " in vault.agent_says(), 60, "the agent to be let in again")
    name = f"after-{kept}"
    site.serve({"name": name, "code": code()})
    assert invocations(host) == before
    assert vault.search()["found"] == []
