"""Models that cannot be served: each fails alone, says why in words for its data scientist, and can be mended."""

import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from reconciler.core.registry.selection import RENAME
from reconciler.core.units.addresses import choose_port
from tests.host import Layers, Registry, installed_host
from tests.system.site import PYTHON, SCIENTIST, Site, code
from tests.system.steady import Steady

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

# A failed release is not tried again while the tests run: what mends it is a new version.
SETTINGS = "[reconcile]\nretry_min = 600\nretry_max = 600\n"
DATABASE = "/var/lib/test-mlflow-server/mlflow.db"
ARTIFACTS = "/var/lib/test-mlflow-server/artifacts"
REPLAY = {
    "request.json": {"schema": 1, "metadata": {}, "parts": {}},
    "response.json": {"output": [0.5], "diagnosis": "negative"},
}
# What the data scientist has at home is there when the model is logged, and not where it is served.
HELPER = f"/home/{SCIENTIST}/lib/helper.py"
AT_HOME = f"import sys; sys.path.insert(0, '/home/{SCIENTIST}/lib')\nimport helper\n"

GOOD = code(([0.5], "negative"))
MODELS: dict[str, dict[str, Any]] = {
    "hang": {
        "code": code(on_load="import time; time.sleep(3600)"),
        "settings": {"environment": "host", "start_timeout": "20"},
    },
    "exit": {"code": code(on_load="import os; os._exit(3)")},
    "import": {"code": AT_HOME + GOOD},
    "load": {"code": code(on_load="raise KeyError('weights')")},
    "example": {"code": code(on_predict="raise ZeroDivisionError('no pauses found')"), "replay": REPLAY},
    "other": {"code": code(([0.9], "negative")), "replay": REPLAY},
    "lost": {"code": GOOD},
    "stolen": {"code": GOOD},
    "odd-scheme": {"code": GOOD},
    "odd-tag": {"code": GOOD, "settings": {"environment": "host", "start_timeout": "soon\nExecStart=/bin/sh"}},
    "denied-tag": {"code": GOOD, "settings": {"environment": "host", "max_body": "1G"}},
    "unknown-tag": {"code": GOOD, "settings": {"environment": "host", "colour": "red"}},
}
REASONS = {
    "hang": r"cannot start version 1 of hang: it did not get ready within its start timeout "
    r"\(it last said: loading hang@1",
    "exit": r"cannot start version 1 of exit: it ended 3 times before it got ready",
    "import": r"cannot load the model: ModuleNotFoundError: No module named 'helper' "
    r"\(import.py line 2, in <module>\); add the package to its requirements "
    r"\(or the module to its code_paths\) and register a new version",
    "load": r"cannot load the model: KeyError: 'weights' \(load.py line \d+, in load_context\); correct it and ",
    "example": r"cannot answer the logged example: the model raised ZeroDivisionError: no pauses found "
    r"\(example.py line \d+, in predict\); correct the model and register a new version",
    "other": r"cannot trust the model: its logged example was answered with output\[0\] = 0.9 where 0.5 was logged; ",
    "lost": r"cannot download the model: the artifact store has no files for it; log the model again",
    "stolen": r"cannot download version 1 of stolen: its files are at file:, this host downloads from .* only; ",
    "odd-scheme": r"cannot download version 1 of odd-scheme: its files are at dbfs:, this host downloads from ",
    "odd-tag": r"cannot use the tag deploy.start_timeout='soon ExecStart=/bin/sh': it should be a whole number of ",
    "denied-tag": r"cannot use the tag deploy.max_body: this host's policy does not allow it; remove the tag",
    "unknown-tag": r"cannot use the tag 'deploy.colour': no such setting; this host knows deploy.cpu_quota, ",
}
# One for each way in which a deployment is held back: each costs a start.
MENDED = ("hang", "import", "lost", "odd-tag")


@pytest.fixture(scope="module")
def site(image: Layers) -> Iterator[Site]:
    """A site on which nothing is tried twice."""
    with installed_host(image, "bad-models", settings=SETTINGS) as host:
        registry = Registry(host, host.registry_port)
        registry.start()
        yield Site(host, registry)


