"""What serves stays as it is whatever changes around it, until a person or an earlier setting says otherwise."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from reconciler.core.operators.requests import Request
from reconciler.core.operators.verbs import Verb
from reconciler.core.state.status import State
from reconciler.core.units import names
from reconciler.files.atomic import replace_file
from reconciler.settings.model import DeploySettings, PolicySettings, ReconcileSettings, Settings
from tests.fakes.systemd import Behaviour
from tests.unit.conftest import OPEN, World, in_memory

DEPLOY: Mapping[str, object] = {"soak": 0, "keep_releases": 1, "removal_grace": 0}
SOURCE: Mapping[str, object] = {"registry": "http://r", "workspace": "", "selectors": ["stage:Production"]}


@dataclass
class Site:
    """A host that serves some models, the registry that it asks, and its settings."""

    world: World
    models: tuple[str, ...]
    chance: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 - nothing here is secret
    source: dict[str, object] = field(default_factory=lambda: dict(SOURCE))
    selected: dict[str, int] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    odd: set[str] = field(default_factory=set)
    """Models whose selected version no host could deploy."""
    settings: dict[str, dict[str, object]] = field(default_factory=lambda: {"deploy": dict(DEPLOY), "reconcile": {}})
    policy: PolicySettings = OPEN

    def __post_init__(self) -> None:
        """Serve version 2 of each, after version 1."""
        for version in (1, 2):
            self.selected, self.known = dict.fromkeys(self.models, version), set(self.models)
            self.happen()

    def happen(self) -> None:
        """Have the agent and the reconciler see how things are now."""
        self.world.settings = Settings(
            policy=self.policy,
            deploy=DeploySettings(**self.settings["deploy"]),  # type: ignore[arg-type]  # validated by pydantic
            reconcile=ReconcileSettings(**self.settings["reconcile"]),  # type: ignore[arg-type]  # the same
        )
        self.world.reconciler.settings = self.world.settings
        models = [
            {
                "name": name,
                "version": version,
                "source": f"models:/m-{name}{version}{self.source['registry']}",
                "selected_by": "stage:Production",
                "settings": self.tags.get(name, {}),
            }
            for name, version in sorted(self.selected.items())
            if name not in self.odd
        ]
        document: dict[str, Any] = {"schema": 1, "read_at": "2026-01-01T00:00:00Z", "models": models, **self.source}
        document["known"] = sorted(self.known - self.selected.keys())
        document["not_deployable"] = [{"name": name, "why": "it has no source"} for name in sorted(self.odd)]
        self.world.write_snapshot(document)
        self.world.converge()

    def ask(self, verb: Verb, name: str | None = None, version: int | None = None) -> None:
        """A person asks, and the reconciler does it."""
        request = Request(schema=1, verb=verb, name=name, by="ana", version=version)
        directory = self.world.state / "requests"
        directory.mkdir(exist_ok=True)
        replace_file(directory / "1.json", request.model_dump_json(by_alias=True).encode(), 0o600)
        self.world.converge()

    def serving(self) -> dict[str, tuple[str, float]]:
        """The servers and sockets that run, with the moment of their start: what is replaced or restarted differs."""
        return {
            unit: (one.active, one.since)
            for unit, one in self.world.systemd.units().items()
            if names.parse_server(unit) or names.parse_socket(unit)
        }

    def versions(self) -> dict[str, str | None]:
        """The version of each deployment that serves."""
        return {name: one.active_version for name, one in self.world.status().items()}


def site(count: int, directory: Path, seed: int = 1) -> Site:
    """So many models, served."""
    chance = random.Random(seed)  # noqa: S311 - nothing here is secret
    return Site(World(directory / "host"), tuple(f"m{number}" for number in range(count)), chance)


Change = Callable[[Site], None]


def some(site: Site) -> list[str]:
    """One model or more."""
    return site.chance.sample(site.models, site.chance.randint(1, len(site.models)))


def other_source(key: str, *values: object) -> Change:
    """Another source is asked than the agreed one; it has some of the models, none, or other versions of them."""

    def change(site: Site) -> None:
        site.source[key] = site.chance.choice(values)
        site.selected = {name: site.chance.randint(1, 3) for name in some(site) if site.chance.random() < 0.7}
        site.known = set(some(site)) | site.selected.keys()

    return change


def no_longer_shown(site: Site) -> None:
    """A permission is withdrawn, or models are deleted or renamed."""
    gone = set(some(site))
    site.selected = {name: version for name, version in site.selected.items() if name not in gone}
    site.known -= gone


def empty(site: Site) -> None:
    """The registry was set up anew, or shows this login nothing."""
    site.selected, site.known = {}, set()


def setting(section: str, key: str, *values: object) -> Change:
    """A setting of this host is changed, or mistyped."""

    def change(site: Site) -> None:
        site.settings[section][key] = site.chance.choice(values)

    return change


def other_policy(**changes: object) -> Change:
    """Less is allowed."""

    def change(site: Site) -> None:
        site.policy = OPEN.model_copy(update=changes)

    return change


def cannot_be_deployed(site: Site) -> None:
    """A version without a usable source is promoted."""
    site.odd = set(some(site)) & site.selected.keys()


def restart(site: Site) -> None:
    """The reconciler is started anew."""
    site.world.new_reconciler()


def _unwatched(site: Site) -> None:
    """Nobody reads the settings that only matter later."""
    site.settings["deploy"]["soak"] = site.chance.choice((0, 60))


CHANGES: Mapping[str, Change] = {
    "another registry": other_source("registry", "http://other", "http://third"),
    "another workspace": other_source("workspace", "ward", "icu"),
    "other selectors": other_source("selectors", ["alias:r22"], ["stage:Staging"], ["stage:Production", "alias:x"]),
    "the newest": other_source("choose", "newest"),
    "no longer shown": no_longer_shown,
    "an empty reading": empty,
    "no name is allowed": other_policy(names=()),
    "no tag is allowed": other_policy(tags=()),
    "fewer deployments": other_policy(max_deployments=1),
    "less memory is allowed": other_policy(max_memory=1024**2),
    "no runtime is allowed": other_policy(runtimes=()),
    "memory": setting("deploy", "memory_max", 1024**2, 8 * 1024**3),
    "processors": setting("deploy", "cpu_quota", 10, 800),
    "idle": setting("deploy", "idle_timeout", 0, 60),
    "network": setting("deploy", "network", (), ("10.0.0.0/8",)),
    "environment": setting("deploy", "environment", "host", "model"),
    "bodies": setting("deploy", "max_body", 1024, 1024**3),
    "ports": setting("deploy", "port_range", (30000, 30001), (20000, 20999)),
    "the rules": setting("reconcile", "prune_from", 1, 10_000),
    "the share": setting("reconcile", "prune_share", 0, 100),
    "soak": _unwatched,
    "cannot be deployed": cannot_be_deployed,
    "a restart": restart,
}


def undisturbed(count: int, seed: int) -> None:
    """Serve, let changes happen, and compare what runs after each; then a person agrees to all of it."""
    with in_memory() as directory, capture_logs():
        one = site(count, directory, seed)
        before, story = one.serving(), []
        assert len(before) == 2 * count
        try:
            for _ in range(one.chance.randint(1, 5)):
                kind = one.chance.choice(sorted(CHANGES))
                story.append(kind)
                CHANGES[kind](one)
                one.happen()
                assert one.serving() == before
            held = {name for name, told in one.world.status().items() if told.state is State.HELD}
            one.ask(Verb.CONFIRM_REGISTRY)
            one.ask(Verb.CONFIRM_PRUNE)
            story.append("a person agrees")
            here = {name for unit in one.serving() if (name := names.deployment_of(unit))}
            assert here >= one.selected.keys() & set(one.models)
            assert held & here <= one.selected.keys() | one.odd
        except AssertionError as error:
            error.add_note(f"{count} deployments, seed {seed}: {', '.join(story)}")
            raise


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_no_change_of_settings_or_of_what_the_registry_shows_disturbs_what_serves(count: int) -> None:
    """Whatever comes after what: settings, address, workspace, selectors, permissions, an empty reading."""
    for seed in range(12 if count < 10 else 4):
        undisturbed(count, seed)


@pytest.mark.exhaustive
@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_long_sequences_of_such_changes_disturb_nothing(count: int) -> None:
    """Many more of them."""
    for seed in range(1000, 1040 if count < 10 else 1010):
        undisturbed(count, seed)


@pytest.mark.parametrize("kind", sorted(CHANGES))
@pytest.mark.parametrize("count", [1, 3])
def test_one_such_change_alone_disturbs_nothing(tmp_path: Path, count: int, kind: str) -> None:
    """Each by itself, and once more after a restart of the reconciler."""
    one = site(count, tmp_path)
    before = one.serving()
    CHANGES[kind](one)
    one.happen()
    one.world.new_reconciler()
    one.world.converge()
    assert one.serving() == before


def test_a_mistyped_selector_keeps_the_only_model_and_says_what_to_type(tmp_path: Path) -> None:
    """Putting it right ends the matter; agreeing to it removes the model."""
    one = site(1, tmp_path)
    one.source["selectors"], one.selected = ["alias:r22"], {}
    one.happen()
    told = one.world.status()["m0"]
    assert (told.state, told.active_version, told.reason) == (State.HELD, "2", "held")
    assert "alias:r22" in told.message
    assert "stage:Production" in told.message
    one.source["selectors"], one.selected = ["stage:Production"], {"m0": 2}
    one.happen()
    assert one.world.status()["m0"].state is State.SERVING
    one.source["selectors"], one.selected = ["alias:r22"], {}
    one.happen()
    one.ask(Verb.CONFIRM_REGISTRY)
    assert "m0" not in one.world.status()


def test_a_replacement_by_another_source_waits_and_is_agreed_to_as_one(tmp_path: Path) -> None:
    """Version 7 of another registry's is not the next version of this one's."""
    one = site(2, tmp_path)
    one.source["registry"], one.selected = "http://other", {"m0": 7, "m1": 2}
    one.happen()
    told = one.world.status()["m0"]
    assert (told.state, told.desired_version, told.active_version, told.reason) == (
        State.HELD,
        "7",
        "2",
        "another-source",
    )
    one.ask(Verb.ROLLOUT, "m0")
    assert one.versions()["m0"] == "2"
    one.ask(Verb.CONFIRM_REGISTRY)
    assert one.versions()["m0"] == "7"


def test_what_somebody_takes_out_of_production_goes_unasked(tmp_path: Path) -> None:
    """Also the last one: the registry shows it, and no longer selects it."""
    one = site(1, tmp_path)
    one.selected = {}
    one.happen()
    assert one.world.status() == {}
    assert one.serving() == {}


def test_an_earlier_setting_lets_what_is_no_longer_shown_go(tmp_path: Path) -> None:
    """Set before; set afterwards it is no answer to what waits already."""
    one = site(2, tmp_path)
    one.selected, one.known = {"m1": 2}, {"m1"}
    one.happen()
    one.settings["reconcile"]["prune_unknown"] = True
    one.happen()
    assert one.world.status()["m0"].state is State.HELD
    one.ask(Verb.CONFIRM_PRUNE)
    assert "m0" not in one.world.status()
    one.selected, one.known = {}, set()
    one.happen()
    assert one.world.status() == {}


def test_a_snapshot_of_a_former_agent_removes_nothing(tmp_path: Path) -> None:
    """It did not say which models the registry has: between the two restarts of an upgrade nothing goes."""
    one = site(1, tmp_path)
    before = one.serving()
    one.world.write_snapshot({"schema": 1, "registry": "http://r", "read_at": "2026-01-01T00:00:00Z", "models": []})
    one.world.converge()
    assert one.serving() == before


def test_a_ledger_of_a_former_version_is_read_with_its_registry(tmp_path: Path) -> None:
    """Another address is another source, also on the day of an upgrade."""
    one = site(1, tmp_path)
    ledger = one.world.reconciler.ledger
    ledger.write(ledger.ledger.model_copy(update={"agreed": None, "registry": "http://former"}))
    before = one.serving()
    one.selected = {}
    one.happen()
    assert one.serving() == before
    assert "http://former" in one.world.status()["m0"].message


def test_changed_settings_are_told_and_taken_by_the_next_promotion(tmp_path: Path) -> None:
    """So does another tag, and a person who says so."""
    one = site(3, tmp_path)
    one.settings["deploy"]["memory_max"] = 5 * 1024**3
    one.happen()
    told = one.world.status()["m0"]
    assert (told.state, told.reason) == (State.SERVING, "settings-changed")
    assert told.message.endswith("the next promotion takes them, or reconciler rollout m0")
    one.selected["m0"] = 3
    one.tags["m1"] = {"start_timeout": "60"}
    one.happen()
    one.ask(Verb.ROLLOUT, "m2")
    for name in one.models:
        unit = next(unit for unit in one.serving() if (server := names.parse_server(unit)) and server.name == name)
        assert "MemoryMax=5368709120" in (one.world.etc / unit).read_text()
        assert one.world.status()[name].reason == ""


def test_other_settings_hide_nothing_that_is_told_of_a_release(tmp_path: Path) -> None:
    """Its files are verified as before, and what came of that is worth more than that settings changed."""
    one = site(1, tmp_path)
    one.settings["deploy"] |= {"memory_max": 5 * 1024**3, "verify_interval": 60}
    one.happen()
    one.world.failures["mlflow-verify@m0.2.service"] = Behaviour(works=False, status_text="cannot verify it: odd")
    one.world.now += 61
    before = one.serving()
    one.happen()
    told = one.world.status()["m0"]
    assert (told.state, told.reason) == (State.SERVING, "verify-failed")
    assert one.serving() == before


def test_a_smaller_number_of_servers_is_taken_at_once_and_a_larger_one_with_the_rest(tmp_path: Path) -> None:
    """Fewer can be had of what is there; more would have to be rendered, and then with all settings of today."""
    one = Site(World(tmp_path / "host"), ())
    one.settings["deploy"]["replicas"] = 2
    one.selected = {"m0": 1}
    one.happen()
    assert len(one.serving()) == 3
    for replicas, there in ((1, 2), (3, 2)):
        one.settings["deploy"] |= {"replicas": replicas, "memory_max": 5 * 1024**3}
        one.happen()
        assert len(one.serving()) == there
        assert one.world.status()["m0"].reason == "settings-changed"
    one.ask(Verb.ROLLOUT, "m0")
    assert len(one.serving()) == 4


def test_a_release_of_a_former_version_is_left_alone_too(tmp_path: Path) -> None:
    """Its unit does not say what was asked for; a rollout that somebody asks for is carried out."""
    one = site(1, tmp_path)
    for path in (*one.world.etc.glob("model-m0@*"), *(one.world.state / "rendered").glob("model-m0@*")):
        text = path.read_text()
        assert "Asked=" in text
        path.write_text("".join(line for line in text.splitlines(keepends=True) if not line.startswith("Asked=")))
    one.happen()
    before = one.serving()
    one.settings["deploy"]["memory_max"] = 5 * 1024**3
    one.happen()
    assert one.serving() == before
    one.ask(Verb.ROLLOUT, "m0")
    assert one.serving() != before
    assert one.world.status()["m0"].state is State.SERVING


def test_what_failed_here_is_not_tried_again_because_of_a_setting(tmp_path: Path) -> None:
    """Nor what a person took back: what serves would be replaced once more. `retry` is a person's yes."""
    one = site(1, tmp_path)
    one.ask(Verb.ROLLBACK, "m0")
    before = one.serving()
    assert one.versions() == {"m0": "1"}
    one.settings["deploy"]["memory_max"] = 5 * 1024**3
    one.happen()
    assert one.serving() == before
    assert one.world.status()["m0"].reason == "rolled-back"
    one.ask(Verb.RETRY, "m0")
    assert one.versions() == {"m0": "2"}


