"""Releases in containers: their units, when the unit that people know is there, and what is refused."""

import pytest

from reconciler.core.state.status import State
from reconciler.core.units import names
from reconciler.settings.model import ComposeSettings, Settings
from tests.unit.conftest import World
from tests.unit.rollouts import deploy

IMAGE = f"registry.example.org/server@sha256:{'a' * 64}"
BASE = f"sha256:{'b' * 64}"
UNIT = names.compose_unit("demo")
BROKER = "nats://broker.example.org:4222"


def in_containers(compose: ComposeSettings, **changes: object) -> Settings:
    """Settings of a host whose models run in containers."""
    settings = deploy(**{"runtime": "compose", **changes})
    policy = settings.policy.model_copy(update={"runtimes": ("native", "compose")})
    return settings.model_copy(update={"compose": compose, "policy": policy})


def use(world: World, settings: Settings) -> None:
    """Go on with other settings, as after a reload."""
    world.settings = world.reconciler.settings = settings


def serve(world: World, settings: Settings) -> str:
    """Have version 1 serve; gives the text of its server's unit."""
    use(world, settings)
    world.select(demo=1)
    world.converge()
    return next(world.etc.glob("model-demo@*.service")).read_text()


def test_a_release_with_a_base_has_our_server_and_the_unit_that_people_know(world: World) -> None:
    """Its server is told the base, the files and no secret; the unit comes with it."""
    text = serve(world, in_containers(ComposeSettings(base=BASE)))
    assert world.status()["demo"].state is State.SERVING
    assert f"--base {BASE} --model-dir /var/lib/mlflow-deploy/model_deploys/demo/releases/1/model" in text
    assert f"PartOf={UNIT}" in text
    assert "--asks-itself" not in text
    assert "LoadCredential=compose.env" in text
    assert "LoadCredential=recordings.aws" not in text
    assert "After=docker.service" in (world.etc / UNIT).read_text()
    assert not world.reconciler.one_pass(), "nothing more is to be done"


def test_the_unit_that_people_know_is_mended_and_goes_with_the_last_server_in_containers(world: World) -> None:
    """As any unit of ours."""
    serve(world, in_containers(ComposeSettings(base=BASE)))
    right = (world.etc / UNIT).read_text()
    (world.etc / UNIT).write_text(right.replace("ExecStart=/bin/true", "ExecStart=/bin/false"))
    world.converge()
    assert (world.etc / UNIT).read_text() == right
    use(world, deploy(keep_releases=0, soak=0))
    world.select(demo=2)
    world.converge()
    assert not (world.etc / UNIT).exists()
    world.select()
    world.converge()
    assert list(world.etc.glob("*.service")) == []


def test_nothing_is_left_when_it_is_demoted(world: World) -> None:
    """The unit that people know goes with the others."""
    serve(world, in_containers(ComposeSettings(base=BASE)))
    world.select()
    world.converge()
    assert [path.name for path in world.etc.iterdir() if "demo" in path.name] == []


def test_an_image_that_asks_the_broker_itself_has_no_bridge_and_is_recreated(world: World) -> None:
    """Two of them at once would answer a request twice, and so would a bridge beside it."""
    compose = ComposeSettings(image=IMAGE, command=("python", "main.py"), network="bridge")
    text = serve(world, in_containers(compose, brokers=(BROKER,), replicas=2))
    assert not (world.etc / names.bridge_unit("demo")).exists()
    assert f'--image {IMAGE} --command="python" --command="main.py" --env "receiving_channel=demo-topic"' in text
    assert f'--asks-itself --broker "{BROKER}" --user 65532:65532 --network bridge' in text
    assert '--env "model_path=models:/demo/1"' in text
    assert "LoadCredential=recordings.aws" in text
    assert "Strategy=recreate" in text


def test_an_image_that_speaks_http_is_handed_over_and_has_a_bridge(world: World) -> None:
    """As a release without containers."""
    compose = ComposeSettings(image=IMAGE, http_socket="/run/server/http.sock")
    text = serve(world, in_containers(compose, brokers=(BROKER,)))
    assert (world.etc / names.bridge_unit("demo")).exists()
    assert '--http-socket "/run/server/http.sock"' in text
    assert "receiving_channel" not in text
    assert "Strategy=recreate" not in text


ASKING = ComposeSettings(image=IMAGE, network="bridge")


def bridge_is_up(world: World) -> bool:
    """Whether a bridge takes requests."""
    unit = world.systemd.units().get(names.bridge_unit("demo"))
    return unit is not None and not unit.is_down


def asking_servers(world: World) -> list[str]:
    """The servers that run and take requests from the broker by themselves."""
    up = [name for name, unit in world.systemd.units().items() if names.parse_server(name) and not unit.is_down]
    return [name for name in up if "Asks=yes" in (world.etc / name).read_text()]


