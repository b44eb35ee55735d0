"""What the reconciler and the models cannot do: tried from inside the sandboxes of the real units."""

import base64
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from reconciler.apply.render import Renderer
from reconciler.core.planner import unit_values
from reconciler.core.state.release import Parameters, Release
from reconciler.daemon.desired import step_settings
from reconciler.settings.model import Settings
from tests.host import CHECKOUT_INSIDE
from tests.host.host import CHECKOUT
from tests.system.attempt import DONE
from tests.system.site import PYTHON, Site, code

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

Attempt = tuple[str, str]
"""What, and on what: see attempt.py."""

RECONCILER = "mlflow-reconciler.service"
ATTEMPT = Path(__file__).with_name("attempt.py")
INTRUDER = f"""{ATTEMPT.read_text().partition("if __name__")[0]}
import mlflow
from mlflow.pyfunc import PythonModel

class Intruder(PythonModel):
    @mlflow.trace
    def predict(self, context, model_input, params=None):
        return try_all(list(zip(model_input["what"], model_input["target"])))

mlflow.models.set_model(Intruder())
"""
SECRETS = ("/root/secret", "/home/ada/secret", "/run/user/1000/secret")
DEPLOYED = "/var/lib/mlflow-deploy/model_deploys"
IP_TABLES = ("tcp", "tcp6", "udp", "udp6", "udplite", "raw", "raw6", "icmp", "packet")
NETWORK = [("socket", family) for family in ("AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_VSOCK")]
TO_ROOT: Attempt = ("become root in a namespace", "")
EXECUTABLE_MEMORY: Attempt = ("write and run memory", "")
COMPILED = "/var/cache/compiled/tried"


@pytest.fixture(scope="module")
def models(site: Site) -> Site:
    """A site that serves two models, the first of which does what it is asked to; and files that nobody should see.

    A third one, `watched`, is registered only.
    """
    for path in SECRETS:
        site.host.write(path, "secret")
        site.host.run(["chmod", "755", str(Path(path).parent)])
    site.register(
        {"name": "intruder", "code": INTRUDER},
        {"name": "neighbour", "code": code()},
        {"name": "watched", "code": code()},
    )
    for name in ("intruder", "neighbour"):
        site.registry.promote(name, 1)
    for name in ("intruder", "neighbour"):
        site.wait_for(name, "serving", 1)
    return site


@contextmanager
def altered(site: Site, lines: str) -> Iterator[None]:
    """The reconciler's unit, stopped, with these lines of [Service] in addition; afterwards as it was and running."""
    drop_in = f"/etc/systemd/system/{RECONCILER}.d/test.conf"
    site.host.write(drop_in, f"[Service]\n{lines}")
    try:
        site.host.run(f"systemctl daemon-reload; systemctl stop {RECONCILER}")
        yield
    finally:
        site.host.run(f"rm -r {Path(drop_in).parent}; systemctl daemon-reload; systemctl restart {RECONCILER}")


def tried_by_the_reconciler(site: Site, attempts: Sequence[Attempt], more: str = "") -> dict[Attempt, str]:
    """What comes of attempts in the very sandbox of the reconciler's unit: only its program is another one.

    `more`: lines of [Service] that change the sandbox.
    """
    program = f"{PYTHON} -I {CHECKOUT_INSIDE}/tests/system/{ATTEMPT.name}"
    asked = base64.b64encode(json.dumps(attempts).encode()).decode()
    answer = "/var/tmp/tried.json"  # noqa: S108 - of the test host, opened by systemd before the sandbox is made
    lines = f"Type=oneshot\nRestart=no\nWatchdogSec=0\nExecStart=\nExecStart={program}\n"
    lines += f"StandardInput=data\nStandardInputData={asked}\nStandardOutput=truncate:{answer}\n"
    with altered(site, lines + more):
        site.host.run(["systemctl", "start", RECONCILER])
        return dict(zip(attempts, json.loads(site.host.read(answer)), strict=True))