@pytest.fixture(scope="module")
def promoted(site: Site) -> Iterator[Steady]:
    """A good model that serves, and the bad versions of all others in Production."""
    site.host.write(HELPER, "")
    site.register(
        {"name": "good", "code": code(([0.25], "positive"))},
        {"name": "crowded", "code": GOOD},
        {"name": "older", "code": GOOD},
        *({"name": name, **model} for name, model in MODELS.items()),
        *({"name": name, "code": GOOD} for name in MENDED),
        {"name": "older", "code": MODELS["load"]["code"]},
        {"name": "older", "code": GOOD},
    )
    for name in ("good", "older"):
        site.registry.promote(name, 1)
    site.host.run(["rm", "-r", f"{ARTIFACTS}/{artifacts_of(site, 'lost').removeprefix('mlflow-artifacts:/')}"])
    move_source(site, "stolen", "file:///etc")
    move_source(site, "odd-scheme", "dbfs:/models/1")
    steady = Steady(site.wait_for("good", "serving", 1)["url"], ([0.25], "positive"))
    for name in MODELS:
        site.registry.promote(name, 1)
    yield steady
    steady.stop()


@pytest.fixture(autouse=True)
def _good_goes_on(site: Site, promoted: Steady) -> Iterator[None]:
    """Whatever happens to others, the good model answers every request."""
    with promoted.unharmed(site.host):
        yield


def artifacts_of(site: Site, name: str) -> str:
    """Where version 1 of a model has its files."""
    answer = httpx.get(
        f"{site.registry.uri}/api/2.0/mlflow/model-versions/get-download-uri",
        params={"name": name, "version": "1"},
        timeout=30,
        trust_env=False,
    )
    return str(answer.raise_for_status().json()["artifact_uri"])


def move_source(site: Site, name: str, source: str) -> None:
    """Have the registry name another source for version 1, one that MLflow's own checks would have refused."""
    change = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], timeout=30); "
        "db.execute('update model_versions set source=?, storage_location=? where name=? and version=1', "
        "(sys.argv[3], sys.argv[3], sys.argv[2])); db.commit()"
    )
    site.host.run([PYTHON, "-I", "-c", change, DATABASE, name, source])


def failure(site: Site, name: str, version: int = 1, state: str = "failed") -> dict[str, Any]:
    """Wait until a version has failed; the journal must tell the same as the status."""
    status = site.wait_for(name, state, version)
    told = [entry for entry in site.story(name) if status["message"] in str(entry["MESSAGE"])]
    assert told, f"{status} is not in {[entry['MESSAGE'] for entry in site.story(name)]}"
    assert {entry.get("MODEL_VERSION") for entry in told} == {str(version)}
    return status


def units(site: Site, *patterns: str) -> list[str]:
    """Units that match and are not down."""
    states = "--state=active,activating,deactivating"
    listed = site.host.output(["systemctl", "list-units", "--plain", "--no-legend", states, *patterns])
    return [line.split()[0] for line in listed.splitlines()]


def wait_until_down(site: Site, *patterns: str) -> None:
    """Wait until nothing that matches runs or listens: the status tells what becomes of it just before."""
    site.host.wait_for(lambda: not units(site, *patterns) or None, 60, f"{patterns} to be down")


@pytest.mark.parametrize("name", list(reversed(MODELS)))
def test_a_bad_model_fails_alone_and_says_why(site: Site, name: str) -> None:
    """The reason is in the status and in the journal; nothing of it runs or listens."""
    status = failure(site, name)
    assert re.match(REASONS[name], status["message"]), status
    assert status["active_version"] is None
    wait_until_down(site, f"model-{name}@*", f"model-{name}.socket")


def test_an_older_version_goes_on_serving_while_the_new_one_fails(site: Site) -> None:
    """The deployment is degraded, not down, and says which version is which."""
    site.wait_for("older", "serving", 1)
    site.registry.promote("older", 2)
    status = failure(site, "older", 2, "degraded")
    assert re.match(r"cannot load the model: KeyError: 'weights' ", status["message"]), status
    assert status["active_version"] == "1"
    answer = site.predict("older", {}, {})
    assert answer.json() == {"output": [0.5], "diagnosis": "negative"}
    assert answer.headers["Model-Release"].startswith("older@1.")
    told = [str(entry["MESSAGE"]) for entry in site.story("older")]
    assert any(line.startswith("version 2 of older is not serving, version 1 is: cannot load") for line in told)


