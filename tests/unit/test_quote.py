"""What others wrote, made fit for units, terminals and tags; tests/system/test_quoting.py asks systemd itself."""

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment
from jinja2.meta import find_undeclared_variables

from reconciler.apply.render import Renderer, RenderError
from reconciler.core.planner import unit_values
from reconciler.core.planner.actions import Render
from reconciler.core.planner.compose_unit import render_compose_unit
from reconciler.core.planner.compose_values import ComposeSettings
from reconciler.core.state.release import Parameters, Release
from reconciler.core.text.quote import (
    Quoted,
    QuotingError,
    one_line,
    printable,
    quote,
    quote_argument,
    quote_sentence,
    safe_token,
    tag_key,
)
from reconciler.core.units.addresses import Listening
from reconciler.daemon.desired import step_settings
from reconciler.settings.model import RegistrySettings, Settings
from tests.hostile import BY_HAND, NOT_FOR_UNITS, values
from tests.unit.conftest import CHECKOUT, World

RELEASE = Release("demo", 1, "models:/m-1", Parameters())
STEPS = step_settings(Settings())
FILTERED = {"source", "schemes", "registry_uri", "workspace", "index_url", "find_links", "verify_command"}
FILTERED |= {"s3_endpoint_url", "s3_region", "command", "variables", "broker", "http_socket"}
"""Values that others, or the settings, choose freely."""
IN_CONTAINERS = Release("demo", 1, "models:/m-1", Parameters(runtime="compose"))
FIRST_SERVER = ComposeSettings(image=f"sha256:{'a' * 64}", command=("python", "main.py"))
RENDERER = Renderer([CHECKOUT / "templates"], lambda _unit, _text: None)


def renders() -> Iterator[Render]:
    """One of every unit."""
    yield unit_values.fetch(RELEASE, STEPS)
    yield unit_values.build(RELEASE, "0" * 32, STEPS)
    for environment in ("host", "0" * 32):
        yield unit_values.verify(unit_values.Files("demo", 1, "f" * 16, environment), STEPS)
        yield unit_values.watch("demo", 1, environment)
        yield unit_values.server(RELEASE, environment, Listening(), None)
    yield unit_values.socket("demo", RELEASE.id, "native", 20000, Listening())
    yield unit_values.slice_("demo", "native")
    for compose in (ComposeSettings(base=f"sha256:{'b' * 64}"), FIRST_SERVER):
        yield unit_values.server(IN_CONTAINERS, "0" * 32, Listening(), None, compose=compose)
    yield render_compose_unit("demo", ComposeSettings())


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50))
def test_a_quoted_value_never_leaves_its_line(text: str) -> None:
    """Or it is refused."""
    for make in (quote, quote_argument, quote_sentence):
        try:
            made = make(text)
        except QuotingError:
            continue
        assert not set(made) & {"\n", "\r", "\0"}
        assert safe_token(made) == made


@pytest.mark.parametrize("value", NOT_FOR_UNITS)
@pytest.mark.parametrize("make", [quote, quote_argument, quote_sentence])
def test_what_no_unit_can_carry_is_refused(value: str, make: type[Quoted]) -> None:
    """With a sentence."""
    with pytest.raises(QuotingError, match=r"^cannot write .* into a unit file; choose another value"):
        make(value)


def test_the_server_s_template_uses_every_parameter() -> None:
    """Else a setting would be taken, and do nothing."""
    template = (CHECKOUT / "templates/native/model.service.j2").read_text()
    used = find_undeclared_variables(Environment().parse(template))  # noqa: S701 - nothing is rendered
    # The runtime is the folder of the template, and the environment is used as its directory.
    assert {field.name for field in fields(Parameters)} - {"runtime", "environment"} <= used


@pytest.mark.parametrize("runtime", ["native", "compose"])
def test_requests_are_joined_only_where_that_is_asked_for(runtime: str) -> None:
    """A model's answer for a row may depend on the rows beside it."""
    compose = ComposeSettings(base=f"sha256:{'b' * 64}") if runtime == "compose" else None
    for batch in (False, True):
        release = Release("demo", 1, "models:/m-1", Parameters(runtime=runtime, batch=batch))
        render = unit_values.server(release, "0" * 32, Listening(), None, compose=compose)
        command = next(line for line in RENDERER.render(render).splitlines() if line.startswith("ExecStart="))
        assert ("--batch" in command.split()) is batch


@pytest.mark.parametrize("runtime", ["native", "compose"])
@pytest.mark.parametrize("try_page", [True, False])
def test_the_page_to_try_a_model_can_be_taken_away(runtime: str, try_page: bool) -> None:
    """A release from before there was a page is the same release with it."""
    compose = ComposeSettings(base=f"sha256:{'b' * 64}") if runtime == "compose" else None
    parameters = Parameters(runtime=runtime, try_page=try_page)
    render = unit_values.server(
        Release("demo", 1, "models:/m-1", parameters), "0" * 32, Listening(), None, compose=compose
    )
    command = next(line for line in RENDERER.render(render).splitlines() if line.startswith("ExecStart="))
    assert ("--no-try-page" in command.split()) is not try_page
    before = Parameters(runtime=runtime).digest("models:/m-1")
    assert (parameters.digest("models:/m-1") == before) is try_page


