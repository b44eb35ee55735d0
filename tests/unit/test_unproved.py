"""A version with which nothing was tried before it serves: people are told, and a host may refuse it."""

import json
from dataclasses import replace

import pytest
import structlog

from reconciler.core.operators.requests import Request
from reconciler.core.operators.verbs import Verb
from reconciler.core.registry.tag_words import value_of
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import State
from reconciler.core.units import names
from reconciler.files.atomic import replace_file
from reconciler.settings.model import Settings
from tests.unit.conftest import World
from tests.unit.rollouts import SOAK, active, active_release, deploy, servers, story

NONE = "no logged example: version 1 answered nothing before it took traffic; log it with input_example=… or with "
UNUSABLE = "no logged example that can be replayed: version 1 answered nothing before it took traffic; "


def use(world: World, settings: Settings) -> None:
    """Go on with other settings, as after a reload."""
    world.settings = world.reconciler.settings = settings


def requiring(**changes: object) -> Settings:
    """Settings of a host that takes no version unproved."""
    settings = deploy(**changes)
    return settings.model_copy(update={"policy": settings.policy.model_copy(update={"require_example": True})})


@pytest.mark.parametrize(("example", "words"), [("none", NONE), ("unusable", UNUSABLE)])
def test_status_tag_and_journal_say_that_nothing_was_tried(world: World, example: str, words: str) -> None:
    """In the words that the data scientist needs, for as long as it serves."""
    world.examples[1] = example
    world.select(demo=1)
    with structlog.testing.capture_logs() as lines:
        world.converge()
    told = world.status()["demo"]
    assert (told.state, told.reason, told.example) == (State.SERVING, Reason.NONE, example)
    assert told.message.startswith(f"selected by stage:Production; {words}")
    assert value_of(told).startswith("serving ")
    assert words in value_of(told)
    [line] = [line for line in lines if "is serving at" in str(line["event"])]
    assert words in str(line["event"])
    assert (line["log_level"], line["MODEL"], line["MODEL_VERSION"]) == ("warning", "demo", "1")
    with structlog.testing.capture_logs() as later:
        world.new_reconciler()
        world.converge()
    assert words in world.status()["demo"].message
    assert not [line for line in later if "is serving at" in str(line["event"])]


@pytest.mark.parametrize("example", ["logged", None])
def test_nothing_is_said_of_a_release_that_was_tried_or_of_which_nobody_knows(
    world: World, example: str | None
) -> None:
    """A unit that an earlier version of this product rendered says nothing of examples."""
    if example:
        world.examples[1] = example
    world.select(demo=1)
    world.converge()
    told = world.status()["demo"]
    assert (told.reason, told.message) == (Reason.NONE, "selected by stage:Production")
    assert told.example == (example or "")
    assert (f"Example={example}" in (world.etc / active(world)).read_text()) == bool(example)


@pytest.mark.parametrize("example", ["logged", "none"])
def test_a_server_has_no_say_in_it(world: World, example: str) -> None:
    """The model's code runs in its process, and could say there what it likes."""
    world.examples[1] = example
    world.select(demo=1)
    world.converge()
    other = "none" if example == "logged" else "logged"
    said = f"answering as demo; its logged example was answered; example={other}; files={'0' * 64}; environment=host"
    unit = active(world)
    world.systemd.put(replace(world.systemd.units()[unit], status_text=said))
    world.converge()
    told = world.status()["demo"]
    assert (told.example, "no logged example" in told.message) == (example, example == "none")


def test_every_server_of_a_release_is_rendered_with_what_the_fetch_said(world: World) -> None:
    """Also one that is written when the fetch's line is gone."""
    use(world, deploy(replicas=2))
    world.examples[1] = "none"
    world.select(demo=1)
    world.converge()
    units = [unit for unit in world.systemd.units() if names.parse_server(unit)]
    assert len(units) == 2
    assert all("Example=none" in (world.etc / unit).read_text() for unit in units)


def test_it_is_said_beside_what_else_is_told_of_a_version_that_serves(world: World) -> None:
    """Several versions in Production, and settings that have changed since; neither hides it."""
    use(world, deploy(memory_max=2**30))
    world.examples[1] = "none"
    world.select(demo=1)
    world.converge()
    document = json.loads((world.directory / "registry.json").read_text())
    document["models"][0]["also_matching"] = [7]
    world.write_snapshot(document)
    world.converge()
    told = world.status()["demo"]
    assert told.reason is Reason.SEVERAL_SELECTED
    assert NONE in value_of(told)
    assert told.message.startswith(f"stage:Production also has version 7; the highest serves; {NONE}")
    use(world, deploy(memory_max=2**31))
    world.converge()
    told = world.status()["demo"]
    assert told.reason is Reason.SETTINGS_CHANGED
    assert told.message.startswith(
        "it runs as it was rolled out, and the settings of this host, or their defaults, have changed since; "
    )
    assert NONE in told.message


