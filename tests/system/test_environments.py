"""Python environments: each model gets its own, models that need the same share one, and a disk may be full."""

import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.host import Host, Layers, Registry, installed_host
from tests.host.host import HostError
from tests.load import Load
from tests.steps import standalone, wheels
from tests.steps.hostile_wheels import DATA, EVIL, LIBRARY
from tests.system.conftest import SETTINGS
from tests.system.site import PYTHON, Site, code

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

HOME = "/var/lib/mlflow-deploy"
ARTIFACTS = "/var/lib/test-mlflow-server/artifacts"
SERVER = "/etc/systemd/system/model-{}@*.service"
WHEELS = "/srv/test-packages"
PACKAGES = ("numpy", "mlflow-skinny", "starlette")
# A model that answers which versions it runs with.
VERSIONS = f"[float('.'.join(version(name).split('.')[:2])) for name in {PACKAGES!r}]"
TELLING = code(on_predict=f"from importlib.metadata import version; return ({VERSIONS}, 'negative')")

# A model with what its host does not have by itself: a package, an older version, an index of its own, another Python.
OWN_WHEEL = "/srv/test-wheel"
PYTHONS = "/srv/test-pythons"
SHIPPED = code(
    on_predict="import sys, numpy, hospitools; return ([float('.'.join(version.split('.')[:2])) for version in "
    "(numpy.__version__, hospitools.__version__, sys.version)], 'negative')"
)
NEEDS = [
    *("mlflow-skinny==2.22.0", "pandas==2.2.3", "numpy", "code/hospitools-1.2.3-py3-none-any.whl"),
    "--extra-index-url https://pkgs.example.org/simple",
]

OLD = ["mlflow-skinny==2.22.0", "numpy==1.26.4", "pandas==2.2.3"]
NEW = ["mlflow-skinny==3.1.4", "numpy==2.2.6", "pandas==2.3.3", "starlette==0.37.2"]


# What hostile code does first that runs as the first module of an interpreter: it tells the host's journal.
RAN = "hostile code ran"
TELLS = f"import _socket; _socket.socket(1, 2).sendto(b'MESSAGE={RAN}\\n', '/run/systemd/journal/socket')\n"
MOST_GIB = {"fetch": 1, "build": 2, "verify": 1}
LIMITS = {
    step: {frozenset({f"MemoryMax={most * 1024**3}", "OOMScoreAdjust=900", "PrivateIPC=yes"})}
    for step, most in MOST_GIB.items()
}
# What foreign code does that is built here: it goes on in a process of its own, and tells what its unit lets it see.
BEHIND = "left-behind"
LEAVES = f"""
import os, subprocess
quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
subprocess.Popen(["/bin/bash", "-c", "exec -a {BEHIND} sleep 86399 & exit 0"], start_new_session=True, **quiet).wait()
open("/dev/shm/left", "w").close()
seen = open("/proc/self/oom_score_adj").read()
"""


IMPOSSIBLE = {
    "nowhere": ["mlflow-skinny", "pandas", "numpy==99.0"],
    "torn": ["mlflow-skinny", "pandas==2.2.3", "numpy<1.20"],
    "unbuilt": ["mlflow-skinny", "pandas", "onlysource==1.0"],
    "rival": ["mlflow-skinny<3", "pandas", "starlette==0.20.4"],
    "antique": ["mlflow-skinny", "pandas"],
    "hostile": ["mlflow-skinny", "hostile==1.0"],
}
REASONS = {
    "nowhere": r"a package cannot be found: there is no version of numpy==99.0",
    "torn": r"the model's requirements contradict each other: .*pandas==2.2.3 depends on numpy",
    "unbuilt": r"onlysource==1.0 has no usable wheels.*; this host installs wheels only, ",
    "rival": r"the model's requirements contradict what the server itself needs \(starlette>=0.37\): ",
    "antique": r"the model wants Python 3.9, and the model server needs 3.10 or newer; this host has 3\.\d+",
    "hostile": r"the package hostile==1.0 brings or changes 'pyvenv.cfg', which belongs to the environment itself; ",
}


