"""SIGKILL after the n-th action, for every n of the plan's own list: the end state is the same each time.

Each play of the story has several kills, some actions apart; together the plays have one after every action.
"""

from collections.abc import Sequence

import pytest

from tests.system.killer import AGENT, RECONCILER, Killer, state_of
from tests.system.site import Site, code

pytestmark = [pytest.mark.system, pytest.mark.by_hand, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def killer(site: Site) -> Killer:
    """A site whose reconciler tells a program after each action, and two versions to deploy there."""
    site.register({"name": "victim", "code": code(([0.1], "negative"))}, {"name": "victim2", "code": code()})
    site.register({"name": "victim", "code": code(([0.2], "negative"))})
    return Killer(site)


def play(site: Site, killer: Killer, at: Sequence[int], whom: str = RECONCILER) -> tuple[list[str], str]:
    """Deploy a version, update it, remove it; kill `whom` after the actions `at`. Gives the actions and the end."""
    killer.arm(at, whom)
    site.registry.promote("victim", 1)
    site.wait_for("victim", "serving", 1)
    site.registry.promote("victim", 2, archive=True)
    site.wait_for("victim", "serving", 2)
    site.settle()
    answer = site.predict("victim", {}, {})
    state = state_of(site)
    site.registry.promote("victim", 2, "Archived")
    site.wait_until_gone("victim")
    site.settle()
    return killer.actions, f"{answer.status_code} {answer.text}\n{state}"


@pytest.fixture(scope="module")
def undisturbed(site: Site, killer: Killer) -> tuple[list[str], str, set[str]]:
    """The actions and the end state when nobody is killed, and the listing afterwards."""
    actions, state = play(site, killer, ())
    return actions, state, site.listing()


APART = 12
"""Actions between the kills of one play."""
SPARE = 4
"""How many actions fewer a play may have: passes may fall together, and then systemd is reloaded once for both."""


WHOM = {
    "reconciler": RECONCILER,
    "agent": AGENT,
    "release unit": "mlflow-fetch@victim.1.service mlflow-verify@victim.1.service mlflow-fetch@victim.2.service "
    "mlflow-verify@victim.2.service",
}


@pytest.mark.parametrize("whom", WHOM)
def test_kills_after_any_action_change_nothing_in_the_end(
    site: Site, killer: Killer, undisturbed: tuple[list[str], str, set[str]], whom: str
) -> None:
    """Every action, whoever is killed; every end is compared with the undisturbed one."""
    actions, state, listing = undisturbed
    assert len(actions) > 40, actions
    numbers: set[int] = set()
    for offset in range(1, APART + 1):
        _, ended = play(site, killer, range(offset, len(actions) + 1, APART), WHOM[whom])
        numbers |= set(killer.killed)
        assert ended == state, f"after killing the {whom} after {killer.killed}"
        site.wait_for_listing(listing)
    assert set(range(1, len(actions) - SPARE + 1)) <= numbers