def passes(world: World) -> None:
    """Go on pass by pass, and hold in each that no request has two takers."""
    for _ in range(60):
        acted = world.reconciler.one_pass()
        world.systemd.settle()
        assert len(asking_servers(world)) + bridge_is_up(world) <= 1, "a request would be answered twice"
        if not acted:
            world.now += 200  # the end of a soak
            if not world.reconciler.one_pass():
                return
    raise AssertionError("it does not come to rest")


def test_a_bridge_goes_on_until_the_container_that_asks_itself_takes_over(world: World) -> None:
    """While that one is prepared, the release that serves is asked; and the other way round."""
    use(world, deploy(brokers=(BROKER,)))
    world.select(demo=1)
    passes(world)
    assert bridge_is_up(world)
    use(world, in_containers(ASKING, brokers=(BROKER,)))
    world.select(demo=2)
    passes(world)
    assert (len(asking_servers(world)), bridge_is_up(world)) == (1, False)
    use(world, deploy(brokers=(BROKER,)))
    world.select(demo=3)
    passes(world)
    assert (len(asking_servers(world)), bridge_is_up(world)) == (0, True)


def test_other_settings_alone_change_neither_the_container_nor_who_takes_requests(world: World) -> None:
    """What was rolled out decides, until it is rolled out anew."""
    serve(world, in_containers(ASKING, brokers=(BROKER,)))
    use(world, in_containers(ComposeSettings(base=BASE), brokers=(BROKER,)))
    passes(world)
    assert (len(asking_servers(world)), bridge_is_up(world)) == (1, False)


def test_podman_has_units_of_its_own(world: World) -> None:
    """Its socket starts it."""
    text = serve(world, in_containers(ComposeSettings(base=BASE, engine="podman")))
    assert f"Wants=podman.socket {UNIT}" in text
    assert "--engine podman" in text


@pytest.mark.parametrize(
    ("compose", "changes", "why"),
    [
        ({}, {}, "nobody said of which image; set compose.image or compose.base"),
        ({"base": BASE}, {"network": ("10.0.0.0/8",)}, "it asks for network 10.0.0.0/8; a container has the network"),
        ({"base": BASE}, {"cache": True}, "it asks for a cache"),
        ({"image": IMAGE}, {"idle_timeout": 60}, "it has no requests over HTTP"),
    ],
)
def test_what_containers_cannot_do_is_refused(
    world: World, compose: dict[str, str], changes: dict[str, object], why: str
) -> None:
    """With the setting that mends it; nothing is started that would not keep the promise."""
    use(world, in_containers(ComposeSettings(**compose), **changes))  # type: ignore[arg-type]  # validated by pydantic
    world.select(demo=1)
    world.converge()
    told = world.status()["demo"]
    assert f"cannot run version 1 of demo in containers: {why}" in told.message
    assert not (world.etc / UNIT).exists()


def test_a_unit_made_by_hand_is_in_the_way_and_stays(world: World) -> None:
    """It has the name that the release needs."""
    (world.etc / UNIT).write_text("[Service]\nExecStart=/home/ada/model_deploys/demo/build-server.sh\n")
    world.systemd.reload()
    use(world, in_containers(ComposeSettings(base=BASE)))
    world.select(demo=1)
    world.converge()
    assert f"cannot use the unit name {UNIT}: somebody else's unit has it" in world.status()["demo"].message
    assert "build-server.sh" in (world.etc / UNIT).read_text()


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"image": "registry.example.org/server:latest"}, "should be an image by its digest"),
        ({"image": f"sha256:{'A' * 64}"}, "should be an image by its digest"),
        ({"image": f"-x@sha256:{'a' * 64}"}, "should be an image by its digest"),
        ({"base": "debian"}, "should be an image by its digest"),
        ({"image": IMAGE, "base": BASE}, "should be empty where compose.image says what runs"),
        ({"base": BASE, "command": ("x",)}, "they are the image's"),
        ({"user": "0:0"}, "numbers of a user and a group that are not root's"),
        ({"user": "nobody"}, "numbers of a user and a group that are not root's"),
        ({"image": IMAGE, "http_socket": "run/x"}, "should be the absolute path"),
        ({"image": IMAGE, "http_socket": "/tmp/x.sock"}, "should be in a directory of its own"),  # noqa: S108 - the test
        ({"image": IMAGE, "http_socket": "/x.sock"}, "should be in a directory of its own"),
        ({"image": IMAGE, "command": ("a\nb",)}, "words of printable characters"),
        ({"network": "container:other"}, "'none', 'bridge' or 'host'"),
    ],
)
def test_settings_that_no_container_could_have_are_refused(values: dict[str, object], what: str) -> None:
    """Each with a sentence."""
    with pytest.raises(ValueError, match=what):
        ComposeSettings(**values)  # type: ignore[arg-type]  # that is the test
