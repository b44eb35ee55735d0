"""Reads pages: their blocks, the commands in them, what they show as printed, and the commands in a line of text."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT, CONSOLE = ("sh", "bash"), "console"
# Notes to the test; no reader of the page sees them.
_NOTE = re.compile(r"<!--\s*(not run: (?P<reason>\S.*?)|exits with (?P<status>\d+))\s*-->", re.DOTALL)
_LOOKS_LIKE_A_NOTE = re.compile(r"<!--\s*(not run|exits)")
_PROMPT = re.compile(r"([$#]) (\S.*)")
_TABLE_OF_COMMANDS = "reconciler …"
"""The head of a table whose first column leaves the first word out."""


class PageError(ValueError):
    """A page is not written as docs/style.md says."""


@dataclass(frozen=True)
class Block:
    """A block of a page, without its fences; one that is only indented has the language "indented"."""

    page: str
    line: int
    language: str
    text: str
    why_not_run: str = ""
    status: int = 0
    """What each command of it exits with."""

    @property
    def place(self) -> str:
        """Where a person finds it."""
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """Something to type, by root or by an ordinary person, and what the page shows as printed: maybe nothing."""

    place: str
    text: str
    by_root: bool
    printed: str = ""
    status: int = 0
    is_script: bool = False
    """It ends where one of its lines fails."""


@dataclass(frozen=True)
class Page:
    """What is read of a file."""

    name: str
    blocks: tuple[Block, ...]
    spans: tuple[tuple[int, str], ...]
    """Code within text, each with its line."""

    @property
    def commands(self) -> list[Command]:
        """Everything that is to be run, in order."""
        return [command for block in self.blocks if not block.why_not_run for command in commands_of(block)]


def documents() -> list[str]:
    """Every page for people, as paths from the checkout; the decisions and the changes are no instructions."""
    found = [path.relative_to(CHECKOUT) for path in CHECKOUT.joinpath("docs").rglob("*.md")]
    return ["README.md", "CONTRIBUTING.md", *sorted(str(path) for path in found if path.parts[1] != "adr")]


def read(name: str) -> Page:
    """Read one of `documents`. Raises PageError."""
    return parse(name, CHECKOUT.joinpath(name).read_text())


def parse(name: str, text: str) -> Page:
    """Read the text of a page. Raises PageError."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    return Page(name, tuple(_blocks(name, tokens)), tuple(_spans(tokens)))


def _blocks(name: str, tokens: list[Token]) -> Iterator[Block]:
    before: Token | None = None
    for token in tokens:
        note: re.Match[str] | None = _note(name, before) if before else None
        if token.type in ("fence", "code_block"):
            assert token.map is not None  # markdown-it says so of every block
            language = (token.info.split() or [""])[0] if token.type == "fence" else "indented"
            said: dict[str, str] = note.groupdict(default="") if note else {}
            reason = " ".join(said.get("reason", "").split())
            status = int(said.get("status") or 0)
            yield Block(name, token.map[0] + 1, language, token.content, reason, status)
        elif note:
            raise PageError(f"{name}:{_line(before)}: a note stands right before a block")
        before = token
    if before and _note(name, before):
        raise PageError(f"{name}:{_line(before)}: a note stands right before a block")


def _note(name: str, token: Token) -> re.Match[str] | None:
    if token.type != "html_block" or not _LOOKS_LIKE_A_NOTE.match(token.content):
        return None
    note = _NOTE.fullmatch(token.content.strip())
    if note is None:
        raise PageError(f"{name}:{_line(token)}: write <!-- not run: REASON --> or <!-- exits with STATUS -->")
    return note


def _line(token: Token | None) -> int:
    return token.map[0] + 1 if token and token.map else 0


def _spans(tokens: list[Token]) -> Iterator[tuple[int, str]]:
    line, first_word, column = 0, "", 0
    for token in tokens:
        line = _line(token) or line
        if token.type == "table_open":
            first_word = ""
        column = 0 if token.type == "tr_open" else column + (token.type in ("th_open", "td_open"))
        codes = [child.content for child in token.children or [] if child.type == "code_inline"]
        if column == 1 and codes == [_TABLE_OF_COMMANDS]:
            first_word = "reconciler "
            continue
        for code in codes:
            yield line, (first_word if column == 1 else "") + " ".join(code.split())
        if token.type == "table_close":
            first_word, column = "", 0


def commands_of(block: Block) -> Iterator[Command]:
    """Take a block apart. A script is one command of root's, without what it prints. Raises PageError."""
    if block.language in SCRIPT:
        yield Command(block.place, block.text, by_root=True, status=block.status, is_script=True)
    if block.language != CONSOLE:
        return
    lines = block.text.splitlines()
    if not lines or not _PROMPT.fullmatch(lines[0]):
        raise PageError(f"{block.place}: a console begins with `$ ` (anybody) or `# ` (root) and a command")
    while lines:
        prompt, typed = lines.pop(0).split(" ", 1)
        while typed.endswith("\\") and lines:
            typed += "\n" + lines.pop(0)
        printed = []
        while lines and not _PROMPT.fullmatch(lines[0]):
            printed.append(lines.pop(0))
        by_root = prompt == "#" or re.search(r"(^|\| )sudo ", typed) is not None
        yield Command(block.place, typed, by_root, "\n".join(printed), block.status)
