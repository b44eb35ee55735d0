"""What serves waits for a person: mistyped selectors, an emptied registry, a model that the registry no longer shows.

One model on one host, as many hospitals have it, and one client that asks it all the time.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.host.registry import STATE as MLFLOW
from tests.system.site import Site, code
from tests.system.steady import Steady

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

NAME = "pauses"
SETTING = "/etc/mlflow-reconciler/config.d/80-guard.toml"
DATABASE = f"/var/lib/{MLFLOW}/mlflow.db"


@pytest.fixture(scope="module")
def steady(site: Site) -> Iterator[Steady]:
    """The only model, asked all the time."""
    site.serve({"name": NAME, "code": code()})
    steady = Steady(site.statuses()[NAME]["url"], ([0.5], "negative"))
    yield steady
    steady.stop()


@pytest.fixture(autouse=True)
def undisturbed(site: Site, steady: Steady) -> Iterator[None]:
    """The same server answers every request, before, meanwhile and after; in the end nothing waits."""
    before = invocation(site)
    with steady.unharmed(site.host):
        yield
    site.wait_for(NAME, "serving", 1)
    assert invocation(site) == before
    assert site.host.run(["reconciler", "apply"], check=False).returncode == 0


def invocation(site: Site) -> str:
    """Which start of which server it is."""
    return site.host.output(f"systemctl show --property=Id,InvocationID,NRestarts 'model-{NAME}@*'")


def held(site: Site, why: str) -> dict[str, Any]:
    """It is said by everything that people look at: status, apply, plan and check."""
    one = site.wait_for(NAME, "held")
    assert why in one["message"]
    assert one["active_version"] == "1"
    applied = site.host.run(["reconciler", "apply"], check=False)
    assert applied.returncode == 2
    assert why in applied.stdout
    planned = json.loads(site.host.run(["reconciler", "plan", "--json"], check=False).stdout)
    assert [action for action in planned["actions"] if action["do"] in ("stop", "remove", "clean")] == []
    checked = site.host.run(["reconciler", "check"], check=False).stdout
    assert f"held back until a person confirms it: {NAME}" in checked
    return one


def set_wrong(site: Site, text: str) -> Callable[[], None]:
    """Have settings of the registry wrong, until they are put right again."""
    site.host.write(SETTING, f"[registry]\n{text}\n")

    def back() -> None:
        site.host.run(["rm", SETTING])

    return back


def mistyped(site: Site) -> Callable[[], None]:
    """Ask for an alias that nobody set."""
    return set_wrong(site, "selectors = ['alias:r22']")


def elsewhere(site: Site) -> Callable[[], None]:
    """Ask at another address for another stage."""
    return set_wrong(site, f"uri = 'http://localhost:{site.registry.port}'\nselectors = ['stage:Staging']")


def new_database(site: Site) -> Callable[[], None]:
    """Have the same address answer from a database that knows nothing, until the old one is back."""
    site.registry.stop()
    site.host.run(f"mv {DATABASE} {DATABASE}.kept")
    site.registry.start()

    def back() -> None:
        site.registry.stop()
        site.host.run(f"mv {DATABASE}.kept {DATABASE}")
        site.registry.start()

    return back


def renamed(site: Site) -> Callable[[], None]:
    """Have the registered model go by another name for a while, under which this host does not deploy it."""
    site.change_settings("80-names.toml", f"[policy]\nnames = ['{NAME}']\n")

    def rename(name: str, to: str) -> None:
        body = {"name": name, "new_name": to}
        url = f"{site.registry.uri}/ajax-api/2.0/mlflow/registered-models/rename"
        httpx.post(url, json=body, timeout=30, trust_env=False).raise_for_status()

    def back() -> None:
        rename("elsewhere", NAME)
        site.host.run(["rm", "/etc/mlflow-reconciler/config.d/80-names.toml"])

    rename(NAME, "elsewhere")
    return back


TROUBLES: dict[str, tuple[Callable[[Site], Callable[[], None]], str]] = {
    "a mistyped selector": (mistyped, "alias:r22, but came from the registry at"),
    "another address": (elsewhere, "http://localhost"),
    "an emptied registry": (new_database, "the registry no longer shows a model of that name"),
    "a renamed model": (renamed, "the registry no longer shows a model of that name"),
}


@pytest.mark.parametrize("kind", TROUBLES)
def test_the_only_model_serves_on_and_it_is_said_what_waits(site: Site, kind: str) -> None:
    """Putting it right is enough; nobody has to confirm anything."""
    happen, why = TROUBLES[kind]
    back = happen(site)
    try:
        held(site, why)
    finally:
        back()


def test_changed_limits_replace_no_server(site: Site) -> None:
    """The status says so, and what takes them."""
    site.change_settings("80-limits.toml", "[deploy]\nmemory_max = '3G'\n[policy]\nnames = ['nobody']\n")
    one = site.wait_for(NAME, "degraded")
    assert one["active_version"] == "1"
    site.change_settings("80-limits.toml", "[deploy]\nmemory_max = '3G'\n")
    site.host.wait_for(
        lambda: site.statuses()[NAME]["reason"] == "settings-changed" or None, 60, "the status to say what changed"
    )
    assert f"reconciler rollout {NAME}" in site.statuses()[NAME]["message"]
    site.host.run(["rm", "/etc/mlflow-reconciler/config.d/80-limits.toml"])
    site.host.wait_for(lambda: site.statuses()[NAME]["reason"] == "" or None, 60, "the former settings to be back")