@pytest.mark.parametrize("render", [*renders()], ids=lambda render: render.unit)
def test_no_template_lets_a_hostile_value_through(render: Render) -> None:
    """Whichever value is hostile: it is quoted or the unit is refused, so that a unit keeps its lines."""
    tried = refused = 0
    rendered = RENDERER.render(render)
    usual, commands = rendered.count("\n"), rendered.count("\nExecStartPre=")
    for key, value in render.values.items():
        if isinstance(value, bool | int) or key in ("offline", "unit"):
            continue
        for hostile in [*BY_HAND, *values(50, seed=5)]:
            changed = {**render.values, key: [hostile] if isinstance(value, list) else hostile}
            tried += 1
            try:
                text = RENDERER.render(Render(render.deployment, render.unit, render.template, changed, render.facts))
            except RenderError:
                refused += 1
                continue
            # `{% if %}` and `{% for %}` leave lines out for an empty or shorter value, and another may bring them.
            assert abs(text.count("\n") - usual) <= 8, (key, hostile)
            assert "User=root" not in text.splitlines()
            assert text.count("\nExecStartPre=") == commands
    assert tried == 0 or refused or FILTERED & set(render.values)


def test_every_value_that_others_choose_is_quoted() -> None:
    """They are not refused: a source with a blank is a source."""
    for render in renders():
        for key in FILTERED & set(render.values):
            hostile = 'a b" %i $HOME\n\\'
            changed = {**render.values, key: [hostile] if isinstance(render.values[key], list) else hostile}
            text = RENDERER.render(Render(render.deployment, render.unit, render.template, changed, render.facts))
            assert 'a b\\" %%i $$HOME' in text or 'Environment="MLFLOW' in text


def test_a_workspace_is_named_to_the_fetch_and_none_is_not() -> None:
    """Exactly where the settings have one."""
    ward = step_settings(Settings(registry=RegistrySettings(workspace="ward")))
    assert ' --workspace "ward"' in RENDERER.render(unit_values.fetch(RELEASE, ward))
    assert "workspace" not in RENDERER.render(unit_values.fetch(RELEASE, STEPS))


def test_a_template_of_ones_own_is_told_which_line_lacks_a_filter(tmp_path: Path) -> None:
    """And which filter."""
    template = tmp_path / "release" / "fetch.service.j2"
    template.parent.mkdir()
    template.write_text("[Service]\n\nExecStart=/bin/true {{ source }} {{ source|argument|upper }}\n")
    render = unit_values.fetch(Release("demo", 1, "models:/m 1", Parameters()), STEPS)
    with pytest.raises(RenderError) as refused:
        Renderer([tmp_path], lambda _unit, _text: None).render(render)
    assert str(refused.value) == (
        "cannot render mlflow-fetch@demo.1.service from release/fetch.service.j2:3: cannot write 'models:/m 1' "
        "unquoted; in the template, put a filter behind the value: |argument in an Exec line, |sentence in "
        "Description=, |quote in other settings"
    )


@pytest.mark.parametrize("value", [*BY_HAND, *NOT_FOR_UNITS])
def test_a_line_for_people_is_one_line_and_moves_nothing(value: str) -> None:
    """Whatever it holds; doing it twice changes nothing."""
    line = one_line(value)
    assert line.isprintable()
    assert len(line) <= 400
    assert one_line(line) == line
    assert printable(value).isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x\u05d0y", "x\\u05d0y"),
        ("\u0645", "\\u0645"),
        ("\U0001e900", "\\U0001e900"),
        ("\u202eevil\u202c", "evil"),
        ("\x1b]0;title\x07x", "]0;title x"),
        ("e\u0301", "e\u0301"),
        ("e" + "\u0301" * 4, "e\u0301\u0301\\u0301\\u0301"),
        ("a\r\nb\u2028c", "a b c"),
        ("http://user:secret@host/ token=abc", "http://host/ token=…"),
    ],
)
def test_what_would_reorder_or_paint_is_shown_as_what_it_is(text: str, shown: str) -> None:
    """Letters of right-to-left scripts, controls of direction, escape sequences, piles of marks, credentials."""
    assert one_line(text) == shown


def test_a_tags_key_is_one_that_mlflow_takes() -> None:
    """In characters and length."""
    assert tag_key("deployed.", "host/ä b") == "deployed.host---b"
    assert tag_key("deployed.", "") == "deployed.unnamed"
    assert len(tag_key("deployed.", "h" * 999)) == 250


@pytest.mark.parametrize("source", ["models:/\0", "models:/\ufffe", "models:/\ufdd0x"])
def test_one_model_that_no_unit_can_carry_fails_alone(world: World, source: str) -> None:
    """With the reason in its status; the others serve."""
    models = [
        {"name": name, "version": 1, "source": where, "selected_by": "stage:Production"}
        for name, where in (("bad", source), ("fine", "models:/m-1"))
    ]
    registry = {"schema": 1, "registry": "http://r", "read_at": "2026-01-01T00:00:00Z", "models": models}
    world.write_snapshot(registry)
    world.converge()
    status = world.status()
    assert status["fine"].state == "serving"
    assert (status["bad"].state, status["bad"].reason) == ("failed", "action-failed")
    assert "into a unit file; choose another value" in status["bad"].message


def test_a_template_that_is_put_in_front_of_a_shipped_one_is_used_at_once(tmp_path: Path) -> None:
    """And the shipped one again when it is gone."""
    renderer = Renderer([tmp_path, CHECKOUT / "templates"], lambda _unit, _text: None)
    slice_ = unit_values.slice_("demo", "native")
    shipped = renderer.render(slice_)
    own = tmp_path / slice_.template
    own.parent.mkdir()
    own.write_text("[Slice]\nMemoryMax=1G\n")
    assert "MemoryMax=1G" in renderer.render(slice_)
    own.unlink()
    assert renderer.render(slice_) == shipped
