"""The server overrides uvicorn's internals: it runs with the versions that were tested, and refuses others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from uvicorn.protocols.http.h11_impl import H11Protocol

from modelserver.errors import CannotServeError
from modelserver.http.uvicorn_check import check_internals
from tests.modelserver.process import OTHER_PACKAGES, ROOT

BOUNDED = ("uvicorn", "h11")
LOCKS = ("requirements.lock", "requirements-dev.lock", "modelserver/requirements.lock")
# What depends on how uvicorn and h11 read requests, close connections and stop: a part of it that takes a minute, and
# the rest, which takes many.
ESSENTIAL = (
    "test_hostile_input.py::test_what_is_no_request_of_this_server_is_refused",
    "test_hostile_input.py::test_nothing_is_answered_after_a_bare_line_feed",
    "test_hostile_input.py::test_what_follows_the_last_request_of_a_connection_means_nothing",
    "test_hostile_input.py::test_nothing_is_answered_after_a_chunk_that_does_not_end_as_it_should",
    "test_hostile_input.py::test_chunks_and_trailers_that_end_as_they_should_are_read",
    "test_hostile_input.py::test_a_browser_that_a_foreign_name_led_here_is_refused",
    "test_hostile_input.py::test_a_second_request_hidden_in_the_first_is_not_answered",
    "test_status_line.py",
    "test_standby.py",
)
THE_REST = (
    "test_floods.py::test_slowloris",
    "test_floods.py::test_slow_heads_on_kept_connections",
    "test_floods.py::test_ten_thousand_idle_connections",
    "test_floods.py::test_a_gigabyte_in_chunks",
    "test_floods.py::test_bodies_that_fill_the_memory_for_bodies_and_stop",
    "test_floods.py::test_clients_that_do_not_read_their_answers",
    "test_floods.py::test_a_newcomer_is_sent_away_when_everybody_is_being_answered",
    "test_floods.py::test_only_peers_are_spoken_to",
    "test_predict.py",
    "test_drain.py",
    "test_idle.py",
)


def bounds(package: str) -> tuple[Version, Version]:
    """The oldest version of `package` that the server runs with, and the first one that it does not."""
    lines = (ROOT / "modelserver/requirements.txt").read_text().splitlines()
    needs = [Requirement(line) for line in lines if not line.startswith("#")]
    (specifiers,) = (need.specifier for need in needs if need.name == package)
    by_operator = {specifier.operator: Version(specifier.version) for specifier in specifiers}
    return by_operator[">="], by_operator["<"]


@pytest.mark.parametrize("package", BOUNDED)
def test_the_newest_version_that_is_allowed_is_the_one_that_all_tests_run_with(package: str) -> None:
    """So the other tests are those of the upper end. `./dev lock` takes no newer one before the bound is raised."""
    _, too_new = bounds(package)
    tested = Version(version(package))
    assert too_new == Version(f"{tested.major}.{tested.minor + 1}")
    for lock in LOCKS:
        locked = re.findall(rf"^{package}==(\S+)", (ROOT / lock).read_text(), re.MULTILINE)
        assert {Version(text) for text in locked} == {tested}, lock


@pytest.mark.by_hand
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("files", [ESSENTIAL, THE_REST], ids=["essential", "the rest"])
def test_requests_are_read_answered_and_refused_alike_with_the_oldest_versions(
    tmp_path: Path, files: tuple[str, ...]
) -> None:
    """The lower end: the tests that matter run again, against servers that import these versions."""
    oldest = {package: bounds(package)[0] for package in BOUNDED}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    needs = [f"{package}=={number}" for package, number in oldest.items()]
    uv = Path(sys.executable).with_name("uv")
    installed = subprocess.run(
        [uv, "pip", "install", "--quiet", "--no-deps", "--target", tmp_path, *needs],
        env={"UV_SYSTEM_CERTS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if re.search("error sending request|dns error|tcp connect error|timed out", installed.stderr):
        pytest.skip(f"needs the package index: {installed.stderr}")
    assert installed.returncode == 0, installed.stderr
    for package in BOUNDED:
        imported = f"import {package}; print({package}.__version__, {package}.__file__)"
        command = [sys.executable, "-c", imported]
        shown = subprocess.check_output(command, env={**environment, "PYTHONPATH": str(tmp_path)}, text=True)
        number, _, file = shown.strip().partition(" ")
        assert Version(number) == oldest[package]
        assert Path(file).is_relative_to(tmp_path)
    tests = [f"tests/modelserver/{name}" for name in files]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *tests],
        cwd=ROOT,
        env={**environment, OTHER_PACKAGES: str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    print(ran.stdout.strip().rpartition("\n")[2])  # noqa: T201 - how many there were
    assert ran.returncode == 0, ran.stdout


def test_an_unknown_uvicorn_is_refused_before_the_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the names that it does not have; the one that is installed has all of them."""
    check_internals()
    monkeypatch.delattr(H11Protocol, "send_400_response")
    with pytest.raises(CannotServeError, match=r"^cannot serve with uvicorn .*\.send_400_response; install "):
        check_internals()


def test_a_uvicorn_that_is_put_together_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a sentence, not as a traceback."""

    def other(_self: object, _configuration: object) -> None:
        """Takes something else."""

    monkeypatch.setattr(H11Protocol, "__init__", other)
    with pytest.raises(CannotServeError, match=r"^cannot serve with uvicorn .*TypeError.*; install "):
        check_internals()