def test_where_nothing_serves_a_changed_setting_is_tried_at_once(tmp_path: Path) -> None:
    """There is nothing to keep: the first release needed more memory than it was given."""
    one = Site(World(tmp_path / "host"), ())
    behave = one.world.systemd.behave

    def hungry(unit: str) -> Behaviour:
        text = (one.world.etc / unit).read_text() if (one.world.etc / unit).exists() else ""
        starved = names.parse_server(unit) and "MemoryMax=4294967296" in text
        return Behaviour(works=False, result="oom-kill") if starved else behave(unit)

    one.world.systemd.behave = hungry
    one.selected = {"m0": 1}
    one.happen()
    assert one.world.status()["m0"].state is State.FAILED
    one.settings["deploy"]["memory_max"] = 5 * 1024**3
    one.happen()
    assert one.world.status()["m0"].state is State.SERVING


def test_a_suspension_hides_nothing_from_the_guard(tmp_path: Path) -> None:
    """Another source is not agreed to while what it would remove is suspended."""
    one = site(2, tmp_path)
    one.ask(Verb.SUSPEND, "m0")
    before = one.serving()
    one.source["registry"], one.selected, one.known = "http://other", {"m1": 2}, {"m0", "m1"}
    one.happen()
    one.ask(Verb.RESUME, "m0")
    assert one.serving() == before
    assert one.world.status()["m0"].state is State.HELD
