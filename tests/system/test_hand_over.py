"""Releases replaced under load: nobody notices an update, and a bad one undoes itself and says why."""

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.host import Layers, Registry, installed_host
from tests.load import Load
from tests.system.site import SCIENTIST, Site, code

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

SETTINGS = """
[deploy]
soak = 2
[policy]
tags = ["environment", "start_timeout", "soak", "strategy", "replicas", "idle_timeout", "memory_max", "watchdog"]
[reconcile]
retry_min = 1
retry_max = 5
log_actions = true
"""
VERSIONS = 3
REPLAY = {
    "request.json": {"schema": 1, "metadata": {}, "parts": {}},
    "response.json": {"output": [1.0], "diagnosis": "negative"},
}


def answer(version: int) -> dict[str, Any]:
    """What a good version answers."""
    return {"output": [float(version)], "diagnosis": "negative"}


def good(version: int) -> str:
    """The code of a good version."""
    return code(([float(version)], "negative"))


@pytest.fixture(scope="module")
def site(image: Layers) -> Iterator[Site]:
    """A site whose releases have a short soak."""
    with installed_host(image, "hand-over", settings=SETTINGS) as host:
        registry = Registry(host, host.registry_port)
        registry.start()
        yield Site(host, registry)


@pytest.fixture(scope="module")
def moving(site: Site) -> str:
    """A model with several good versions, of which the first serves."""
    site.register(*({"name": "moving", "code": good(version)} for version in range(1, VERSIONS + 1)))
    site.registry.promote("moving", 1)
    site.wait_for("moving", "serving", 1)
    return "moving"


PACE = 150
"""Requests per second where it is not said otherwise: what is seen is the hand-over, and the host stays answerable."""


def load_of(site: Site, name: str, expected: dict[str, Any], rate: float | None = PACE) -> Load:
    """Sixteen clients of a deployment, half of them over each of its two addresses; without a rate they never pause."""
    status = site.statuses()[name]
    port = int(status["url"].rpartition(":")[2])
    unix = f"/proc/{site.host.init}/root{status['socket']}"
    return Load(expected, tcp=("127.0.0.1", port), unix=unix, rate=rate)


def hand_over(site: Site, load: Load, name: str, old: int, new: int, requests: int) -> None:
    """Replace one version by another, and hold that nobody who connects afterwards meets the old one."""
    site.registry.promote(name, new, archive=True)
    site.wait_for(name, "serving", new)
    gone = time.monotonic()
    load.wait_for_more(requests, release=str(new))
    assert load.totals.latest_connect(str(old)) < gone


@pytest.mark.parametrize(
    ("hand_overs", "requests", "rate"),
    [(3, 300, PACE), pytest.param(20, 2600, None, marks=pytest.mark.by_hand)],
    ids=["few", "many"],
)
def test_updates_under_load_lose_no_request(
    site: Site, moving: str, hand_overs: int, requests: int, rate: float | None
) -> None:
    """Sixteen connections that never retry; half are kept alive, over TCP and a unix socket. The many never pause."""
    expected = {str(version): answer(version) for version in range(1, VERSIONS + 1)}
    current = int(site.statuses()[moving]["active_version"])
    with load_of(site, moving, expected, rate) as load:
        load.wait_for_more(requests)
        for _ in range(hand_overs):
            following = current % VERSIONS + 1
            hand_over(site, load, moving, current, following, requests)
            current = following
    print(f"{hand_overs} hand-overs, {load.totals.requests} requests, 0 lost")  # noqa: T201 - the figure is reported
    assert load.totals.harm() == []
    assert load.totals.requests >= hand_overs * requests


