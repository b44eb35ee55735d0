"""The reference and the man pages are what the code says; the transcripts are what the command prints."""

import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from reconciler.cli.terminal import columns
from reconciler.core.registry.host_abilities import Abilities
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import State
from reconciler.daemon import journal_messages
from tests.reference import journal, settings, states, tags
from tests.reference.pages import DOCS, PAGES
from tests.reference.transcripts import COLUMNS, scene
from tests.reference.words import words

MAN_PAGES = [DOCS / name for name in PAGES if name.startswith("man/")]


@pytest.mark.parametrize("name", list(PAGES))
def test_a_page_is_what_the_code_says(name: str) -> None:
    """`python -m tests.reference` writes it anew. docs/reference/states.md is also what the command prints now."""
    assert (DOCS / name).read_text() == PAGES[name]()


@pytest.mark.parametrize("man", MAN_PAGES, ids=lambda path: path.name)
def test_mandoc_finds_nothing_in_a_man_page(man: Path) -> None:
    """But that it has no date, which would be another one each time it is made."""
    if shutil.which("mandoc") is None:
        pytest.skip("needs Debian's package mandoc")
    found = subprocess.run(["mandoc", "-T", "lint", str(man)], capture_output=True, text=True, check=False)
    assert [line for line in found.stdout.splitlines() if not line.endswith('missing date, using "": TH')] == []


@pytest.mark.parametrize("man", MAN_PAGES, ids=lambda path: path.name)
def test_groff_warns_of_nothing_in_a_man_page(man: Path) -> None:
    """It is what shows the page on most hosts."""
    if shutil.which("groff") is None:
        pytest.skip("needs Debian's package groff-base")
    command = ["groff", "-man", "-Tutf8", "-P-cbou", "-ww", str(man)]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "SEE ALSO" in shown.stdout


@pytest.mark.parametrize("state", list(State))
def test_each_state_has_a_scene_of_its_own(state: State) -> None:
    """`python -m tests.reference.record` makes them."""
    recorded = scene(state)
    assert recorded.page.deployment.state is state
    assert recorded.page.deployment in recorded.status.deployments
    assert any(f"{recorded.name}: {state} since" in line for line in recorded.one())
    assert all(columns(line) <= COLUMNS for line in (*recorded.one(), *recorded.table()))


def test_every_word_has_its_sentence() -> None:
    """States, reasons, and what a host says of itself."""
    assert list(words(State)) == [state.name for state in State]
    assert list(words(Reason)) == [reason.name for reason in Reason]
    assert set(states.REASONS) == set(Reason)
    assert set(tags.STATES) == set(State)
    assert list(words(Abilities)) == [field.name for field in fields(Abilities)]


def test_every_setting_has_its_sentence() -> None:
    """In config.toml, above it or above those that it shares the sentence with; each section has one, too."""
    for section in settings.sections():
        assert section.about.endswith("."), section.name
        for group in section.groups:
            assert group.about.endswith("."), group.keys
            assert all(key.wanted for key in group.keys)


@pytest.mark.parametrize(
    ("section", "key", "default", "wanted"),
    [
        ("registry", "uri", '"http://h"', "an http:// or https:// address"),
        ("registry", "poll_interval", "10", "a whole number of seconds, at least 1 and at most 604800 (a week)"),
        ("registry", "report", "true", "true or false"),
        ("deploy", "address", '"127.0.0.1"', "an IPv4 or IPv6 address"),
        ("deploy", "port_range", "[1, 2]", "[lowest, highest] within 1024 and 65535"),
        ("deploy", "replicas", "1", "a whole number from 1 to 99"),
        ("deploy", "strategy", '"recreate"', "'hand-over' or 'recreate'"),
        ("policy", "devices", "[]", "a list, each the path of a device such as /dev/nvidia0"),
    ],
)
def test_what_a_key_may_be_is_what_the_program_says(section: str, key: str, default: str, wanted: str) -> None:
    """In its words, with its bounds."""
    assert settings.wanted(section, key, default) == wanted


def test_every_field_of_the_journal_is_explained() -> None:
    """Those that the code writes and the units add, and no others; each kind of event is in the catalog."""
    assert set(journal.FIELDS) == journal.written_fields()
    constants = {value for value in vars(journal_messages).values() if isinstance(value, str) and len(value) == 32}
    kinds = constants | {journal_messages.message_id(state) for state in State}
    assert {entry.id for entry in journal.catalog()} == kinds