@pytest.fixture(scope="module")
def site(image: Layers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with packages beside the index, whose models are kept on a small disk of their own."""
    house = tmp_path_factory.mktemp("packages")
    wheels.source(house, "onlysource", "1.0")
    wheels.source(house, "leaver", "1.0", LEAVES)
    wheels.wheel(house, "hostile", "1.0", files=hostile_files())
    settings = f"{SETTINGS}[build]\nfind_links = ['{WHEELS}']\n"
    with installed_host(image, "environments", settings=settings) as host:
        registry = Registry(host, host.registry_port)
        registry.start()
        inside = shutil.copytree(house, Path(host.root, WHEELS.lstrip("/")))
        inside.chmod(0o755)  # pytest's own directories are its user's alone
        host.run(f"mount -t tmpfs -o mode=0750,nr_inodes=5 tmpfs {HOME}")
        host.run(["systemd-tmpfiles", "--create", "/etc/tmpfiles.d/mlflow-reconciler.conf"])
        site = Site(host, registry)
        site.register(
            *(model("ours", OLD, "host"), model("old", OLD), model("same", OLD[::-1]), model("new", NEW)),
            model("leaver", ["mlflow-skinny", "leaver==1.0"]),
            *(model(name, requirements) for name, requirements in IMPOSSIBLE.items()),
            shipped(host),
        )
        yield site


def hostile_files() -> dict[str, str | bytes]:
    """Files with which the interpreter of an environment takes its own library from a package."""
    files: dict[str, str | bytes] = {f"{DATA}/data/pyvenv.cfg": "home = evil/bin\n"}
    library = f"{EVIL}/lib/python{sys.version_info.major}.{sys.version_info.minor}"
    return files | {f"{library}/{module}": TELLS for module in LIBRARY}


def model(name: str, requirements: list[str], environment: str = "model") -> dict[str, Any]:
    """Describe a model that needs these packages."""
    return {"name": name, "code": TELLING, "requirements": requirements, "settings": {"environment": environment}}


def shipped(host: Host) -> dict[str, Any]:
    """Describe the model with all that its host does not have, whose wheel only its author has."""
    own = Path(host.root, OWN_WHEEL.lstrip("/"))
    wheels.wheel(own, "hospitools", "1.2.3")
    whole = model("shipped", NEEDS)
    return whole | {
        "code": SHIPPED,
        "constraints": "numpy<2\n",
        "code_paths": [f"{OWN_WHEEL}/hospitools-1.2.3-py3-none-any.whl"],
    }


def resize(site: Site, options: str) -> None:
    """Make the disk larger or smaller."""
    site.host.run(f"mount -o remount,{options} {HOME}")


def failure(site: Site, name: str, why: str) -> None:
    """Wait until a deployment has failed for a reason, which the journal must tell, too."""

    def failed() -> str | None:
        one = site.statuses().get(name, {"state": "", "message": ""})
        return str(one["message"]) if one["state"] == "failed" and re.match(why, one["message"]) else None

    message = site.host.wait_for(failed, 180, f"{name} to fail because {why}, not {site.statuses().get(name)}")
    assert any(message in str(entry["MESSAGE"]) for entry in site.story(name))


def servers(site: Site) -> str:
    """List the unit files of servers and of their sockets."""
    return site.host.output("ls /etc/systemd/system | grep '^model-' || true")


def environments(site: Site) -> list[str]:
    """List the directories of environments."""
    return site.host.output(f"ls {HOME}/environments").split()


def versions_in(site: Site, name: str) -> list[float]:
    """Ask a deployment which versions of PACKAGES it runs with."""
    answer = site.predict(name, {}, {})
    assert answer.status_code == 200, answer.text
    found: list[float] = answer.json()["output"]
    return found


def test_a_disk_without_room_for_a_directory_is_a_plain_reason(site: Site) -> None:
    """It is systemd that fails then, before the step's own program runs."""
    site.registry.promote("ours", 1)
    failure(
        site, "ours", r"cannot fetch version 1 of ours: systemd could not make its directory, perhaps the disk is full"
    )
    assert not servers(site)


def test_a_disk_that_is_full_while_a_model_is_fetched_is_a_plain_reason(site: Site) -> None:
    """Nothing half-fetched is used, and with room it goes on by itself."""
    resize(site, "nr_inodes=10")
    failure(
        site, "ours", r"cannot download version 1 of ours: no space left on this host's disk; make room on the host"
    )
    left = site.host.output(f"ls -A {HOME}/model_deploys/ours/releases/1").split()
    assert not {"manifest.json", "model"} & set(left), left
    assert not servers(site)
    resize(site, "nr_inodes=100000,size=40M")
    room = r"it has [\d.]+ KiB, and of [\d.]+ MiB free on this host 64.0 MiB stay free; make room on the host"
    failure(site, "ours", f"cannot download version 1 of ours: {room}")
    resize(site, "size=120M")
    site.wait_for("ours", "serving", 1)


def test_a_disk_that_gets_full_while_an_environment_is_built_is_a_plain_reason(site: Site) -> None:
    """Nothing half-built is used, the model beside it goes on serving, and with room it is built by itself."""
    site.registry.promote("old", 1)
    room = "less than the 64.0 MiB that stay free on this host would be left; make room on the host, or log"
    failure(site, "old", f"cannot build the environment: {room}")
    assert not site.host.output(f"find {HOME}/environments -name complete.json")
    assert "old" not in servers(site)
    versions_in(site, "ours")
    resize(site, "size=4G")
    site.wait_for("old", "serving", 1)


def make_with(site: Site, name: str, python: str) -> None:
    """Have a model say that it was made with another Python."""
    artifacts = httpx.get(
        f"{site.registry.uri}/api/2.0/mlflow/model-versions/get-download-uri",
        params={"name": name, "version": "1"},
        timeout=30,
        trust_env=False,
    ).json()["artifact_uri"]
    file = f"{ARTIFACTS}/{artifacts.removeprefix('mlflow-artifacts:/')}/python_env.yaml"
    site.host.run(["sed", "-i", f"s/^python: .*/python: {python}/", file])


@pytest.fixture(scope="module")
def promoted(site: Site) -> Site:
    """Everything else in Production, what can be served and what cannot."""
    make_with(site, "antique", "3.9.18")
    # What cannot be built would be tried again and again, while the others are built. And many are removed below: on a
    # busy machine the agent sees them go at once, which would wait for a person.
    site.change_settings("70-patience.toml", "[reconcile]\nretry_min = 60\nretry_max = 600\nprune_from = 100\n")
    for name in (*IMPOSSIBLE, "same", "new"):
        site.registry.promote(name, 1)
    return site


@pytest.mark.parametrize("name", list(reversed(IMPOSSIBLE)))
def test_requirements_that_cannot_be_met_are_a_plain_reason(promoted: Site, name: str) -> None:
    """Which package, why, and what to do; nothing of it is left to be used."""
    failure(promoted, name, f"cannot build the environment: {REASONS[name]}")
    assert f"model-{name}" not in servers(promoted)


def test_a_package_runs_nothing_while_it_is_installed(promoted: Site) -> None:
    """In the unit that builds, with what its sandbox would let it do; and what the steps' units may use is bounded."""
    failure(promoted, "hostile", f"cannot build the environment: {REASONS['hostile']}")
    assert RAN not in promoted.host.journal("--output=cat")
    limits = "systemctl show --property=MemoryMax --property=OOMScoreAdjust --property=PrivateIPC"
    shown = {step: promoted.host.output(f"{limits} 'mlflow-{step}@*.service'") for step in LIMITS}
    assert {step: {frozenset(one.split()) for one in text.split("\n\n")} for step, text in shown.items()} == LIMITS


def test_models_whose_packages_contradict_each_other_and_ours_all_serve(promoted: Site) -> None:
    """Each answers with the versions that it pins; an older MLflow and an older starlette among them."""
    for name in ("ours", "old", "same", "new"):
        promoted.wait_for(name, "serving", 1)
    for name in ("old", "same"):
        assert versions_in(promoted, name)[:2] == [1.26, 2.22]
    assert versions_in(promoted, "new") == [2.2, 3.1, 0.37]
    own = f"from importlib.metadata import version; print({VERSIONS})"
    assert str(versions_in(promoted, "ours")) == promoted.host.output([PYTHON, "-I", "-c", own])
    assert versions_in(promoted, "ours")[0] not in (1.26, 2.2)


def test_nothing_that_a_build_started_goes_on_after_it(promoted: Site) -> None:
    """The unit stays, with nothing in it; nor is there anything left where only memory is."""
    promoted.change_settings("75-source.toml", "[build]\nallow_source = true\n")
    promoted.registry.promote("leaver", 1)

    def built() -> str | None:
        told = " ".join(str(entry["MESSAGE"]) for entry in promoted.story("leaver"))
        found = re.search(r"built environment ([0-9a-f]{32}): ", told)
        return found[1] if found else None

    digest = promoted.host.wait_for(built, 180, "the package to be built from its source")
    unit = f"mlflow-build@{digest}.service"
    active = f"systemctl show --property=SubState --value {unit}"
    promoted.host.wait_for(lambda: promoted.host.output(active) == "exited" or None, 60, "the build to end")
    assert promoted.host.output(f"systemctl show --property=MemoryMax --value {unit}") == str(4 * 1024**3)
    # A letter in brackets, so that the command does not find itself; a minimal Debian has no pgrep.
    looked = f"grep -lsa '[{BEHIND[0]}]{BEHIND[1:]}' /proc/[0-9]*/cmdline"
    assert promoted.host.run(looked, check=False).stdout == ""
    assert (
        promoted.host.output(f"cat {HOME}/environments/{digest}/venv/lib/python3.*/site-packages/leaver/seen") == "900"
    )
    assert "left" not in promoted.host.output("ls -A /dev/shm")
    assert any(
        "processes that were left behind and are ended now: 1" in str(one["MESSAGE"])
        for one in promoted.story("leaver")
    )
    promoted.demote("leaver")
    promoted.host.run("rm /etc/mlflow-reconciler/config.d/75-source.toml")


def change_until_noticed(site: Site, file: str) -> None:
    """Change a file of the model `new`: again, where systemd was just reading its units, and watched nothing."""
    verified = "systemctl show --property=InvocationID --value mlflow-verify@new.1.service"
    before = site.host.output(verified)
    for _ in range(10):
        site.host.run(f"echo changed >>{file}")
        with suppress(HostError):
            site.host.wait_for(lambda: site.host.output(verified) != before or None, 40, "the change to be noticed")
            return
    raise AssertionError("nobody noticed the change")


def test_an_environment_that_somebody_changed_is_built_again(promoted: Site) -> None:
    """It is noticed, reported, and replaced once there is a better one; the model that runs in it does not notice."""
    (digest,) = set(re.findall(r"environments/([0-9a-f]{32})", promoted.host.output(f"cat {SERVER.format('new')}")))
    environment = f"{HOME}/environments/{digest}"
    asked, look = "systemctl show --property=InvocationID 'model-new@*'", f"cat {environment}/venv/pyvenv.cfg"
    started, text = promoted.host.output(asked), promoted.host.output(look)
    expected = {"1": {"output": versions_in(promoted, "new"), "diagnosis": "negative"}}
    port = int(promoted.statuses()["new"]["url"].rpartition(":")[2])

    def mended() -> bool:
        whole = promoted.host.run(f"test -e {environment}/complete.json && {look}", check=False).stdout.strip() == text
        one = promoted.statuses()["new"]
        return whole and (one["state"], one["reason"]) == ("serving", "")

    promoted.host.wait_for_unit("mlflow-verify@new.1.path")
    with Load(expected, tcp=("127.0.0.1", port), rate=20) as load:
        load.wait_for_more(10)
        change_until_noticed(promoted, f"{environment}/venv/pyvenv.cfg")
        promoted.host.wait_for(lambda: mended() or None, 400, "the environment to be as it was")
        load.wait_for_more(10)
    assert load.totals.harm() == []
    told = [str(entry["MESSAGE"]) for entry in promoted.story("new")]
    assert any("cannot verify version 1 of new: " in line for line in told)
    assert promoted.host.output(asked) == started


def test_models_that_need_the_same_share_an_environment_until_the_last_is_gone(promoted: Site) -> None:
    """Built once, used by both, removed with the second of them."""
    used = {
        name: re.findall(
            rf"{HOME}/environments/([0-9a-f]{{32}})",
            promoted.host.output(f"cat /etc/systemd/system/model-{name}@*.service"),
        )[0]
        for name in ("old", "same", "new")
    }
    assert used["old"] == used["same"] != used["new"]
    assert promoted.host.journal("-t", "build", "-o", "cat").count(f"built environment {used['old']}") == 1
    promoted.demote("old")
    assert used["old"] in environments(promoted)
    assert versions_in(promoted, "same")[:2] == [1.26, 2.22]
    promoted.demote("same", "ours", *IMPOSSIBLE)
    promoted.host.wait_for(
        lambda: environments(promoted) == [used["new"]] or None, 60, "the environment that nobody uses to go"
    )
    assert versions_in(promoted, "new") == [2.2, 3.1, 0.37]
    promoted.demote("new")
    promoted.host.wait_for(lambda: environments(promoted) == [] or None, 60, "the last environment to go")


def test_a_model_serves_with_what_its_host_lacks_once_the_settings_allow_it(promoted: Site) -> None:
    """Each setting is named by the failure before it, and counts at once; what was downloaded goes with the model."""
    found = standalone.interpreter_of_this_machine("3.12", "3.13", "3.10")
    if found is None:
        pytest.skip(f"needs another Python than the usual one, below {', '.join(map(str, standalone.PLACES))}")
    version, minor = found[0], found[0].rpartition(".")[0]
    host, settings = promoted.host, "[build]\nignore_index_options = true\n"
    make_with(promoted, "shipped", version)
    promoted.registry.promote("shipped", 1)
    told = "cannot use the model's requirement '--extra-index-url https://pkgs.example.org': .*have build.index_url"
    failure(promoted, "shipped", f"{told}.*build.ignore_index_options switched on")
    promoted.change_settings("76-shipped.toml", settings)
    failure(promoted, "shipped", f"cannot build.*the model wants Python {minor}, .*or build.pythons set to managed")
    standalone.mirror(Path(host.root, PYTHONS.lstrip("/")), *found)
    promoted.change_settings(
        "76-shipped.toml",
        f"{settings}pythons = 'managed'\npython_mirror = '{PYTHONS}'\npython_list = '{PYTHONS}/list.json'\n",
    )
    promoted.wait_for("shipped", "serving", 1)
    assert versions_in(promoted, "shipped") == [1.26, 1.2, float(minor)]
    (digest,) = set(re.findall(r"environments/([0-9a-f]{32})", host.output(f"cat {SERVER.format('shipped')}")))
    environment = f"{HOME}/environments/{digest}"
    assert host.output(f"ls {environment}").split() == ["complete.json", "venv"]
    assert host.output(f"readlink {environment}/venv/bin/python") == f"../python/bin/python{minor}"
    assert '"--extra-index-url https://pkgs.example.org"' in host.output(f"cat {environment}/complete.json")
    assert host.run(f"test -e {HOME}/pythons", check=False).returncode == 1
    assert f", and by download {minor}\n" in f"{host.run('reconciler check', check=False).stdout}"
    promoted.demote("shipped")
    host.wait_for(
        lambda: digest not in environments(promoted) or None, 60, "the environment to go, interpreter and all"
    )
    host.run("rm /etc/mlflow-reconciler/config.d/76-shipped.toml")


@pytest.mark.exhaustive
def test_space_that_must_stay_free_is_not_used(site: Site) -> None:
    """fetch.keep_free above what is free: nothing is downloaded; with a lower one it is, at once."""
    site.change_settings("80-room.toml", "[fetch]\nkeep_free = '100T'\n")
    site.registry.promote("ours", 1)
    room = r"it has [\d.]+ KiB, and of [\d.]+ GiB free on this host 100.0 TiB stay free; make room on the host"
    failure(site, "ours", f"cannot download version 1 of ours: {room}")
    assert not site.host.output(f"ls -A {HOME}/model_deploys/ours/releases/1")
    site.host.run("rm /etc/mlflow-reconciler/config.d/80-room.toml")
    site.wait_for("ours", "serving", 1)
    site.demote("ours")
