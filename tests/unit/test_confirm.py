"""With `mode = "confirm"` a change waits until an operator applies the plan that shows it; nothing else waits."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from reconciler.cli.plan_text import print_plan
from reconciler.core.operators.requests import Request
from reconciler.core.operators.verbs import Verb
from reconciler.core.state.ledger import REMOVAL
from reconciler.core.state.plan_document import ShownPlan
from reconciler.core.state.release import Parameters
from reconciler.core.state.status import State
from reconciler.core.units import names
from reconciler.files.plan_file import read_plan
from reconciler.files.request_answer import RequestAnswer
from reconciler.settings.model import ReconcileSettings, Settings
from tests.unit.conftest import OPEN, World
from tests.unit.rollouts import BROKEN, SOAK, active, deploy, enabled, servers, story

CONFIRM = ReconcileSettings(mode="confirm")
TAGS = ("replicas", "soak", "max_error_rate", "strategy", "brokers")


@dataclass
class Site:
    """A host whose changes wait, and an operator."""

    world: World
    asked: int = field(default=0)

    def ask(self, verb: Verb, **more: object) -> RequestAnswer:
        """Ask the reconciler, and read its answer."""
        self.asked += 1
        directory = self.world.state / "requests"
        directory.mkdir(exist_ok=True)
        request = Request.model_validate({"verb": verb, "by": "jane", **more})
        (directory / f"{self.asked}.json").write_text(request.model_dump_json(by_alias=True))
        (directory / f"{self.asked}.json").chmod(0o600)
        self.world.reconciler.one_pass()
        return RequestAnswer.model_validate_json((directory / f"{self.asked}.answer").read_bytes())

    def plan(self) -> ShownPlan:
        """See the plan."""
        assert self.ask(Verb.PLAN).ok
        return read_plan(self.world.directory / "plan.json")

    def apply(self) -> None:
        """Look at the plan, say yes to it, and let it happen."""
        answer = self.ask(Verb.APPLY, plan=self.plan().id)
        assert answer.ok, answer.message
        self.world.converge()

    def promote(self, **versions: int) -> None:
        """Select versions, and let happen what may."""
        self.world.select(**versions)
        self.world.converge()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A host whose releases have a soak."""
    policy = OPEN.model_copy(update={"tags": TAGS, "brokers": ("nats://a.example:4222", "nats://b.example:4222")})
    settings = deploy().model_copy(update={"reconcile": CONFIRM, "policy": policy})
    return Site(World(tmp_path / "host", settings=settings))


def serving(site: Site, version: int) -> None:
    """Bring a version into service, through its soak."""
    site.promote(demo=version)
    site.apply()
    site.world.now += SOAK + 1
    site.world.converge()
    assert story(site.world)[:3] == (State.SERVING, str(version), str(version))


def test_a_first_version_waits_and_changes_nothing_on_the_host(site: Site) -> None:
    """Not even a unit file is written; the status says what to do."""
    before = site.world.listing()
    site.promote(demo=1)
    assert story(site.world) == (State.HELD, "1", None, "not-confirmed")
    assert "reconciler apply" in site.world.status()["demo"].message
    changed = {path for path in site.world.listing() - before if path.startswith("etc")}
    assert changed == set()


def test_a_plan_shows_what_waits_and_applying_it_carries_it_out(site: Site) -> None:
    """Each step of the rollout follows without another yes, also after a restart of the reconciler."""
    site.promote(demo=1)
    plan = site.plan()
    (shown,) = plan.deployments
    assert (plan.mode, plan.actions, plan.has_changes, shown.waits_for_apply) == ("confirm", (), True, True)
    assert [(change.sign, change.unit) for change in shown.changes] == [("+", "mlflow-fetch@demo.1.service")]
    assert shown.then == ("build its environment unless it is here", "verify the files", "start version 1")
    assert site.plan().id == plan.id
    answer = site.ask(Verb.APPLY, plan=plan.id)
    assert (answer.ok, answer.message) == (True, f"applying plan {plan.id}: demo gets 1")
    site.world.new_reconciler()
    site.world.converge()
    assert story(site.world)[:3] == (State.SERVING, "1", "1")
    assert site.plan().id == ""


