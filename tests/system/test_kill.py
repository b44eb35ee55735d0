"""SIGKILL after the n-th action, for every n of the plan's own list: the end state is the same each time.

Each play of the story has several kills, some actions apart; together the plays have one after every action.
"""

from collections.abc import Iterable, Sequence

import pytest

from tests.system.site import Site, code

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

DROP_IN = "/etc/systemd/system/mlflow-reconciler.service.d/90-kill.conf"
HOOK = "/var/lib/kill/hook"
# It counts the actions itself: a reconciler that was killed begins again at 1.
HOOK_TEXT = """#!/bin/bash
count=$(( $(cat /var/lib/kill/count) + 1 )); echo $count >/var/lib/kill/count; echo "$2" >>/var/lib/kill/actions
grep -qx "$count" /var/lib/kill/at || exit 0
echo "$count $2" >>/var/lib/kill/killed
for unit in $(cat /var/lib/kill/whom); do systemctl kill --signal=KILL "$unit"; done
exit 0
"""


@pytest.fixture(scope="module")
def killed_site(site: Site) -> Site:
    """A site whose reconciler tells a program after each action."""
    site.host.write(HOOK, HOOK_TEXT, 0o755)
    site.host.write("/var/lib/kill/count", "0")
    site.host.write("/var/lib/kill/at", "0")
    site.host.write(
        DROP_IN,
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=\n"
        f"ExecStart=/opt/mlflow-reconciler/bin/reconciler run --after-action {HOOK}\n"
        "ReadWritePaths=/var/lib/kill\nRestartSec=100ms\n",
    )
    site.host.run("mkdir -p /etc/systemd/system/mlflow-registry-agent.service.d; systemctl daemon-reload")
    site.host.write(
        "/etc/systemd/system/mlflow-registry-agent.service.d/90-kill.conf",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestartSec=100ms\n",
    )
    site.host.run("systemctl daemon-reload; systemctl restart mlflow-reconciler", timeout=60)
    site.register({"name": "victim", "code": code(([0.1], "negative"))}, {"name": "victim2", "code": code()})
    site.register({"name": "victim", "code": code(([0.2], "negative"))})
    return site


def play(site: Site, at: Sequence[int], whom: str) -> tuple[list[str], str]:
    """Deploy a version, update it, remove it; kill `whom` after the actions `at`. Gives the actions and the end."""
    site.host.run("rm -f /var/lib/kill/{killed,actions}")
    site.host.write("/var/lib/kill/whom", whom)
    site.host.write("/var/lib/kill/count", "0")
    site.host.write("/var/lib/kill/at", "".join(f"{number}\n" for number in at))
    site.registry.promote("victim", 1)
    site.wait_for("victim", "serving", 1)
    site.registry.promote("victim", 2, archive=True)
    site.wait_for("victim", "serving", 2)
    settled(site)
    answer = site.predict("victim", {}, {})
    state = site.host.output(
        "cd /etc/systemd/system; cat model-* mlflow-*@* | sort; ls -d model-* mlflow-*@* *.wants/*; "
        "systemctl list-units --plain --no-legend 'model-*' 'mlflow-*@*' | awk '{print $1, $2, $3}'; "
        "find /var/lib/mlflow-deploy -mindepth 2 -maxdepth 4 | grep -v /.incoming | sort"
    )
    site.registry.promote("victim", 2, "Archived")
    site.wait_until_gone("victim")
    settled(site)
    actions = site.host.read("/var/lib/kill/actions").splitlines()
    return actions, f"{answer.status_code} {answer.text}\n{state}"


def settled(site: Site) -> None:
    """Wait until no job is under way and the plan is empty."""
    moving = "systemctl list-units --no-legend --state=activating,deactivating,reloading 'model-*' 'mlflow-*@*'"

    def nothing_moves() -> bool:
        return not site.host.output(moving) and site.host.run(["reconciler", "plan"], check=False).returncode == 0

    site.host.wait_for(lambda: nothing_moves() or None, 60, "an empty plan")


@pytest.fixture(scope="module")
def undisturbed(killed_site: Site) -> tuple[list[str], str, set[str]]:
    """The actions and the end state when nobody is killed, and the listing afterwards."""
    actions, state = play(killed_site, (), "")
    return actions, state, killed_site.listing()


APART = 12
"""Actions between the kills of one play."""
SPARE = 4
"""How many actions fewer a play may have: passes may fall together, and then systemd is reloaded once for both."""


WHOM = {
    "reconciler": "mlflow-reconciler.service",
    "agent": "mlflow-registry-agent.service",
    "release unit": "mlflow-fetch@victim.1.service mlflow-verify@victim.1.service mlflow-fetch@victim.2.service "
    "mlflow-verify@victim.2.service",
}


def killed_after_each(
    site: Site, undisturbed: tuple[list[str], str, set[str]], whom: str, offsets: Iterable[int]
) -> set[int]:
    """Play the story with kills from each offset on, compare every end with the undisturbed one; gives all numbers."""
    actions, state, listing = undisturbed
    assert len(actions) > 40, actions
    numbers: set[int] = set()
    for offset in offsets:
        at = range(offset, len(actions) + 1, APART)
        _, ended = play(site, at, WHOM[whom])
        killed = site.host.read("/var/lib/kill/killed").splitlines()
        numbers |= {int(line.split()[0]) for line in killed}
        assert ended == state, f"after killing the {whom} after {killed}"
        site.wait_for_listing(listing)
    return numbers


def test_kills_after_some_actions_change_nothing_in_the_end(
    killed_site: Site, undisturbed: tuple[list[str], str, set[str]]
) -> None:
    """One play, quick enough for every run."""
    numbers = killed_after_each(killed_site, undisturbed, "reconciler", [3])
    assert {3, 15, 27} <= numbers


@pytest.mark.exhaustive
@pytest.mark.parametrize("whom", list(WHOM))
def test_kills_after_any_action_change_nothing_in_the_end(
    killed_site: Site, undisturbed: tuple[list[str], str, set[str]], whom: str
) -> None:
    """Every action, whoever is killed."""
    numbers = killed_after_each(killed_site, undisturbed, whom, range(1, APART + 1))
    assert set(range(1, len(undisturbed[0]) - SPARE + 1)) <= numbers