# Bad versions: what registers them beside their code, the reason in the status, and whether it shows only in the soak.
COUNT = "self.n = getattr(self, 'n', 0) + 1"
CRASH = f"{COUNT}; import os; self.n < 300 or os._exit(3); return [1.0], 'negative'"
GROW = "self.n = getattr(self, 'n', []); self.n.append(b'x' * (8 << 20)); return [1.0], 'negative'"
# A search that takes for ever, in C and with Python's lock held: nothing else of the process runs.
STUCK = f"{COUNT}; import re; self.n < 300 or re.match('(a+)+b', 'a' * 60); return [1.0], 'negative'"
HALF = f"{COUNT}; return ([1.0], 'negative') if self.n % 2 else 1 // 0"
HOST = {"environment": "host"}
LIBRARY = f"/home/{SCIENTIST}/lib"
OF_ADA = f"import sys\nsys.path.insert(0, {LIBRARY!r})\nimport adas_helpers\n"  # which is only on her own machine
BAD: dict[str, tuple[dict[str, Any], str, bool]] = {
    "import": (
        {"code": f"{OF_ADA}{good(1)}"},
        r"cannot load the model: ModuleNotFoundError: No module named 'ada",
        False,
    ),
    "load": ({"code": code(on_load="raise KeyError('weights')")}, r"cannot load the model: KeyError: 'weights'", False),
    "example": (
        {"code": code(on_predict="1 // 0"), "replay": REPLAY},
        r"cannot answer the logged example: the model raised ZeroDivisionError",
        False,
    ),
    "answer": (
        {"code": code(([9.0], "negative")), "replay": REPLAY},
        r"cannot trust the model: its logged example was answered with output\[0\] = 9.0 where 1.0",
        False,
    ),
    "hang": (
        {"code": code(on_load="import time; time.sleep(3600)"), "settings": {**HOST, "start_timeout": "15"}},
        r"cannot start version 2 of bad-hang: it did not get ready within its start timeout",
        False,
    ),
    "crash": (
        {"code": code(on_predict=CRASH), "settings": {**HOST, "soak": "120"}},
        r"cannot keep version 2 of bad-crash: it ended (with an error )?while it served; see the journal of model-",
        True,
    ),
    "grow": (
        {"code": code(on_predict=GROW), "settings": {**HOST, "soak": "120", "memory_max": "600M"}},
        # With cgroup v1 systemd cannot tell whose signal it was.
        r"cannot keep version 2 of bad-grow: it (was killed .*for using more memory than it may|ended) while it",
        True,
    ),
    "stuck": (
        {"code": code(on_predict=STUCK), "settings": {**HOST, "soak": "120", "watchdog": "2"}},
        r"cannot keep version 2 of bad-stuck: it (no longer answered systemd's watchdog|ended|crashed) while it served",
        True,
    ),
    "errors": (
        {"code": code(on_predict=HALF), "settings": {**HOST, "soak": "120"}},
        r"cannot keep version 2 of bad-errors: \d+ of its first \d+ answers were errors of its own, more than 10 %",
        True,
    ),
}


@pytest.fixture(scope="module")
def bad_site(site: Site) -> Site:
    """A site that keeps to memory limits, and whose data scientist has something that the host lacks."""
    site.host.enforce_limits()
    site.host.write(f"{LIBRARY}/adas_helpers.py", "")
    return site


QUICK = ("load", "crash")
"""One that is undone before its soak and one in it, for every run."""


def _list_of(kind: str) -> pytest.MarkDecorator:
    """Which list of tests has a kind. `import` stands for those that never get to their soak, `grow` for the others."""
    return pytest.mark.exhaustive if kind in ("import", "grow") else pytest.mark.by_hand


@pytest.mark.parametrize("kind", [kind if kind in QUICK else pytest.param(kind, marks=_list_of(kind)) for kind in BAD])
def test_a_bad_version_undoes_itself_and_says_why(bad_site: Site, kind: str) -> None:
    """No request is lost before the soak; in it, only what the bad version itself answered or dropped."""
    site, name, (model, reason, in_soak) = bad_site, f"bad-{kind}", BAD[kind]
    site.register({"name": name, "code": good(1)}, {"name": name, **model})
    site.registry.promote(name, 1)
    site.wait_for(name, "serving", 1)
    with load_of(site, name, {"1": answer(1), "2": answer(1)}) as load:
        load.wait_for_more(200, release="1")
        site.registry.promote(name, 2, archive=True)
        status = site.wait_for(name, "degraded", 2)
        load.wait_for_more(200, release="1")
    assert re.match(reason, status["message"]), status
    assert status["active_version"] == "1"
    totals = load.totals
    lost = sum(totals.wrong.values()) + sum(totals.failed.values()) + totals.closed_unannounced
    print(f"{kind}: {lost} of {totals.requests} requests lost")  # noqa: T201 - the figure is reported
    if in_soak:
        assert all(release.startswith(f"{name}@2.") for release, _ in totals.wrong)
        assert not totals.failed.get("refused")
    else:
        assert totals.harm() == []
    told = [str(entry["MESSAGE"]) for entry in site.story(name)]
    assert any(line.startswith("reject model-") and status["message"][:60] in line for line in told), told
    site.demote(name)