def test_before_the_registry_was_read_nothing_waits_and_the_mode_is_the_same(site: Site) -> None:
    """The answer does not say that changes need no yes."""
    refused = site.ask(Verb.APPLY, plan="0" * 12)
    assert (refused.ok, refused.message) == (
        False,
        "cannot apply that plan: nothing waits for it; see reconciler plan",
    )


def test_a_plan_that_is_another_one_by_now_is_refused(site: Site) -> None:
    """Also one that was carried out; the answer says what would be done now."""
    serving(site, 1)
    site.promote(demo=2)
    former = site.plan().id
    site.promote(demo=3)
    answer = site.ask(Verb.APPLY, plan=former)
    assert not answer.ok
    assert "demo gets 3 in place of version 1" in answer.message
    site.world.converge()
    assert story(site.world)[:3] == (State.HELD, "3", "1")
    now = site.plan().id
    assert now != former
    assert site.ask(Verb.APPLY, plan=now).ok
    site.world.converge()
    refused = site.ask(Verb.APPLY, plan=now)
    assert (refused.ok, refused.message) == (
        False,
        "cannot apply that plan: nothing waits for it; see reconciler plan",
    )


def test_a_yes_is_to_all_of_a_plan_and_to_nothing_else(site: Site) -> None:
    """What is promoted later waits."""
    site.promote(a=1, b=1)
    site.apply()
    site.promote(a=2, b=1, c=1)
    assert {name: one.state for name, one in site.world.status().items()} == {
        "a": State.HELD,
        "b": State.SERVING,
        "c": State.HELD,
    }


def test_a_yes_does_not_lie_in_wait(site: Site) -> None:
    """Version 2 was confirmed, served and was replaced; when it is promoted again, it waits again."""
    serving(site, 1)
    serving(site, 2)
    serving(site, 3)
    assert site.world.reconciler.ledger.ledger.record("demo").confirmed is not None
    site.promote(demo=2)
    assert story(site.world)[:3] == (State.HELD, "2", "3")
    assert site.world.reconciler.ledger.ledger.record("demo").confirmed is None


def test_a_release_that_fails_in_its_soak_is_taken_back_unasked(site: Site) -> None:
    """The way back waits for nobody."""
    serving(site, 1)
    site.promote(demo=2)
    site.apply()
    assert servers(site.world) == {"1.1": "stands by", "2.1": "serves"}
    site.world.systemd.serve(active(site.world), 20, 20)
    site.world.converge()
    assert story(site.world) == (State.DEGRADED, "2", "1", "errors-in-soak")
    assert servers(site.world) == {"1.1": "serves"}
    assert site.plan().id == ""


def test_a_release_that_does_not_start_is_rejected_and_retry_needs_no_second_yes(site: Site) -> None:
    """The yes was to this release."""
    serving(site, 1)
    site.promote(demo=2)
    server = active(site.world)
    usual = site.world.systemd.behave
    site.world.systemd.behave = lambda unit: BROKEN if unit.startswith("model-demo@2.") else usual(unit)
    site.apply()
    assert story(site.world)[:3] == (State.DEGRADED, "2", "1")
    assert active(site.world) == server
    site.world.systemd.behave = usual
    assert site.ask(Verb.RETRY, name="demo").ok
    site.world.converge()
    assert story(site.world)[:3] == (State.ROLLING_OUT, "2", "2")


def test_drift_of_what_serves_is_repaired_while_a_change_waits(site: Site) -> None:
    """A changed file and a stopped server, of the release that another one is to replace."""
    serving(site, 1)
    site.promote(demo=2)
    plan = site.plan().id
    unit = active(site.world)
    intact = (site.world.etc / unit).read_text()
    (site.world.etc / unit).write_text(intact + "# edited\n")
    site.world.systemd.stop(unit)
    site.world.systemd.settle()
    assert site.plan().id == plan
    site.world.converge()
    assert (site.world.etc / unit).read_text() == intact
    assert servers(site.world) == {"1.1": "serves"}
    assert story(site.world)[:3] == (State.HELD, "2", "1")


def test_an_operators_roll_back_does_not_wait(site: Site) -> None:
    """It is a word of its own."""
    serving(site, 1)
    serving(site, 2)
    assert site.ask(Verb.ROLLBACK, name="demo").ok
    site.world.converge()
    assert story(site.world)[:3] == (State.DEGRADED, "2", "1")


