"""Which versions the selectors pick of a reading, and which readings are none."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.registry.reading import READY, Model, RegistryReading, Version
from reconciler.core.registry.selection import RENAME, InconsistentReadingError, refusals, select
from reconciler.core.registry.selection_changes import changes
from reconciler.core.state.snapshot import Choose, Snapshot, Source

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PRODUCTION = ("stage:Production",)


def version(number: int, stage: str = "None", name: str = "demo", **more: object) -> Version:
    """Make a version that can be downloaded."""
    return Version(name=name, version=number, stage=stage, **{"source": f"models:/m-{number}", **more})  # type: ignore[arg-type]  # keywords of several types


def source(selectors: tuple[str, ...], choose: Choose = "first") -> Source:
    """A registry that is asked for these."""
    return Source(registry="http://registry", selectors=selectors, choose=choose)


def snapshot(*parts: Model | Version, selectors: tuple[str, ...] = PRODUCTION, choose: Choose = "first") -> Snapshot:
    """Select from a reading; the model `demo` is there unless one is given."""
    models = tuple(part for part in parts if isinstance(part, Model)) or (Model("demo"),)
    versions = tuple(part for part in parts if isinstance(part, Version))
    return select(RegistryReading(models, versions), source(selectors, choose), NOW)


def picked(*parts: Model | Version, selectors: tuple[str, ...] = PRODUCTION) -> Mapping[str, int]:
    """Map each selected model to its version."""
    return {model.name: model.version for model in snapshot(*parts, selectors=selectors).models}


def test_nothing_in_production_selects_nothing() -> None:
    """Registering alone deploys nothing."""
    assert picked(version(1), version(2, "Staging"), version(3, "Archived")) == {}
    assert select(RegistryReading(), source(PRODUCTION), NOW).models == ()


def test_of_several_in_production_the_highest_is_taken_and_the_others_are_told() -> None:
    """As MLflow itself resolves the stage; highest as a number, not as text."""
    taken = snapshot(version(9, "Production"), version(10, "Production"), version(2, "Production")).models[0]
    assert (taken.version, taken.also_matching) == (10, (9, 2))
    assert taken.source == "models:/m-10"


def test_the_first_selector_that_matches_wins() -> None:
    """An ordered list, tried one by one for each model."""
    parts = (Model("demo", aliases={"champion": 1}), version(1), version(2, "Production"), version(3, "Staging"))
    assert picked(*parts, selectors=("alias:champion", "stage:Production")) == {"demo": 1}
    assert picked(*parts, selectors=("stage:Production", "alias:champion")) == {"demo": 2}
    assert picked(*parts, selectors=("alias:nobody", "stage:Staging")) == {"demo": 3}
    assert snapshot(*parts, selectors=("alias:champion",)).models[0].selected_by == "alias:champion"


@pytest.mark.parametrize("status", ["PENDING_REGISTRATION", "FAILED_REGISTRATION", "", "ready"])
def test_a_version_that_is_not_ready_is_not_selected(status: str) -> None:
    """The one below it serves until the upload is complete."""
    parts = (version(1, "Production"), version(2, "Production", status=status))
    assert picked(*parts) == {"demo": 1}
    aliased = (Model("demo", aliases={"champion": 2}), *parts)
    assert picked(*aliased, selectors=("alias:champion", "stage:Production")) == {"demo": 1}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("with space", "with space"),
        ("-rf", "-rf"),
        ("a\nExecStart=/bin/sh", "a\\nExecStart=/bin/sh"),
        ("nul\0", "nul\\x00"),
        ("\u202eevil", "\\u202eevil"),
        ("x" * 300, "x" * 79 + "…"),
        ("%i", "%i"),
        ("$(id)", "$(id)"),
    ],
)
def test_a_name_outside_the_rule_is_reported_in_a_form_that_can_be_shown(name: str, shown: str) -> None:
    """MLflow accepts nearly every name."""
    reading = snapshot(Model(name), Model("fine"), version(1, "Production", name), version(1, "Production", "fine"))
    assert [model.name for model in reading.models] == ["fine"]
    assert [(one.name, bool(one.why)) for one in reading.not_deployable] == [(shown, True)]


def test_the_version_that_is_meant_of_an_impossible_name_is_found_though_it_was_not_read() -> None:
    """Its tag says what to do; a model that no selector means is nobody's business."""
    named = Model("my.model", aliases={"champion": 4, "other": 5})
    reading = RegistryReading((named, Model("a.b"), Model("fine")), (version(2, "Production", "a.b"),))
    by_alias = Source(registry="r", selectors=("alias:champion", "stage:Production"))
    assert [(one.name, one.version) for one in refusals(reading, by_alias)] == [("my.model", 4), ("a.b", 2)]
    assert all(one.why.endswith(RENAME) for one in refusals(reading, by_alias))
    assert refusals(reading, Source(registry="r", selectors=("alias:none",))) == ()


