"""What a reading asks for beside what the models come with: enough to choose, and never more than the limits."""

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.registry.reading import Model, Version
from reconciler.core.registry.version_queries import MAX_NAMES, MAX_ROWS, Need, Question, needs, questions

SELECTORS = ("alias:canary", "stage:Production")


def latest(number: int, stage: str = "Production", name: str = "demo", status: str = "READY") -> Version:
    """A version that a model comes with."""
    return Version(name, number, stage, status, f"s3://b/{number}")


def asked(*parts: Model | Version, selectors: tuple[str, ...] = SELECTORS, choose: str = "first") -> list[Need]:
    """Say what is needed; the model `demo` is there unless one is given."""
    models = [part for part in parts if isinstance(part, Model)] or [Model("demo")]
    listed = [part for part in parts if isinstance(part, Version)]
    return list(needs(models, listed, selectors, choose))  # type: ignore[arg-type]  # one of the two words


def test_nothing_is_asked_about_models_that_nothing_selects() -> None:
    """However many versions they have."""
    assert asked(latest(50_000, "None"), latest(49_999, "Archived")) == []
    assert asked(Model("demo", aliases={"theirs": 7}), latest(50_000, "None")) == []
    assert asked(Model("odd name", aliases={"canary": 7}), latest(9, name="odd name")) == []


def test_of_a_stage_some_below_the_latest_are_asked_for() -> None:
    """To tell which others are in it; more of them where the latest cannot be taken."""
    assert asked(latest(50_000)) == [Need("demo", 49_980, 50_000)]
    assert asked(latest(5)) == [Need("demo", 1, 5)]
    assert asked(latest(50_000, status="PENDING_REGISTRATION")) == [Need("demo", 49_000, 50_000)]


def test_an_alias_is_asked_for_unless_the_model_came_with_it() -> None:
    """What comes after it counts only if it is not READY, or where the newest is chosen."""
    canary = Model("demo", aliases={"canary": 7})
    assert asked(canary, latest(9)) == [Need("demo", 7, 7), Need("demo", 1, 9)]
    assert asked(canary, latest(7, "None"), latest(5)) == []
    assert asked(canary, latest(7, "None"), latest(5), choose="newest") == [Need("demo", 1, 5)]
    assert asked(canary, latest(7, "None", status=""), latest(5)) == [Need("demo", 1, 5)]


def test_models_with_few_versions_are_asked_about_at_once() -> None:
    """A hundred of them; one with very many is asked about by itself."""
    needed = [Need(f"model-{number}", 1, 1 + number % 15) for number in range(100)]
    highest = {need.name: need.high for need in needed}
    assert len(questions(needed, highest)) == 1
    apart = questions([*needed, Need("flood", 49_980, 50_000)], {**highest, "flood": 50_000})
    assert apart[-1] == Question(("flood",), 49_980, 50_000)
    assert len(apart) == 2


needed = st.builds(
    lambda name, low, more: Need(name, low, low + more),
    st.sampled_from([f"{letter}{'x' * length}" for letter in "abcdefghij" for length in (0, 250)]),
    st.integers(1, 60_000),
    st.integers(0, 1000),
)


@given(st.lists(needed, max_size=60), st.integers(0, 1000))
def test_every_need_is_in_one_question_and_every_question_is_short(wanted: list[Need], above: int) -> None:
    """Nothing is left out, no answer can be longer than the limit, and no more is asked than is needed."""
    highest: dict[str, int] = {}
    for need in wanted:
        highest[need.name] = max(highest.get(need.name, 0), need.high + above)
    made = questions(wanted, highest)
    for need in wanted:
        assert any(need.name in one.names and one.low <= need.low and need.high <= one.high for one in made)
    for one in made:
        assert sum(max(0, min(one.high, highest[name]) - one.low + 1) for name in one.names) <= MAX_ROWS
        assert sum(map(len, one.names)) <= MAX_NAMES
        assert len(set(one.names)) == len(one.names)
    assert len(made) <= len(wanted)