def test_mended_by_a_new_version_they_serve(site: Site) -> None:
    """Nothing of a failure sticks to the name."""
    versions = {**dict.fromkeys(MENDED, 2), "older": 3}
    for name, version in versions.items():
        site.registry.promote(name, version, archive=True)
    for name, version in versions.items():
        site.wait_for(name, "serving", version)
        assert site.predict(name, {}, {}).json() == {"output": [0.5], "diagnosis": "negative"}
    wait_until_down(site, "model-older@1.*")


HOSTILE_NAMES = (
    "with spaces",
    "größe-模型",
    "\u202egnp.ledom",
    "two\nlines [31m\x1b[31m",
    "n" * 300,
    "-rf",
    "%i$(reboot)",
)


def test_names_outside_the_rule_are_reported_and_skipped(site: Site) -> None:
    """They are told in printable characters, everywhere, and have no unit."""
    known = set(site.statuses())
    before = set(units(site, "m*"))
    for name in HOSTILE_NAMES:
        for path, body in (
            ("registered-models/create", {"name": name}),
            ("model-versions/create", {"name": name, "source": "s3://bucket/model"}),
        ):
            answer = httpx.post(f"{site.registry.uri}/api/2.0/mlflow/{path}", json=body, timeout=30, trust_env=False)
            assert answer.is_success, answer.text
        site.registry.promote(name, 1)

    def reported() -> list[dict[str, Any]] | None:
        found = [status for name, status in site.statuses().items() if name not in known]
        return found if len(found) == len(HOSTILE_NAMES) else None

    found = {status["name"]: status for status in site.host.wait_for(reported, 60, "the names to be reported")}
    assert {status["state"] for status in found.values()} == {"not-deployable"}
    why = "the name has characters other than letters, digits, '_' and '-'"
    assert found["with spaces"]["message"] == f"{why}; {RENAME}"
    assert found["-rf"]["message"] == f"the name starts with '-'; {RENAME}"
    long = next(status for name, status in found.items() if name.startswith("nnn"))
    assert long["message"] == f"the name has 300 characters, and at most 64 can be deployed; {RENAME}"
    shown = site.host.output(["reconciler", "status"])
    journal = site.host.output("journalctl --no-pager --all --output=cat -t reconciler --since=-2min")
    for text in (shown, journal, *found):
        assert all(character.isprintable() or character == "\n" for character in text), text
    assert re.search(r"^\\u202egnp\.ledom +not-deployable .* the name has characters other than", shown, re.MULTILINE)
    assert set(units(site, "m*")) == before
    for name in HOSTILE_NAMES:
        site.registry.promote(name, 1, "Archived")
    site.wait_until_gone(*found)


def test_a_unit_that_somebody_else_made_is_left_alone(site: Site) -> None:
    """The file stays as it is, nothing is started, and the reason names it."""
    for unit in ("mlflow-fetch@crowded.1.service", "model-crowded.socket"):
        path = f"/etc/systemd/system/{unit}"
        site.host.write(path, "# theirs\n[Unit]\nDescription=Theirs\n")
        about = f"stat -c '%i %y %z %U %a' {path}; cat {path}"
        before = site.host.output(about)
        site.registry.promote("crowded", 1)
        status = failure(site, "crowded")
        assert status["message"] == f"cannot use the unit name {unit}: somebody else's unit has it; move that unit away"
        assert site.host.output(about) == before
        assert site.host.output("ls /etc/systemd/system | grep crowded") == unit
        site.demote("crowded")
        site.host.run(["rm", path])


def test_a_port_that_somebody_else_holds_is_left_to_them(site: Site) -> None:
    """The deployment gets another port, and the journal says why."""
    first, last = site.host.ports.model_range
    taken = {int(status["url"].rpartition(":")[2]) for status in site.statuses().values() if status["url"]}
    port = choose_port("crowded", first, last, taken)
    assert port is not None
    with socket.create_server(("127.0.0.1", port)):
        site.registry.promote("crowded", 1)
        status = site.wait_for("crowded", "serving", 1)
        assert status["url"] != f"http://127.0.0.1:{port}"
        assert site.predict("crowded", {}, {}).json() == {"output": [0.5], "diagnosis": "negative"}
    told = [str(entry["MESSAGE"]) for entry in site.story("crowded")]
    assert any(line.startswith("cannot start model-crowded.socket") for line in told), told