@pytest.mark.parametrize("source", ["", "x" * 5000, "s3://a\nb"])
def test_a_source_that_cannot_be_downloaded_is_reported(source: str) -> None:
    """The other models go on."""
    reading = snapshot(version(1, "Production", source=source))
    assert reading.models == ()
    assert reading.not_deployable[0].why == "version 1 has no source that can be downloaded; register a new version"


def test_settings_come_from_tags_and_the_version_overrides_the_model() -> None:
    """Only `deploy.` tags are settings."""
    model = Model(
        "demo", tags={"deploy.memory_max": "1G", "deploy.cpu_quota": "50%", "deployed.host": "x", "owner": "me"}
    )
    taken = snapshot(model, version(1, "Production", tags={"deploy.memory_max": "2G", "deploy": "x"})).models[0]
    assert taken.settings == {"memory_max": "2G", "cpu_quota": "50%"}


def test_junk_in_tags_is_bounded() -> None:
    """However much someone writes into tags, the snapshot stays small and valid."""
    tags = {f"deploy.{n:04}" + "k" * 3000: "v" * 90_000 for n in range(300)} | {"deploy.\n\0": "a\nb"}
    taken = snapshot(version(1, "Production", tags=tags)).models[0]
    assert len(taken.settings) <= 100
    assert all(len(key) <= 200 and len(value) <= 200 for key, value in taken.settings.items())
    assert all(text.isprintable() for pair in taken.settings.items() for text in pair)


@pytest.mark.parametrize(
    ("reading", "why"),
    [
        (RegistryReading((Model("a"), Model("a"))), "lists the model 'a' twice"),
        (RegistryReading((), (version(1),)), "lists a version of 'demo' but not that model"),
        (RegistryReading((Model("demo"),), (version(1), version(1))), "lists version 1 of 'demo' twice"),
        (RegistryReading((Model("demo", latest=(2,)),), (version(1),)), "names version 2 of 'demo' but does not list"),
        (RegistryReading((Model("demo", aliases={"a": 7}),), (version(1),)), "names version 7 of 'demo'"),
    ],
)
def test_a_reading_that_contradicts_itself_is_no_snapshot(reading: RegistryReading, why: str) -> None:
    """Something changed between two requests; the next reading will be whole."""
    with pytest.raises(InconsistentReadingError, match=why):
        select(reading, source(("stage:Production", "alias:a")), NOW)


def test_what_no_selector_names_need_not_be_there() -> None:
    """An alias for somebody else's use points to a version that was not asked for."""
    parts = (Model("demo", aliases={"theirs": 7}, latest=(9,)), version(9, "Production"))
    assert picked(*parts) == {"demo": 9}


CANARY = ("alias:canary", "stage:Production")


def test_a_canary_that_production_has_passed_gives_way_where_the_newest_is_chosen() -> None:
    """Whichever selector comes first; each says which one it was."""
    passed = (Model("demo", aliases={"canary": 4}), version(4), version(5, "Production"), version(3, "Production"))
    ahead = (Model("demo", aliases={"canary": 6}), version(6), version(5, "Production"))
    same = (Model("demo", aliases={"canary": 5}), version(5, "Production"))
    unready = (
        Model("demo", aliases={"canary": 6}),
        version(6, status="PENDING_REGISTRATION"),
        version(5, "Production"),
    )
    for parts, first, newest, by in (
        (passed, 4, 5, "stage:Production"),
        (ahead, 6, 6, "alias:canary"),
        (same, 5, 5, "alias:canary"),
        (unready, 5, 5, "stage:Production"),
    ):
        assert picked(*parts, selectors=CANARY) == {"demo": first}
        chosen = snapshot(*parts, selectors=CANARY, choose="newest").models[0]
        assert (chosen.version, chosen.selected_by) == (newest, by)
        turned = snapshot(*parts, selectors=CANARY[::-1], choose="newest").models[0]
        assert turned.version == newest
    assert snapshot(*passed, selectors=CANARY, choose="newest").models[0].also_matching == (3,)