def test_a_rejected_version_stays_rejected_until_a_person_says_retry(site: Site, moving: str) -> None:
    """Rolled back by hand, the registry does not undo it, nor does a restart; retry does."""
    active = int(site.statuses()[moving]["active_version"])
    other = active % VERSIONS + 1
    site.registry.promote(moving, other, archive=True)
    site.wait_for(moving, "serving", other)
    said = site.host.output(["reconciler", "rollback", moving, "--why", "it looks wrong"], timeout=60)
    assert said.startswith(f"{moving} goes back to version {active}")
    status = site.wait_for(moving, "degraded", other)
    assert (status["active_version"], status["reason"]) == (str(active), "rolled-back")
    assert status["message"].endswith("it looks wrong")
    site.host.run(["systemctl", "restart", "mlflow-reconciler"], timeout=60)
    assert site.statuses()[moving]["state"] == "degraded"
    assert site.predict(moving, {}, {}).json() == answer(active)
    site.host.run(["reconciler", "retry", moving], timeout=60)
    site.wait_for(moving, "serving", other)
    history = site.host.output(["reconciler", "history", moving])
    assert "it looks wrong" in history


def test_a_suspended_deployment_is_left_alone_until_it_is_resumed(site: Site, moving: str) -> None:
    """A promotion waits, drift is shown and not mended, and the status says who and why."""
    active = int(site.statuses()[moving]["active_version"])
    other = active % VERSIONS + 1
    site.host.run(["reconciler", "suspend", moving, "--why", "a study runs", "--for", "1h"], timeout=60)
    site.registry.promote(moving, other, archive=True)
    status = site.wait_for(moving, "suspended", other)
    assert "a study runs" in status["message"]
    assert "left undone: " in status["message"]
    assert site.predict(moving, {}, {}).json() == answer(active)
    site.host.run(["reconciler", "resume", moving], timeout=60)
    site.wait_for(moving, "serving", other)


def test_a_rollout_on_purpose_is_a_new_release_of_the_same_version(site: Site, moving: str) -> None:
    """Without a lost request."""
    active = str(site.statuses()[moving]["active_version"])
    before = site.predict(moving, {}, {}).headers["Model-Release"]
    with load_of(site, moving, {active: answer(int(active))}) as load:
        load.wait_for_more(100)
        site.host.run(["reconciler", "rollout", moving], timeout=60)

        def another() -> bool | None:
            return site.predict(moving, {}, {}).headers["Model-Release"] != before or None

        site.host.wait_for(another, 120, "another release")
        site.wait_for(moving, "serving", int(active))
        load.wait_for_more(100)
    assert load.totals.harm() == []


def test_replicas_share_the_address_and_an_update_loses_nothing(site: Site) -> None:
    """Two servers, rolled one by one."""
    settings = {**HOST, "replicas": "2", "soak": "2"}
    site.register(*({"name": "pair", "code": good(version), "settings": settings} for version in (1, 2)))
    site.registry.promote("pair", 1)
    site.wait_for("pair", "serving", 1)
    with load_of(site, "pair", {"1": answer(1), "2": answer(2)}) as load:
        load.wait_for_more(200)
        hand_over(site, load, "pair", 1, 2, 200)
    assert load.totals.harm() == []
    running = "systemctl list-units --plain --no-legend --state=active 'model-pair@*' | cut -d' ' -f1"

    def two() -> list[str] | None:
        units = site.host.output(running).split()
        return units if len(units) == 2 else None

    assert all(unit.startswith("model-pair@2.") for unit in site.host.wait_for(two, 60, "two servers to be left"))
    site.demote("pair")


def test_an_idle_server_ends_and_the_next_request_starts_it(site: Site) -> None:
    """Scale to zero: the address stays, and nothing is lost, also after a boot without the reconciler."""
    settings = {**HOST, "idle_timeout": "5", "soak": "0"}
    site.register({"name": "sleeper", "code": good(1), "settings": settings})
    site.registry.promote("sleeper", 1)
    site.wait_for("sleeper", "idle", 1)
    assert site.predict("sleeper", {}, {}).json() == answer(1)
    site.wait_for("sleeper", "serving", 1)
    site.wait_for("sleeper", "idle", 1)
    site.demote("sleeper")


@pytest.mark.exhaustive
def test_recreate_lets_requests_wait(site: Site) -> None:
    """The old one ends before the new one starts; the clients only wait."""
    settings = {**HOST, "strategy": "recreate", "soak": "2"}
    site.register(*({"name": "large", "code": good(version), "settings": settings} for version in (1, 2)))
    site.registry.promote("large", 1)
    site.wait_for("large", "serving", 1)
    with load_of(site, "large", {"1": answer(1), "2": answer(2)}) as load:
        load.wait_for_more(200)
        hand_over(site, load, "large", 1, 2, 200)
    assert load.totals.harm() == []
    site.demote("large")
