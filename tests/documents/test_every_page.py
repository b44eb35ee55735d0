"""What can be said of every page without a host: its commands exist, its settings are accepted, nothing is left out."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from reconciler.settings.load import SettingsError, load
from tests.documents.pages import Block, commands_of, documents, read
from tests.documents.words import complaint

NOT_RUN_AT_MOST = 40
# What people type begins with one of these.
TYPED = re.compile(
    r"\s*([$#] )?(sudo )?(apt-get|curl|docker|\./dev|install|journalctl|nats-bridge|openssl|pip|python3?|reconciler|rm"
    r"|ssh|systemctl|systemd-\w+) (?!.*\[OPTIONS\])"
)
DIGEST = "sha256:" + "0" * 64

pages = pytest.mark.parametrize("page", documents())


@pages
def test_every_command_of_ours_is_known_to_its_program(page: str) -> None:
    """In blocks and in text, also where it is not run: the program has the command and all options."""
    content = read(page)
    commands = [(command.place, command.text) for block in content.blocks for command in commands_of(block)]
    spans = [(f"{page}:{line}", code) for line, code in content.spans]
    wrong = [f"{place}: `{text}`: {why}" for place, text in commands + spans if (why := complaint(text))]
    assert not wrong, "\n".join(wrong)


@pages
def test_what_is_typed_stands_in_a_block_that_is_run(page: str) -> None:
    """A block without a language, or one that is only indented, would escape."""
    blocks = [block for block in read(page).blocks if block.language in ("", "indented", "text")]
    escaped = [block.place for block in blocks if any(map(TYPED.match, block.text.splitlines()))]
    assert not escaped, f"make it a block of `sh` or `console` (docs/style.md): {escaped}"


@pages
def test_settings_are_accepted(page: str, tmp_path: Path) -> None:
    """Every TOML block is a settings file for the product's own reader; `sha256:…` stands for a digest."""
    wrong = [why for block in read(page).blocks if block.language == "toml" and (why := refused(block, tmp_path))]
    assert not wrong, "\n".join(wrong)


def refused(block: Block, directory: Path) -> str:
    """Why the settings of a block are not accepted."""
    path = directory / "config.toml"
    path.write_text(block.text.replace("sha256:…", DIGEST))
    try:
        load(path)
    except SettingsError as error:
        return "" if block.why_not_run else f"{block.place}: {error}"
    return f"{block.place}: these settings are accepted; take the note away" if block.why_not_run else ""


@pages
def test_python_and_json_are_complete(page: str) -> None:
    """They can be copied: no syntax error."""
    for block in read(page).blocks:
        if block.language == "python" and not block.text.startswith(" "):
            compile(block.text, block.place, "exec")
        if block.language == "json":
            json.loads(block.text)
        if block.language == "toml":
            tomllib.loads(block.text)


def test_few_blocks_are_not_run() -> None:
    """Each has its reason; this counts them. Mend the page or the scene before the number is raised."""
    noted = [block.place for page in documents() for block in read(page).blocks if block.why_not_run]
    assert len(noted) <= NOT_RUN_AT_MOST, noted