def rolled_back(site: Site) -> None:
    """Bring versions 1 and 2 into service before changes wait, and go back from 2."""
    site.world.reconciler.settings = site.world.settings.model_copy(update={"reconcile": ReconcileSettings()})
    for version in (1, 2):
        site.promote(demo=version)
        site.world.now += SOAK + 1
        site.world.converge()
    site.world.reconciler.settings = site.world.settings
    assert site.ask(Verb.ROLLBACK, name="demo").ok
    site.world.converge()
    assert story(site.world)[:3] == (State.DEGRADED, "2", "1")


def test_a_version_that_an_operator_names_to_go_back_to_does_not_wait(site: Site) -> None:
    """Also if it is the one that the registry selects, and nobody ever confirmed it."""
    rolled_back(site)
    answer = site.ask(Verb.ROLLBACK, name="demo", version=2)
    assert answer.message == "version 2 of demo is tried again"
    site.world.converge()
    assert story(site.world)[2] == "2"


def test_retry_says_that_what_nobody_confirmed_waits(site: Site) -> None:
    """It is no yes: what failed is named by nobody."""
    rolled_back(site)
    answer = site.ask(Verb.RETRY, name="demo")
    assert (
        answer.message == "version 2 of demo is tried again, but not before that is confirmed: reconciler plan shows it"
    )
    site.world.converge()
    assert story(site.world)[:3] == (State.HELD, "2", "1")
    site.apply()
    assert "confirmed" not in site.ask(Verb.RETRY, name="demo").message


def test_files_that_an_operator_has_replaced_do_not_wait_for_a_second_yes(site: Site) -> None:
    """The model is taken out of service for them."""
    serving(site, 1)
    site.world.origin = "other"
    site.promote(demo=1)
    assert story(site.world)[3] == "number-used-again"
    assert site.ask(Verb.REPLACE, name="demo").ok
    site.world.converge()
    assert story(site.world)[:3] == (State.SERVING, "1", "1")


def test_a_rollout_on_purpose_waits_and_says_so(site: Site) -> None:
    """It makes another release, with the settings and templates of today: that is what a plan shows."""
    serving(site, 1)
    answer = site.ask(Verb.ROLLOUT, name="demo")
    assert answer.message == "version 1 of demo is rolled out anew once that is confirmed: reconciler plan shows it"
    site.world.converge()
    assert story(site.world)[0] is State.HELD
    assert "stop the former release of version 1 and keep it for a rollback" in site.plan().deployments[0].then
    site.apply()
    assert story(site.world)[0] is State.ROLLING_OUT


def test_a_removal_waits_and_goes_on_to_its_end_once_it_is_confirmed(site: Site) -> None:
    """Nothing of it is left, not even the yes."""
    empty = site.world.listing()
    serving(site, 1)
    site.promote()
    assert story(site.world) == (State.HELD, None, "1", "not-confirmed")
    site.world.reconciler.settings = deploy(removal_grace=600).model_copy(update={"reconcile": CONFIRM})
    plan = site.plan()
    assert plan.deployments[0].then == ("keep its files for 600 s", "remove its units and files")
    site.world.now += 601
    assert site.plan().deployments[0].then == ("remove its units and files",)
    assert site.plan().id == plan.id
    answer = site.ask(Verb.APPLY, plan=plan.id)
    assert answer.message == f"applying plan {plan.id}: demo is removed"
    assert site.world.reconciler.ledger.ledger.record("demo").confirmed == REMOVAL
    site.world.converge()
    assert site.world.status() == {}
    left = {path for path in site.world.listing() - empty if path.startswith("etc")}
    assert left == {"etc/multi-user.target.wants", "etc/sockets.target.wants"}
    assert site.world.reconciler.ledger.ledger.records == {}


