"""How pages are read, how a shown output is compared, how words are judged: the rules of docs/style.md."""

import pytest

from tests.documents.pages import Block, Command, PageError, commands_of, parse
from tests.documents.printed import is_like
from tests.documents.words import complaint


def of_console(text: str) -> list[Command]:
    """The commands of a console."""
    return list(commands_of(Block("page.md", 7, "console", text)))


def test_a_console_has_commands_of_two_people_and_what_they_see() -> None:
    """Root's prompt is #, and sudo is root, too."""
    found = of_console("$ one \\\n    more\na\n\nb\n# two\n$ sudo three\n$ four | sudo tee x\n")
    assert [(one.text, one.by_root, one.printed) for one in found] == [
        ("one \\\n    more", False, "a\n\nb"),
        ("two", True, ""),
        ("sudo three", True, ""),
        ("four | sudo tee x", True, ""),
    ]


def test_a_script_is_one_command() -> None:
    """It shows nothing."""
    assert list(commands_of(Block("page.md", 7, "sh", "a\nb\n"))) == [
        Command("page.md:7", "a\nb\n", by_root=True, is_script=True)
    ]


def test_what_is_no_command_is_not_run() -> None:
    """Settings, answers, pictures."""
    assert list(commands_of(Block("page.md", 7, "toml", "a = 1\n"))) == []
    with pytest.raises(PageError, match=r"^page\.md:7: a console begins with"):
        of_console("reconciler status\n")


def test_notes_belong_to_the_next_block() -> None:
    """Also in a list, with and without an empty line between."""
    text = (
        "<!-- not run: needs\na GPU -->\n\n```sh\nx\n```\n\n1. item\n\n"
        "   <!-- exits with 2 -->\n   ```console\n   $ y\n   ```\n\n```sh\nz\n```\n"
    )
    page = parse("page.md", text)
    assert [(block.why_not_run, block.status) for block in page.blocks] == [("needs a GPU", 0), ("", 2), ("", 0)]
    assert [(command.text, command.status) for command in page.commands] == [("y", 2), ("z\n", 0)]


@pytest.mark.parametrize(
    "text",
    [
        "<!-- not run: -->\n```sh\nx\n```\n",
        "<!-- not run: x -->\ntext\n",
        "<!-- exits with 1 -->\n",
        "<!-- exits -->\n```sh\nx\n```\n",
    ],
)
def test_a_note_that_says_nothing_is_refused(text: str) -> None:
    """No reason, no block."""
    with pytest.raises(PageError, match=r"^page\.md:1: "):
        parse("page.md", text)


def test_code_in_text_and_in_tables_is_read() -> None:
    """A table of the command's own words leaves the first word out, in its first column."""
    page = parse("page.md", "Type `reconciler\nstatus`.\n\n| `reconciler …` | |\n|---|---|\n| `plan` | `x` |\n\n`y`\n")
    assert [code for _, code in page.spans] == ["reconciler status", "reconciler plan", "x", "y"]


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("read 4 s ago", "read 2 min ago"),
        ("3.e9bde54b  2026-11-24\n", "12.1f0c3f79  2027-01-01"),
        ("212.4 MiB of 4 GiB", "1 B of 2.5 GiB"),
        ("3 d  212.4 MiB of 4.0 GiB  7", "5 s  -  -"),
        ("a long\n   line", "a long line"),
        ("first\n…", "first\nand more\nand more"),
        ("HTTP/1.1 200 OK\n…\nmodel-release: x", "HTTP/1.1 200 OK\r\na: b\r\nmodel-release: x\r\n"),
    ],
)
def test_figures_digests_and_line_ends_do_not_count(shown: str, printed: str) -> None:
    """What differs from run to run; `…` is any text."""
    assert is_like(shown, printed)


@pytest.mark.parametrize(
    ("shown", "printed"), [("serving", "failed"), ("one", "one two"), ("one … three", "one two"), ("face to", "4 to")]
)
def test_words_count(shown: str, printed: str) -> None:
    """All of them."""
    assert not is_like(shown, printed)


@pytest.mark.parametrize(
    "text",
    [
        "reconciler",
        "reconciler --help",
        "reconciler COMMAND --help",
        "reconciler status NAME --json",
        "reconciler suspend NAME [--for 2h or --until 2026-11-30T18:00] [--why TEXT]",
        "reconciler history --export >audit.jsonl",
        "_RECONCILER_COMPLETE=source_bash reconciler | sudo tee x",
        "./dev test -k rollout --tb=short",
        "python3 pipeline.py --name x \\\n  --update",
        "nats-bridge --help",
        "ls --reconciler",
    ],
)
def test_known_words_pass(text: str) -> None:
    """As pages write them."""
    assert complaint(text) == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("reconciler statsu", "no command statsu"),
        ("sudo reconciler plan --jsno", "--jsno"),
        ("reconciler status a b", "takes no b"),
        ("true && reconciler retry --to 3 x", "--to"),
        ("./dev tset", "no command tset"),
        ("./dev demo --audoi", "no --audoi"),
        ("pipeline.py --nmae x", "no --nmae"),
        ("python -m tests.missing", "no module"),
    ],
)
def test_unknown_words_are_found(text: str, why: str) -> None:
    """Each program's own answer."""
    assert why in complaint(text)
