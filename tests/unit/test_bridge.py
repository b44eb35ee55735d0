"""The unit that answers a deployment's requests over NATS: when it comes, changes and goes, and what is told of it."""

import json
from dataclasses import replace

import pytest

from reconciler.cli import adoption
from reconciler.core.operators.requests import Request
from reconciler.core.operators.verbs import Verb
from reconciler.core.state.status import State
from reconciler.core.units import names
from reconciler.files.atomic import replace_file
from reconciler.settings.model import NatsSettings, ReconcileSettings, Settings
from tests.fakes.systemd import Behaviour
from tests.unit.conftest import World
from tests.unit.rollouts import BROKEN, deploy, enabled, servers, story

BROKER = "nats://broker.example.org:4222"
BRIDGE = names.bridge_unit("demo")
CONNECTED = "connected to nats://broker.example.org:4222 (JetStream); answered=12 failed=1 waiting=0"


def with_broker(*brokers: str, **nats: object) -> Settings:
    """Settings of a host whose deployments answer over NATS."""
    settings = deploy(brokers=brokers or (BROKER,))
    return settings.model_copy(update={"nats": NatsSettings(**nats)})  # type: ignore[arg-type]  # validated by pydantic


def use(world: World, settings: Settings) -> None:
    """Go on with other settings, as after a reload."""
    world.settings = world.reconciler.settings = settings


@pytest.fixture
def bridged(world: World) -> World:
    """A host on which version 1 of demo serves, over NATS, too."""
    use(world, with_broker())
    world.failures[BRIDGE] = Behaviour(status_text=CONNECTED)
    world.select(demo=1)
    world.converge()
    return world


def state(world: World) -> str:
    """What systemd says of the bridge."""
    unit = world.systemd.units().get(BRIDGE)
    return unit.active if unit else "none"


def ask(world: World, verb: Verb) -> None:
    """Ask for something as the command does."""
    request = Request(verb=verb, name="demo", by="ops")
    directory = world.state / "requests"
    directory.mkdir(mode=0o700, exist_ok=True)
    replace_file(directory / "1.json", request.model_dump_json(by_alias=True).encode(), 0o600)


def test_it_runs_with_the_first_release_that_serves_and_at_every_boot(bridged: World) -> None:
    """It is told everything on its command line, and systemd gives it the logins."""
    text = (bridged.etc / BRIDGE).read_text()
    command = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    assert command.startswith("ExecStart=/opt/mlflow-reconciler/bin/nats-bridge --name demo ")
    assert f'--nats-url "{BROKER}" --socket /run/models/demo.sock' in command
    assert "LoadCredential=nats.creds\n" in text
    assert (state(bridged), BRIDGE in enabled(bridged)) == ("active", True)
    assert bridged.status()["demo"].nats == CONNECTED


def test_it_takes_no_request_before_something_could_answer(world: World) -> None:
    """What a release that never serves would be asked stays with the broker."""
    use(world, with_broker())
    world.failures[names.server_unit("demo", "1")] = BROKEN
    world.failures[names.verify_unit("demo", 1)] = BROKEN
    world.select(demo=1)
    world.converge()
    assert state(world) == "none"
    assert world.status()["demo"].nats == ""


def test_a_rollout_leaves_it_alone(bridged: World) -> None:
    """It asks the address, whichever release has it."""
    before = bridged.systemd.invocation(BRIDGE), (bridged.etc / BRIDGE).read_text()
    bridged.select(demo=2)
    bridged.converge()
    assert servers(bridged) == {"1.1": "stands by", "2.1": "serves"}
    assert (bridged.systemd.invocation(BRIDGE), (bridged.etc / BRIDGE).read_text()) == before


def test_no_bridge_without_a_broker(world: World) -> None:
    """HTTP is all that a host has where nobody names one."""
    world.select(demo=1)
    world.converge()
    assert not (world.etc / BRIDGE).exists()