@pytest.mark.parametrize("version", [1, 2])
def test_a_version_whose_removal_was_confirmed_does_not_serve_again_unasked(site: Site, version: int) -> None:
    """Neither because another one is promoted while its files are kept, nor because it is promoted itself."""
    site.world.settings = site.world.reconciler.settings = with_grace(site, 600)
    serving(site, 1)
    site.promote()
    site.apply()
    assert (story(site.world)[0], servers(site.world)) == (State.REMOVING, {})
    site.promote(demo=version)
    site.world.new_reconciler()
    site.world.now += 3600
    site.world.converge()
    assert story(site.world) == (State.HELD, str(version), None, "not-confirmed")
    assert (servers(site.world), enabled(site.world)) == ({}, set())
    site.apply()
    assert story(site.world)[2] == str(version)
    assert names.socket_unit("demo") in enabled(site.world)


def test_removals_that_the_guard_held_are_as_final(site: Site) -> None:
    """Their confirmation is a yes as well."""
    site.world.settings = site.world.reconciler.settings = with_grace(site, 600)
    site.promote(a=1, b=1, c=1)
    site.apply()
    site.promote()
    assert site.ask(Verb.CONFIRM_PRUNE).ok
    site.world.converge()
    site.promote(a=2)
    assert story(site.world, "a") == (State.HELD, "2", None, "not-confirmed")
    assert servers(site.world) == {}


def test_an_operator_brings_back_what_was_removed_without_a_plan(site: Site) -> None:
    """A rollback is a word of its own; retry is none, and says so."""
    site.world.settings = site.world.reconciler.settings = with_grace(site, 600)
    serving(site, 1)
    site.promote()
    site.apply()
    site.promote(demo=1)
    assert site.ask(Verb.RETRY, name="demo").message.endswith(
        ", but not before that is confirmed: reconciler plan shows it"
    )
    site.promote(demo=2)
    changes = site.plan().deployments[0].changes
    assert not [change for change in changes if "withdraw" in change.what]
    assert site.ask(Verb.ROLLBACK, name="demo").ok
    site.world.converge()
    assert story(site.world)[:3] == (State.DEGRADED, "2", "1")


def test_a_version_that_still_stops_does_not_start_again_unasked(site: Site) -> None:
    """Another one was promoted before the removal had ended."""
    serving(site, 1)
    site.promote()
    assert site.ask(Verb.APPLY, plan=site.plan().id).ok
    site.promote(demo=2)
    assert story(site.world) == (State.HELD, "2", None, "not-confirmed")
    assert servers(site.world) == {}


def test_nothing_serves_in_place_of_a_refused_version_whose_former_one_was_removed(site: Site) -> None:
    """What the registry selects instead is none of this host's."""
    site.world.settings = site.world.reconciler.settings = with_grace(site, 600)
    serving(site, 1)
    site.promote()
    site.apply()
    site.world.select(demo=2)
    retag(site, memory_max="16G")
    assert story(site.world)[:3] == (State.FAILED, "2", None)
    assert servers(site.world) == {}


def test_a_removal_that_did_not_begin_does_not_lie_in_wait(site: Site) -> None:
    """The version was promoted again before anything of it ended: nothing changes."""
    serving(site, 1)
    site.promote()
    plan = site.plan().id
    site.world.reconciler.runner.run = lambda *_: False  # type: ignore[method-assign]  # the disk is slow
    assert site.ask(Verb.APPLY, plan=plan).ok
    site.world.new_reconciler()
    site.promote(demo=1)
    assert story(site.world)[:3] == (State.SERVING, "1", "1")
    assert site.world.reconciler.ledger.ledger.record("demo").confirmed is None


def test_a_socket_that_somebody_disabled_is_enabled_again(site: Site) -> None:
    """That is drift, and no removal."""
    serving(site, 1)
    (site.world.etc / "sockets.target.wants" / names.socket_unit("demo")).unlink()
    site.world.converge()
    assert names.socket_unit("demo") in enabled(site.world)
    assert story(site.world)[:3] == (State.SERVING, "1", "1")


def with_grace(site: Site, seconds: int) -> Settings:
    """The settings of a host that keeps the files of what was removed for a while."""
    settings = site.world.settings
    return settings.model_copy(update={"deploy": settings.deploy.model_copy(update={"removal_grace": seconds})})


