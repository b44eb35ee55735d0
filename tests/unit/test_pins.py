"""Digests of the first fetch over the fake systemd: root's, shown to units, kept while the deployment is there."""

from reconciler.core import names
from reconciler.core.status import State
from tests.unit.conftest import World


def test_what_was_fetched_first_is_recorded_before_anything_starts_and_goes_with_the_deployment(world: World) -> None:
    """One file of root's each for the version and for its environment."""
    world.select(demo=1)
    world.converge()
    shown = {path.name.partition(".")[0]: path.read_text().strip() for path in (world.state / "pins").iterdir()}
    assert shown == {"demo": f"{1:064x}", f"{1:032x}": "c" * 64}
    (server,) = world.etc.glob("model-demo@*.service")
    for path in (world.state / "pins").iterdir():
        assert f"BindReadOnlyPaths=-/var/lib/mlflow-reconciler/pins/{path.name}:" in server.read_text()
    world.select()
    world.converge()
    assert not (world.state / "pins").exists()


def test_a_fetch_that_reports_other_files_changes_no_record_and_is_not_served(world: World) -> None:
    """After a boot everything is looked over; the fetch itself should have said no."""
    world.select(demo=1)
    world.converge()
    world.files = lambda _name, _version: "f" * 64
    world.systemd.stop(names.verify_unit("demo", 1))
    (server,) = world.etc.glob("model-demo@*.service")
    for unit in (server.name, names.fetch_unit("demo", 1)):
        world.systemd.stop(unit)
    world.systemd.settle()
    world.converge()
    one = world.status()["demo"]
    assert (one.state, one.reason) == (State.FAILED, "files-changed"), one
    assert "register a new version" in one.message
    assert world.reconciler.ledger.ledger.record("demo").files.popitem()[1] == f"{1:064x}"


def test_a_rebuilt_environment_has_a_new_digest(world: World) -> None:
    """The same packages built twice are not the same bytes."""
    world.select(demo=1)
    world.converge()
    world.content = "d" * 64
    build = names.build_unit(f"{1:032x}")
    world.systemd.stop(build)
    world.systemd.settle()
    world.systemd.start(build)
    world.systemd.settle()
    world.converge()
    assert (world.state / "pins" / f"{1:032x}").read_text() == "d" * 64 + "\n"