def test_it_is_said_in_the_soak_and_of_the_version_that_has_the_traffic(world: World) -> None:
    """In its soak a version is asked by clients already; before that the old one is, which was tried."""
    use(world, deploy())
    world.examples |= {1: "logged", 2: "none"}
    world.select(demo=1)
    world.converge()
    world.select(demo=2)
    seen = set()
    for _ in range(40):
        world.reconciler.one_pass()
        world.systemd.settle()
        told = world.status()["demo"]
        seen.add((told.reason, "no logged example: version 2" in told.message))
    assert (Reason.STARTING, False) in seen
    assert (Reason.SOAKING, True) in seen
    assert (Reason.SOAKING, False) not in seen
    world.now += SOAK + 1
    world.converge()
    assert story(world) == (State.SERVING, "2", "2", "")
    assert NONE.replace("version 1", "version 2") in world.status()["demo"].message


@pytest.mark.parametrize("example", ["none", "unusable"])
def test_a_host_that_requires_an_example_refuses_a_version_without(world: World, example: str) -> None:
    """Nothing is built for it, the version before it serves on, and the sentence is for the data scientist."""
    use(world, requiring())
    world.examples |= {1: "logged", 2: example}
    world.select(demo=1)
    world.converge()
    assert story(world) == (State.SERVING, "1", "1", "")
    world.select(demo=2)
    world.converge()
    assert story(world) == (State.DEGRADED, "2", "1", "no-example")
    missing = "no logged example" if example == "none" else "no logged example that can be replayed"
    message = world.status()["demo"].message
    assert message == (
        f"cannot deploy version 2 of demo: it has {missing}, and this host requires one (policy.require_example); "
        "log it with input_example=… or with pipeline.py, and register a new version"
    )
    assert value_of(world.status()["demo"]) == f"degraded: version 1 serves; {message}"
    assert not [unit for unit in world.systemd.units() if names.parse_build(unit) == f"{2:032x}"]
    assert servers(world) == {"1.1": "serves"}
    use(world, deploy())
    world.converge()
    assert active_release(world).version == 2


def test_a_first_version_without_an_example_does_not_serve_where_one_is_required(world: World) -> None:
    """It is failed, until a version with an example is promoted."""
    use(world, requiring())
    world.examples |= {1: "none", 2: "logged"}
    world.select(demo=1)
    world.converge()
    assert story(world) == (State.FAILED, "1", None, "no-example")
    assert servers(world) == {}
    world.select(demo=2)
    world.converge()
    assert story(world)[:3] == (State.SERVING, "2", "2")


def test_what_serves_already_goes_on_serving_when_an_example_is_required(world: World) -> None:
    """Through a failure and through a boot: the rule takes nothing out of service."""
    world.examples[1] = "none"
    world.select(demo=1)
    world.converge()
    use(world, requiring(soak=0, keep_releases=0))
    world.converge()
    assert story(world) == (State.SERVING, "1", "1", "")
    unit = active(world)
    world.systemd.put(replace(world.systemd.units()[unit], active="failed", sub="failed", result="signal"))
    world.converge()
    assert story(world) == (State.FAILED, "1", None, "start-failed")
    # The waits between two tries are drawn, up to ten minutes.
    for _try in range(3):
        world.now += 700
        world.converge()
    assert story(world) == (State.SERVING, "1", "1", "")
    world.systemd.reboot()
    world.new_reconciler()
    world.converge()
    assert story(world) == (State.SERVING, "1", "1", "")


def test_files_that_nobody_looked_at_are_looked_at_before_an_example_is_required(world: World) -> None:
    """An earlier version of this product fetched them: an operator asks once, and no claim is made meanwhile."""
    world.select(demo=1)
    world.converge()
    use(world, requiring(soak=0, keep_releases=0, memory_max=2**30))
    tagged = json.loads((world.directory / "registry.json").read_text())
    tagged["models"][0]["settings"] = {"memory_max": "2G"}
    world.write_snapshot(tagged)
    world.converge()
    assert story(world) == (State.DEGRADED, "1", "1", "no-example")
    assert world.status()["demo"].message == (
        "cannot deploy version 1 of demo: nobody has looked for its logged example; "
        "run reconciler rollout demo on this host"
    )
    world.examples[1] = "logged"
    request = Request(schema=1, verb=Verb.ROLLOUT, name="demo", by="ana")
    (world.state / "requests").mkdir(exist_ok=True)
    replace_file(world.state / "requests/1.json", request.model_dump_json(by_alias=True).encode(), 0o600)
    world.converge()
    assert story(world) == (State.SERVING, "1", "1", "")