def test_a_new_mode_changes_nothing_of_what_serves(site: Site) -> None:
    """What came into service unasked needs no yes afterwards, and what waited goes on by itself."""
    site.world.reconciler.settings = deploy()
    site.promote(demo=1)
    site.world.reconciler.settings = deploy().model_copy(update={"reconcile": CONFIRM})
    site.world.converge()
    assert story(site.world)[:3] == (State.SERVING, "1", "1")
    site.promote(demo=2)
    assert story(site.world)[0] is State.HELD
    site.world.reconciler.settings = deploy()
    refused = site.ask(Verb.APPLY, plan="0" * 12)
    assert 'reconcile.mode is "automatic"' in refused.message
    site.world.converge()
    assert story(site.world)[:3] == (State.ROLLING_OUT, "2", "2")


def test_a_suspended_deployment_is_in_no_plan(site: Site) -> None:
    """It says so itself, and waits for a yes when it is resumed."""
    site.promote(demo=1)
    assert site.ask(Verb.SUSPEND, name="demo").ok
    plan = site.plan()
    assert (plan.id, [waiting.state for waiting in plan.waits]) == ("", [State.SUSPENDED])
    assert site.ask(Verb.RESUME, name="demo").ok
    assert site.plan().id


def test_what_the_host_would_do_for_the_steps_is_a_part_of_the_plan(site: Site) -> None:
    """Another package index is another plan."""
    site.promote(demo=1)
    before = site.plan().id
    settings = site.world.reconciler.settings
    build = settings.build.model_copy(update={"index_url": "https://index.example/simple"})
    site.world.reconciler.settings = settings.model_copy(update={"build": build})
    assert site.plan().id != before


def retag(site: Site, source: object = "", **tags: object) -> None:
    """Give the selected version other tags or another source, under the same number, and let happen what may."""
    path = site.world.directory / "registry.json"
    document = json.loads(path.read_text())
    (model,) = document["models"]
    model["settings"] = {name: str(value) for name, value in tags.items()}
    model["source"] = source or model["source"]
    site.world.write_snapshot(document)
    site.world.converge()


@pytest.mark.parametrize("tag", [{"soak": 0}, {"max_error_rate": 100}, {"strategy": "recreate"}])
def test_a_yes_is_to_the_rollout_that_was_shown(site: Site, tag: dict[str, object]) -> None:
    """A tag that makes no other release, but another rollout, needs another yes until the version has the address."""
    serving(site, 1)
    site.world.failures[names.build_unit(f"{2:032x}")] = BROKEN
    site.promote(demo=2)
    site.apply()
    site.world.failures.clear()
    retag(site, **tag)
    site.world.now += 3600
    site.world.converge()
    assert story(site.world) == (State.HELD, "2", "1", "not-confirmed")
    site.apply()
    assert story(site.world)[2] == "2"


def test_tags_of_a_version_that_serves_need_no_yes(site: Site) -> None:
    """Nothing is rolled out: they say how many servers there are, or how the next version comes."""
    serving(site, 1)
    retag(site, soak=0, strategy="recreate", replicas=2)
    assert story(site.world)[:3] == (State.SERVING, "1", "1")
    assert servers(site.world) == {"1.1": "serves", "1.2": "serves"}
    assert site.plan().id == ""


def test_brokers_of_a_version_that_serves_wait(site: Site) -> None:
    """Requests would be taken from somewhere else: a bridge begins, has other brokers, or ends."""
    serving(site, 1)
    unit = site.world.etc / names.bridge_unit("demo")
    retag(site, brokers="nats://a.example:4222")
    assert story(site.world) == (State.HELD, "1", "1", "not-confirmed")
    assert not unit.exists()
    assert [change.unit for change in site.plan().deployments[0].changes] == [unit.name]
    site.apply()
    assert (story(site.world)[0], "nats://a.example:4222" in unit.read_text()) == (State.SERVING, True)
    retag(site, brokers="nats://a.example:4222", soak=0)
    assert story(site.world)[0] is State.SERVING
    retag(site, brokers="nats://b.example:4222")
    assert (story(site.world)[0], "nats://a.example:4222" in unit.read_text()) == (State.HELD, True)
    site.apply()
    assert (story(site.world)[0], "nats://b.example:4222" in unit.read_text()) == (State.SERVING, True)
    retag(site)
    assert (story(site.world)[0], unit.exists()) == (State.HELD, True)
    site.apply()
    assert (story(site.world)[0], unit.exists()) == (State.SERVING, False)