def test_a_stage_of_which_too_much_is_unknown_is_not_taken_for_an_empty_one() -> None:
    """What was not asked for may be READY, and what serves would go."""
    high = [version(number, "Production", status="PENDING_REGISTRATION") for number in range(1500, 1510)]
    with pytest.raises(InconsistentReadingError, match="too many versions of 'demo' are not READY"):
        snapshot(*high)
    assert picked(*high, version(1400, "Production")) == {"demo": 1400}


def test_changes_are_told_as_sentences() -> None:
    """What the journal says about each model."""
    before = snapshot(Model("a"), Model("b"), version(1, "Production", "a"), version(1, "Production", "b"))
    after = snapshot(Model("a"), Model("c"), version(2, "Production", "a"), version(1, "Production", "c"))
    assert [change.sentence for change in changes(before, after)] == [
        "version 2 of a is now selected by stage:Production",
        "version 1 of c is now selected by stage:Production",
        "b is no longer selected",
    ]
    assert changes(after, after) == ()
    assert len(changes(None, after)) == 2


names = st.sampled_from(["a", "b-c", "bad name", "-x"])
stages = st.sampled_from(["None", "Staging", "Production"])
versions = st.lists(
    st.builds(version, st.integers(1, 30), stages, names, status=st.sampled_from([READY, "PENDING_REGISTRATION"])),
    unique_by=lambda found: (found.name, found.version),
)


@given(versions, st.randoms())
def test_the_order_of_the_answer_makes_no_difference(found: list[Version], random: object) -> None:
    """The registry may list in any order; each model is selected at most once, and only what matches and is READY."""
    models = [Model(name) for name in sorted({one.name for one in found})]
    first = select(RegistryReading(tuple(models), tuple(found)), source(("stage:Production", "stage:Staging")), NOW)
    random.shuffle(models)  # type: ignore[attr-defined]  # a random.Random of hypothesis
    random.shuffle(found)  # type: ignore[attr-defined]  # the same
    assert first == select(
        RegistryReading(tuple(models), tuple(found)), source(("stage:Production", "stage:Staging")), NOW
    )
    by_place = {(one.name, one.version): one for one in found}
    for model in first.models:
        taken = by_place[model.name, model.version]
        rivals = [one for one in found if one.name == model.name and one.status == READY]
        assert taken.status == READY
        assert f"stage:{taken.stage}" == model.selected_by
        assert taken.version == max(one.version for one in rivals if one.stage == taken.stage)
        assert taken.stage == "Production" or not any(one.stage == "Production" for one in rivals)


one_models = st.lists(
    st.builds(
        version, st.integers(1, 30), stages, st.just("a"), status=st.sampled_from([READY, "PENDING_REGISTRATION"])
    ),
    unique_by=lambda found: found.version,
)


@given(
    one_models,
    st.dictionaries(st.sampled_from(["canary", "champion"]), st.integers(1, 30)),
    st.permutations(["stage:Production", "stage:Staging", "alias:canary"]),
)
def test_the_newest_is_the_highest_ready_version_that_any_selector_matches(
    found: list[Version], aliases: dict[str, int], selectors: list[str]
) -> None:
    """And `selected_by` is a selector that does match it."""
    known = {alias: number for alias, number in aliases.items() if number in {one.version for one in found}}
    reading = RegistryReading((Model("a", aliases=known),), tuple(found))
    matching = {
        one.version: {f"stage:{one.stage}"}
        | {f"alias:{alias}" for alias, number in known.items() if number == one.version}
        for one in found
        if one.status == READY
    }
    wanted = {number: by & {*selectors} for number, by in matching.items() if by & {*selectors}}
    chosen = select(reading, source(tuple(selectors), "newest"), NOW).models
    assert [model.version for model in chosen] == ([max(wanted)] if wanted else [])
    assert all(model.selected_by in wanted[model.version] for model in chosen)