def test_another_setting_ends_it_before_it_begins_again(bridged: World) -> None:
    """The old one answers what it took; then the new one starts, and that is no repair."""
    before = bridged.systemd.invocation(BRIDGE)
    use(bridged, with_broker(concurrency=9))
    bridged.reconciler.one_pass()
    assert bridged.systemd.units()[BRIDGE].active == "deactivating"
    assert "--concurrency 4 " in (bridged.etc / BRIDGE).read_text()
    bridged.converge()
    assert "--concurrency 9 " in (bridged.etc / BRIDGE).read_text()
    assert state(bridged) == "active"
    assert bridged.systemd.invocation(BRIDGE) != before
    assert not bridged.reconciler.notes.memory.mended


def test_it_goes_when_no_broker_is_named_any_more(bridged: World) -> None:
    """The model goes on over HTTP."""
    use(bridged, deploy())
    bridged.converge()
    assert not (bridged.etc / BRIDGE).exists()
    assert BRIDGE not in enabled(bridged)
    assert story(bridged)[:3] == (State.SERVING, "1", "1")
    assert bridged.status()["demo"].nats == ""


def test_a_removal_ends_it_before_the_servers_that_it_asks(bridged: World) -> None:
    """What it took from the broker is answered by a server that runs."""
    bridged.select()
    bridged.reconciler.one_pass()
    assert bridged.systemd.units()[BRIDGE].active == "deactivating"
    assert servers(bridged) == {"1.1": "serves"}
    bridged.converge()
    assert bridged.listing() == {path for path in bridged.listing() if "demo" not in path}


@pytest.mark.parametrize("change", ["stopped", "edited", "file removed", "disabled"])
def test_drift_is_repaired(bridged: World, change: str) -> None:
    """As with every unit of ours."""
    text = (bridged.etc / BRIDGE).read_text()
    match change:
        case "stopped":
            bridged.systemd.stop(BRIDGE)
            bridged.systemd.settle()
        case "edited":
            (bridged.etc / BRIDGE).write_text(text.replace("--name demo", "--name evil"))
        case "file removed":
            (bridged.etc / BRIDGE).unlink()
        case "disabled":
            bridged.systemd.disable(BRIDGE)
    bridged.converge()
    assert (bridged.etc / BRIDGE).read_text() == text
    assert (state(bridged), BRIDGE in enabled(bridged)) == ("active", True)


def test_the_status_says_why_it_does_not_answer(bridged: World) -> None:
    """Without counters, which would be another line of the journal each time."""
    trouble = "degraded: cannot reach nats://broker.example.org:4222: refused; it is tried again"
    bridged.systemd.says(BRIDGE, f"{trouble}; answered=3 failed=0 waiting=2")
    bridged.converge()
    told = bridged.status()["demo"]
    assert told.message == f"selected by stage:Production; NATS: {trouble}"
    assert told.nats == f"{trouble}; answered=3 failed=0 waiting=2"
    assert told.state is State.SERVING


def test_one_that_does_not_start_is_told_and_tried_again_and_the_model_serves(world: World) -> None:
    """A bridge is no reason to take a model away from its HTTP clients."""
    use(world, with_broker())
    why = "cannot log in to the broker: nats.nkey and nats.creds are both there; remove one of them"
    world.failures[BRIDGE] = replace(BROKEN, status_text=why)
    world.select(demo=1)
    world.converge()
    told = world.status()["demo"]
    assert (told.state, told.nats) == (State.SERVING, why)
    assert told.message.endswith(f"NATS: {why}")
    world.failures[BRIDGE] = Behaviour(status_text=CONNECTED)
    world.now += 3600
    world.converge()
    assert world.status()["demo"].nats == CONNECTED


def test_a_suspended_deployment_keeps_its_bridge_as_it_is(bridged: World) -> None:
    """It is left alone as a whole."""
    ask(bridged, Verb.SUSPEND)
    bridged.converge()
    use(bridged, deploy())
    bridged.converge()
    assert state(bridged) == "active"
    assert bridged.status()["demo"].nats == CONNECTED