def test_a_bridge_from_before_the_mode_is_repaired_unasked(site: Site) -> None:
    """It is drift like any other."""
    site.world.reconciler.settings = site.world.settings.model_copy(update={"reconcile": ReconcileSettings()})
    site.promote(demo=1)
    retag(site, brokers="nats://a.example:4222")
    site.world.reconciler.settings = site.world.settings
    unit = site.world.etc / names.bridge_unit("demo")
    unit.unlink()
    site.world.converge()
    assert (story(site.world)[0], unit.exists(), site.plan().id) == (State.SERVING, True, "")


def test_people_are_shown_where_a_version_comes_from(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Below the line that asks for the yes."""
    site.promote(demo=1)
    plan = site.plan()
    capsys.readouterr()
    print_plan(plan)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["demo: version 1, new, waits for reconciler apply", "  from models:/m-demo1"]


def test_a_yes_holds_for_the_source_that_was_shown(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another source that was made to give a release of the same name is no part of it."""
    monkeypatch.setattr(Parameters, "digest", lambda *_: "12345678")
    site.promote(demo=1)
    plan = site.plan()
    assert plan.deployments[0].source == "models:/m-demo1"
    retag(site, source="models:/evil")
    assert not site.ask(Verb.APPLY, plan=plan.id).ok
    other = site.plan()
    site.world.select(demo=1)
    assert site.ask(Verb.APPLY, plan=plan.id).ok
    retag(site, source="models:/evil")
    assert story(site.world)[0] is State.HELD
    assert site.plan().id == other.id


def test_only_the_owner_of_the_directory_is_heard(site: Site) -> None:
    """A request of another user's is none, so nobody else applies a plan."""
    site.promote(demo=1)
    plan = site.plan().id
    path = site.world.state / "requests" / "0.json"
    path.write_text(Request(verb=Verb.APPLY, plan=plan, by="eve").model_dump_json(by_alias=True))
    if os.getuid() == 0:
        os.chown(path, 12345, 12345)
        site.world.converge()
        assert story(site.world)[0] is State.HELD


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_nothing_runs_that_nobody_confirmed(site: Site, seed: int) -> None:
    """Promotions, demotions, crashes, edits, restarts and applied plans in any order; in the end a yes is enough."""
    random = Random(seed)  # noqa: S311 - nothing here is secret
    world, confirmed = site.world, set[tuple[str, str]]()
    selected: dict[str, int] = {}

    def apply() -> None:
        plan = site.plan()
        before = world.reconciler.ledger.ledger.records
        if plan.id and site.ask(Verb.APPLY, plan=plan.id).ok:
            now = world.reconciler.ledger.ledger.records
            confirmed.update((name, str(now[name].confirmed)) for name in now if now[name] != before.get(name))

    def happen() -> None:
        match random.choice(("promote", "demote", "apply", "apply", "crash", "edit", "restart", "wait", "wait")):
            case "promote":
                selected[random.choice("abc")] = random.randint(1, 4)
                world.select(**selected)
            case "demote" if selected:
                selected.pop(random.choice(sorted(selected)))
                world.select(**selected)
            case "apply":
                apply()
            case "crash" if runs := sorted(filter(names.parse_server, world.systemd.units())):
                world.systemd.stop(random.choice(runs))
            case "edit" if files := sorted(path for path in world.etc.glob("model-*") if path.is_file()):
                random.choice(files).write_text("edited")
            case "restart":
                world.new_reconciler()
            case _:
                world.now += random.choice((1, SOAK + 1))

    for _ in range(60):
        happen()
        world.reconciler.one_pass()
        world.systemd.settle()
        parsed = filter(None, (names.parse_server(path.name) for path in world.etc.glob("model-*@*.service")))
        assert {(server.name, str(server.release)) for server in parsed} <= confirmed
    for _ in range(8):
        world.now += 601
        for name in selected:
            site.ask(Verb.RETRY, name=name)
        world.converge()
        apply()
    serving = {name: one.active_version for name, one in world.status().items() if one.state is State.SERVING}
    assert serving == {name: str(version) for name, version in selected.items()}
    assert site.plan().id == ""