def tried_by(site: Site, name: str, attempts: Sequence[Attempt]) -> dict[Attempt, str]:
    """What comes of attempts by a model, as it says in its prediction."""
    body = {"dataframe_split": {"columns": ["what", "target"], "data": attempts}}
    url = f"{site.statuses()[name]['url']}/invocations"
    answer = httpx.post(url, json=body, timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    return dict(zip(attempts, answer.json()["predictions"], strict=True))


def tried_by_root(site: Site, attempts: Sequence[Attempt]) -> dict[Attempt, str]:
    """What comes of attempts without any sandbox."""
    program = [PYTHON, "-I", f"{CHECKOUT_INSIDE}/tests/system/{ATTEMPT.name}"]
    answer = site.host.run(program, stdin=json.dumps(attempts)).stdout
    return dict(zip(attempts, json.loads(answer), strict=True))


def done(outcomes: dict[Attempt, str]) -> list[Attempt]:
    """The attempts that were not refused."""
    return [attempt for attempt, outcome in outcomes.items() if outcome == DONE]


def main_pid(site: Site) -> str:
    """The process id of the reconciler."""
    return site.host.output(["systemctl", "show", "--property=MainPID", "--value", RECONCILER])


def test_the_running_reconciler_has_no_ip_socket_and_no_interface(models: Site) -> None:
    """Its network namespace is its own, has only a loopback and no sockets but AF_UNIX; so are its descriptors."""
    pid = main_pid(models)
    proc = f"/proc/{pid}"
    assert models.host.output(f"readlink {proc}/ns/net") != models.host.output("readlink /proc/1/ns/net")
    interfaces = re.findall(r"^\s*(\S+):", models.host.read(f"{proc}/net/dev"), re.MULTILINE)
    assert interfaces == ["lo"]
    assert len(models.host.read(f"{proc}/net/route").splitlines()) <= 1, "a heading and no route"
    for table in IP_TABLES:
        lines = models.host.output(f"cat {proc}/net/{table} 2>/dev/null || true").splitlines()
        assert len(lines) <= 1, f"{table}: {lines}"
    sockets = set(re.findall(r"socket:\[(\d+)\]", models.host.output(f"ls -l {proc}/fd")))
    local = {line.split()[6] for line in models.host.read(f"{proc}/net/unix").splitlines()[1:]}
    # What systemd handed it was made in the host's namespace.
    local |= {line.split()[6] for line in models.host.read("/proc/1/net/unix").splitlines()[1:]}
    assert sockets
    assert sockets <= local


def test_the_running_reconciler_has_no_capability_and_nothing_of_mlflow_or_of_a_deployment_open(models: Site) -> None:
    """Root by name only; no compiled part of MLflow or of what MLflow needs is mapped, no file of a model is open."""
    pid = main_pid(models)
    status = dict(line.split(":\t") for line in models.host.output(f"grep -P ':\t' /proc/{pid}/status").splitlines())
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    files = models.host.output(f"readlink /proc/{pid}/fd/* /proc/{pid}/cwd || true; grep -o '/.*' /proc/{pid}/maps")
    assert "pydantic_core" in files
    assert not re.findall(r".*(?:/mlflow/|numpy|pandas|pyarrow|sqlalchemy|sklearn|cloudpickle).*", files)
    assert not re.findall(r".*(?:mlflow-deploy|/home/|/root).*", files)


def test_the_reconciler_never_loads_mlflow(models: Site) -> None:
    """Python itself writes down every import of the real program in its unit, while it deploys and removes a model."""
    imports = "/var/tmp/imports"  # noqa: S108 - of the test host, opened by systemd before the sandbox is made
    start = f"ExecStart=\nExecStart={PYTHON} -I -X importtime -m reconciler run\nStandardError=truncate:{imports}\n"
    with altered(models, start):
        models.host.run(["systemctl", "start", RECONCILER], timeout=120)
        models.registry.promote("watched", 1)
        models.wait_for("watched", "serving", 1)
        models.demote("watched")
        written = models.host.read(imports)
    modules = set(re.findall(r"^import time:.*\| +(\S+)$", written, re.MULTILINE))
    assert {"reconciler.daemon.loop", "reconciler.core.planner.plan", "pydbus", "jinja2"} <= modules
    assert not {module for module in modules if re.match(r"mlflow|numpy|pandas|requests|urllib3|uvicorn", module)}


def test_the_reconciler_can_neither_see_nor_change_a_home_or_a_deploy_directory(models: Site) -> None:
    """It tries, from inside its unit; root outside of it can."""
    attempts: list[Attempt] = [(what, path) for path in SECRETS for what in ("read", "write")]
    attempts += [(what, directory) for path in SECRETS for what, directory in within(str(Path(path).parent))]
    release = f"{DEPLOYED}/neighbour/releases/1"
    attempts += [("read", f"{release}/manifest.json"), ("write", f"{release}/manifest.json")]
    for directory in ("/var/lib/mlflow-deploy", DEPLOYED, f"{DEPLOYED}/neighbour", release):
        attempts += within(directory)
    attempts += [("list", "/proc/1/root/root"), ("read", "/proc/1/root/home/ada/secret")]
    assert done(tried_by_root(models, attempts)) == attempts
    assert done(tried_by_the_reconciler(models, attempts)) == []


def test_the_reconciler_writes_to_its_own_three_directories_only(models: Site) -> None:
    """Neither another unit directory, nor the agent's snapshot, nor a program or a setting; and it has no network."""
    own: list[Attempt] = [
        ("create", f"{directory}/tried")
        for directory in ("/etc/systemd/system", "/run/mlflow-reconciler", "/var/lib/mlflow-reconciler")
    ]
    others = ["/etc", "/usr/local/bin", "/opt/mlflow-reconciler", "/var/lib", "/var/log", "/run", "/run/models"]
    others += ["/run/systemd/system", "/usr/local/lib/systemd/system", "/etc/mlflow-reconciler/templates"]
    refused: list[Attempt] = [("create", f"{directory}/tried") for directory in others]
    refused += [("write", "/etc/mlflow-reconciler/config.toml"), ("write", "/etc/shadow")]
    refused += [("write", "/run/mlflow-registry-agent/registry.json"), ("create", "/run/mlflow-registry-agent/tried")]
    refused += [*NETWORK, TO_ROOT, EXECUTABLE_MEMORY, ("connect", models.registry.uri.removeprefix("http://"))]
    assert done(tried_by_the_reconciler(models, own + refused)) == own


def within(directory: str) -> list[Attempt]:
    """The attempts on a directory."""
    return [("list", directory), ("create", f"{directory}/tried")]


def test_a_model_reaches_no_network_no_other_program_and_no_other_model(models: Site) -> None:
    """Its own code tries: the registry, its neighbour, D-Bus, the journal, databases of the host."""
    sockets = ("models/neighbour.sock", "dbus/system_bus_socket", "systemd/private", "systemd/journal/stdout")
    attempts: list[Attempt] = [("connect to", f"/run/{socket}") for socket in sockets]
    attempts += [("connect", models.registry.uri.removeprefix("http://"))]
    attempts += [("connect", models.statuses()["neighbour"]["url"].removeprefix("http://"))]
    entries = ("/run/systemd/journal/socket", "/run/systemd/journal/dev-log", "/dev/log")
    attempts += [("forge an entry through", path) for path in entries]
    assert done(tried_by_root(models, attempts)) == attempts
    assert done(tried_by(models, "intruder", [*attempts, *NETWORK])) == []
    units_of_forged = models.host.output("journalctl --output=json MODEL=neighbour | grep -c model-intruder || true")
    assert units_of_forged == "0"


def test_a_model_sees_nothing_but_its_own_release_and_changes_nothing(models: Site) -> None:
    """Its own code tries: other models, homes, settings, snapshots, units, its own release and environment."""
    own = f"{DEPLOYED}/intruder/releases/1"
    others = f"{DEPLOYED}/neighbour/releases/1"
    attempts: list[Attempt] = [(what, path) for path in SECRETS for what in ("read", "write")]
    attempts += [(what, directory) for path in SECRETS for what, directory in within(str(Path(path).parent))]
    attempts += [("read", f"{others}/manifest.json"), ("list", others), ("list", f"{DEPLOYED}/neighbour")]
    attempts += [("list", "/etc/mlflow-reconciler"), ("read", "/etc/mlflow-reconciler/config.toml")]
    attempts += [("read", "/run/mlflow-registry-agent/registry.json"), ("read", "/run/mlflow-reconciler/status.json")]
    attempts += [("list", "/var/lib/mlflow-reconciler"), ("read", "/etc/systemd/system/model-neighbour.socket")]
    attempts += [("write", f"{own}/manifest.json"), ("write", f"{own}/model/MLmodel"), ("create", f"{own}/tried")]
    attempts += [("create", f"{directory}/tried") for directory in ("/opt/mlflow-reconciler/venv/", "/usr", "/run")]
    attempts += [("execute", f"{directory}/tried") for directory in ("/tmp", "/var/tmp", "/dev/shm")]  # noqa: S108 - its own
    attempts += [("read", "/proc/1/environ")]
    assert done(tried_by_root(models, attempts)) == attempts
    assert done(tried_by(models, "intruder", [*attempts, TO_ROOT])) == []
    allowed: list[Attempt] = [("read", f"{own}/manifest.json"), ("create", "/tmp/tried")]  # noqa: S108 - its own
    # What libraries for audio and learning live on; a host can close it (test_compiled.py).
    allowed += [EXECUTABLE_MEMORY, ("create", COMPILED), ("execute", COMPILED)]
    assert done(tried_by(models, "intruder", allowed)) == allowed


def test_what_is_said_to_a_traced_model_is_not_written_down(models: Site) -> None:
    """Not in the only place where its server may write, nor has MLflow made a store for it there."""
    word = "/nowhere/Quintessa-Vandermolen"
    for _ in range(4):
        assert done(tried_by(models, "intruder", [("read", word)])) == []
    pid = models.host.output("systemctl show --property=MainPID --value 'model-intruder@*.service'")
    found = models.host.output(f"find /proc/{pid}/root/tmp /proc/{pid}/root/var/tmp -type f")
    assert [line for line in found.splitlines() if "mlflow.db" in line or "mlruns" in line] == []
    assert models.host.output(f"grep -rl {word} /proc/{pid}/root/tmp /proc/{pid}/root/var/tmp || true") == ""


@pytest.mark.parametrize(
    ("unit", "most"),
    [
        (RECONCILER, 0.9),
        ("mlflow-registry-agent.service", 1.0),
        ("model-neighbour@*.service", 0.5),
        ("mlflow-fetch@neighbour.1.service", 1.3),
        ("mlflow-verify@neighbour.1.service", 0.5),
    ],
)
def test_systemd_judges_the_sandboxes_safe(models: Site, unit: str, most: float) -> None:
    """Higher is worse; a unit without a sandbox has 9.6."""
    name = models.host.output(["systemctl", "show", "--property=Id", "--value", unit])
    assert exposure(models, name) <= most


def test_systemd_judges_the_sandbox_of_a_build_safe(models: Site) -> None:
    """Rendered as the product would, because nothing is built here."""
    release = Release("example", 1, "models:/example/1", Parameters())
    render = unit_values.build(release, "0" * 32, step_settings(Settings()))
    models.host.write(
        f"/root/{render.unit}", Renderer([CHECKOUT / "templates"], lambda _unit, _text: None).render(render)
    )
    assert exposure(models, f"--offline=yes /root/{render.unit}") <= 1.3


def exposure(site: Site, arguments: str) -> float:
    """The number of `systemd-analyze security`."""
    said = site.host.output(f"systemd-analyze security --no-pager {arguments} | tail -n 1")
    found = re.search(r"exposure level for \S+: (\d+\.\d)", said)
    assert found, said
    return float(found[1])


def test_the_status_is_for_everyone_and_the_state_for_root(models: Site) -> None:
    """An ordinary user reads status.json and nothing of /var/lib/mlflow-reconciler."""
    status = "/run/mlflow-reconciler/status.json"
    assert {one["name"] for one in json.loads(models.host.output(["cat", status], user="ada"))["deployments"]} == {
        "intruder",
        "neighbour",
    }
    assert models.host.run(["ls", "/var/lib/mlflow-reconciler"], user="ada", check=False).returncode != 0
    assert models.host.output("stat -c '%a %U' /var/lib/mlflow-reconciler") == "700 root"
    places = "/run/mlflow-reconciler /var/lib/mlflow-reconciler /etc/mlflow-reconciler"
    assert models.host.output(f"find {places} ! -user root -o -perm /022 ! -type l") == ""
