"""What the settings of [build] come to in the units of steps, and which Pythons `reconciler check` names."""

import json
import sys
from pathlib import Path

import pytest

from reconciler.apply.render import Renderer
from reconciler.check import pythons
from reconciler.core.planner import unit_values
from reconciler.core.planner.actions import Render
from reconciler.core.state.release import Parameters, Release
from reconciler.core.units import paths
from reconciler.daemon.desired import step_settings
from reconciler.settings.model import BuildSettings, Settings
from reconciler.steps.python_list import offered

CHECKOUT = Path(__file__).resolve().parents[2]
RELEASE = Release("demo", 1, "models:/m-1", Parameters())
ENVIRONMENT = "0" * 32


def fetch(**build: object) -> Render:
    """The unit of a fetch with these settings."""
    return unit_values.fetch(RELEASE, step_settings(Settings(build=BuildSettings(**build))))  # type: ignore[arg-type]  # any keys


def built(**build: object) -> Render:
    """The unit of a build with these settings."""
    settings = step_settings(Settings(build=BuildSettings(**build)))  # type: ignore[arg-type]  # any keys
    return unit_values.build(RELEASE, ENVIRONMENT, settings)


def text_of(render: Render) -> str:
    """The text of a unit."""
    return Renderer([CHECKOUT / "templates"], lambda _unit, _text: None).render(render)


def test_a_version_that_was_refused_for_an_option_is_fetched_again_at_once() -> None:
    """The step is done for something else then; with the default it is done for what it always was."""
    assert " --ignore-index-options" in text_of(fetch(ignore_index_options=True))
    assert "ignore" not in text_of(fetch())
    assert fetch(ignore_index_options=True).facts.done_for != fetch().facts.done_for


def test_a_build_that_failed_for_its_python_is_tried_again_at_once() -> None:
    """With the settings' new value; the places of Pythons do not matter while none is downloaded."""
    managed = built(pythons="managed")
    found = {managed.facts.done_for, built().facts.done_for}
    found |= {built(pythons="managed", python_mirror="/srv/pythons").facts.done_for}
    found |= {built(pythons="managed", python_list="/etc/pythons.json").facts.done_for}
    assert len(found) == 4
    assert built(python_mirror="/srv/pythons").facts.done_for == built().facts.done_for


def test_only_a_build_that_may_download_a_python_can_run_one_from_elsewhere() -> None:
    """From a place of its own, in which no package comes; never from its environment."""
    plain, managed = (
        text_of(built()),
        text_of(built(pythons="managed", python_mirror="/srv/a b", python_list="/l.json")),
    )
    assert "pythons" not in plain
    assert "ExecPaths=/usr /opt/mlflow-reconciler\n" in plain
    assert (
        ' --pythons managed --unpack /var/lib/mlflow-deploy/pythons --python-mirror "/srv/a b" --python-list' in managed
    )
    assert "TemporaryFileSystem=/var/lib/mlflow-deploy/pythons:size=1G" in managed
    assert "ExecPaths=/usr /opt/mlflow-reconciler\n" in managed
    assert f"NoExecPaths=/ /tmp /var/tmp /dev/shm /var/lib/mlflow-deploy/environments/{ENVIRONMENT}\n" in managed


def test_only_usual_and_final_pythons_on_which_the_server_runs_are_offered() -> None:
    """Of what uv lists."""

    def one(version: str, implementation: str = "cpython", variant: str = "default") -> dict[str, object]:
        major, minor = version.split(".")[:2]
        parts = {"major": int(major), "minor": int(minor)}
        return {"version": version, "implementation": implementation, "variant": variant, "version_parts": parts}

    listed = [one("3.16.0a2"), one("3.14.1"), one("3.13.9"), one("3.9.25"), one("3.10.22"), one("3.13.1")]
    listed += [one("3.12.1", implementation="pypy"), one("3.15.1", variant="freethreaded")]
    assert offered(listed) == ["3.10", "3.13", "3.14"]


def test_check_names_the_pythons_that_models_may_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the host by their programs, which are not run; those that can be downloaded by uv's own list."""
    monkeypatch.setattr(pythons, "PLACES", (str(tmp_path), str(tmp_path / "none")))
    monkeypatch.setattr(paths, "PRODUCT_VENV", sys.prefix)
    for name, mode in (
        ("python3.9", 0o755),
        ("python3.12", 0o755),
        ("python3.13", 0o644),
        ("python3.11-config", 0o755),
    ):
        (tmp_path / name).write_text("#!/bin/false\n")
        (tmp_path / name).chmod(mode)
    assert pythons.pythons(Settings()) == pythons.Pythons(("3.12",), ())
    managed = pythons.pythons(Settings(build=BuildSettings(pythons="managed")))
    assert managed.here == ("3.12",)
    assert {"3.10", "3.11", "3.13"} <= set(managed.downloads)
    assert not {"3.8", "3.9", "3.12"} & set(managed.downloads)


def test_check_finds_a_list_that_no_build_would_use(tmp_path: Path) -> None:
    """And a mirror that is not there; while nothing is downloaded, neither matters."""
    unusable = tmp_path / "list.json"
    unusable.write_text(json.dumps({"cpython-3.12.1-linux-x86_64-gnu": {"sha256": None}}))
    places = {"python_list": str(unusable), "python_mirror": str(tmp_path / "none")}
    found = [*pythons.findings(Settings(build=BuildSettings(pythons="managed", **places)))]  # type: ignore[arg-type]  # texts
    assert [finding.what for finding in found] == [
        f"the list of Pythons {unusable} has no sha256 of cpython-3.12.1-linux-x86_64-gnu",
        f"there is no directory {tmp_path}/none",
    ]
    assert not [*pythons.findings(Settings(build=BuildSettings(**places)))]  # type: ignore[arg-type]  # texts