def test_a_tag_names_a_broker_only_if_the_policy_lists_it(world: World) -> None:
    """The login of the host goes there."""
    settings = deploy()
    policy = settings.policy.model_copy(update={"tags": ("brokers",), "brokers": (BROKER,)})
    use(world, settings.model_copy(update={"policy": policy}))
    world.failures[BRIDGE] = Behaviour(status_text=CONNECTED)
    for tag, runs in ((BROKER, True), ("nats://elsewhere.example.org:4222", False)):
        model = {"name": "demo", "version": 1, "source": "models:/m-demo1", "selected_by": "stage:Production"}
        world.select(demo=1)
        document = world.directory / "registry.json"
        snapshot = json.loads(document.read_text())
        world.write_snapshot({**snapshot, "models": [{**model, "settings": {"brokers": tag}}]})
        world.converge()
        if runs:
            assert state(world) == "active"
        else:
            assert "the broker nats://elsewhere.example.org:4222" in world.status()["demo"].message


@pytest.mark.parametrize(
    "address",
    [
        "broker.example.org:4222",
        "http://broker.example.org",
        "nats://user:password@broker.example.org:4222",
        "nats://broker.example.org:4222/path",
        "nats://broker.example.org:x",
        "nats://bro ker:4222",
        "nats://",
    ],
)
def test_what_is_no_address_of_a_broker_is_refused(address: str) -> None:
    """And never repeated: it may hold a password."""
    with pytest.raises(ValueError, match="should be an address such as nats://") as caught:
        deploy(brokers=(address,))
    assert "password" not in str(caught.value)


def test_an_address_is_written_in_one_way() -> None:
    """Or the policy would have to list all of them."""
    assert deploy(brokers=("nats://Broker.example.org",)).deploy.brokers == (BROKER,)


OLDER = names.compose_unit("demo")
BESIDE = "beside docker-compose-model@demo.service; answered=0 failed=0 waiting=3"


@pytest.fixture
def by_hand(world: World) -> World:
    """A host on which a unit made by hand answers over NATS while version 1 of demo serves over HTTP."""
    (world.etc / OLDER).write_text("[Service]\nExecStart=/home/ada/model_deploys/demo/build-server.sh\n")
    world.systemd.reload()
    world.systemd.start(OLDER)
    world.systemd.settle()
    use(world, with_broker())
    world.failures[BRIDGE] = Behaviour(status_text=CONNECTED)
    world.select(demo=1)
    world.converge()
    return world


def line(world: World) -> str:
    """What the bridge says."""
    return world.systemd.units()[BRIDGE].status_text


def starts_beside(world: World) -> bool:
    """Whether the next start of the bridge would be beside the older unit."""
    return " --beside" in (world.etc / BRIDGE).read_text()


def test_what_a_unit_made_by_hand_answers_is_left_to_it(by_hand: World) -> None:
    """Two that answer the same request are worse than one; and nobody said that it should end."""
    assert not (by_hand.etc / BRIDGE).exists()
    told = by_hand.status()["demo"]
    assert (told.state, told.nats) == (State.SERVING, "")
    assert told.message.endswith(
        f"NATS: {OLDER}, made by hand, answers; reconciler adopt demo has this deployment answer"
    )
    assert by_hand.systemd.units()[OLDER].active == "active"


def test_adopted_it_answers_beside_the_older_unit_until_that_one_is_down(by_hand: World) -> None:
    """The mode is changed by a signal: the process that holds requests stays the same one."""
    by_hand.failures[BRIDGE] = Behaviour(status_text=BESIDE)
    ask(by_hand, Verb.ADOPT)
    by_hand.converge()
    assert (state(by_hand), starts_beside(by_hand)) == ("active", True)
    invocation = by_hand.systemd.invocation(BRIDGE)
    by_hand.systemd.stop(OLDER)
    by_hand.converge()
    assert line(by_hand).startswith("connected")
    assert (by_hand.systemd.invocation(BRIDGE), starts_beside(by_hand)) == (invocation, False)


def test_a_boot_that_starts_both_has_it_beside_again(by_hand: World) -> None:
    """Somebody enabled the older unit once more: no request is answered twice."""
    ask(by_hand, Verb.ADOPT)
    by_hand.systemd.stop(OLDER)
    by_hand.systemd.settle()
    by_hand.converge()
    assert not starts_beside(by_hand)
    by_hand.systemd.start(OLDER)
    by_hand.converge()
    assert line(by_hand).startswith("beside")
    assert starts_beside(by_hand)


def test_given_back_it_stands_beside_first_and_goes_when_the_older_unit_has_it_again(by_hand: World) -> None:
    """Until that one answers, nothing is left unanswered."""
    ask(by_hand, Verb.ADOPT)
    by_hand.systemd.stop(OLDER)
    by_hand.systemd.settle()
    by_hand.converge()
    ask(by_hand, Verb.GIVE_BACK)
    by_hand.converge()
    assert starts_beside(by_hand)
    assert line(by_hand).startswith("beside")
    by_hand.systemd.start(OLDER)
    by_hand.converge()
    assert state(by_hand) == "active"
    ask(by_hand, Verb.GIVEN_BACK)
    by_hand.converge()
    assert not (by_hand.etc / BRIDGE).exists()
    assert by_hand.systemd.units()[OLDER].active == "active"


def confirming(world: World) -> None:
    """Let changes wait for an operator from now on, and have the registry select version 2."""
    use(world, with_broker().model_copy(update={"reconcile": ReconcileSettings(mode="confirm")}))
    world.select(demo=2)
    world.converge()
    assert story(world)[:3] == (State.HELD, "2", "1")


def test_what_is_given_back_while_a_change_waits_is_not_answered_twice(by_hand: World) -> None:
    """It is an operator's word, and no part of what waits."""
    ask(by_hand, Verb.ADOPT)
    by_hand.systemd.stop(OLDER)
    by_hand.systemd.settle()
    by_hand.converge()
    confirming(by_hand)
    ask(by_hand, Verb.GIVE_BACK)
    by_hand.converge()
    assert (line(by_hand)[:6], starts_beside(by_hand)) == ("beside", True)
    by_hand.systemd.start(OLDER)
    by_hand.converge()
    assert (state(by_hand), line(by_hand)[:6]) == ("active", "beside")
    ask(by_hand, Verb.GIVEN_BACK)
    by_hand.converge()
    assert not (by_hand.etc / BRIDGE).exists()
    assert (story(by_hand)[0], by_hand.systemd.units()[OLDER].active) == (State.HELD, "active")


def test_what_is_adopted_while_a_change_waits_begins_beside_the_older_unit(by_hand: World) -> None:
    """It goes by the brokers that this host's settings name, and answers alone when the older unit is down."""
    by_hand.failures[BRIDGE] = Behaviour(status_text=BESIDE)
    confirming(by_hand)
    assert not (by_hand.etc / BRIDGE).exists()
    ask(by_hand, Verb.ADOPT)
    by_hand.converge()
    assert (state(by_hand), starts_beside(by_hand), line(by_hand)[:6]) == ("active", True, "beside")
    by_hand.systemd.stop(OLDER)
    by_hand.converge()
    assert (story(by_hand)[0], line(by_hand)[:9]) == (State.HELD, "connected")


@pytest.mark.parametrize("begun", [State.SERVING, State.HELD])
def test_what_serves_can_be_adopted(by_hand: World, monkeypatch: pytest.MonkeyPatch, begun: State) -> None:
    """Also while a change of it waits."""
    if begun is State.HELD:
        confirming(by_hand)
    monkeypatch.setattr(adoption, "_deployment", lambda name: by_hand.status()[name])
    assert adoption._ready_deployment("demo").state is begun


def test_nothing_can_be_given_back_that_was_not_adopted(by_hand: World) -> None:
    """It says what to do instead."""
    ask(by_hand, Verb.GIVE_BACK)
    by_hand.converge()
    answer = json.loads((by_hand.state / "requests" / "1.answer").read_text())
    assert (answer["ok"], answer["message"]) == (
        False,
        "cannot give back demo: it was not adopted; reconciler adopt demo shows what is",
    )


def test_a_unit_of_somebody_with_the_name_of_a_bridge_is_left_alone(world: World) -> None:
    """And it is said that it is in the way."""
    (world.etc / BRIDGE).write_text("[Service]\nExecStart=/bin/true\n")
    use(world, with_broker())
    world.select(demo=1)
    world.converge()
    assert (world.etc / BRIDGE).read_text() == "[Service]\nExecStart=/bin/true\n"
    assert "somebody else's unit has it; move that unit away" in world.status()["demo"].message
