"""Turns the sentences of the code into Markdown and into the language of man pages.

The sentences mark code with backquotes, and nothing else.
"""

import re
import textwrap
from collections.abc import Iterable

COLUMNS = 120
_MAN_COLUMNS = 78
MADE = "<!-- Made from the code: `python -m tests.reference` writes this page. Change the code, not the page. -->"
_PAGE = re.compile(r"\bdocs/([\w-]+\.md)")


def markdown(text: str, folder: str = "../") -> str:
    """Write a sentence as Markdown; names of pages become links. `folder` leads from the page to docs/."""
    parts = text.split("`")
    for number in range(0, len(parts), 2):
        plain = parts[number].replace("&", "&amp;").replace("<", "&lt;").replace("*", r"\*")
        parts[number] = _PAGE.sub(rf"[\1]({folder}\1)", plain)
    return "`".join(parts)


def fold(text: str, begin: str = "", indent: str = "") -> str:
    """Fold a text at blanks, as Markdown has it."""
    wrapped = textwrap.wrap(
        text,
        COLUMNS,
        initial_indent=begin,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(wrapped)


def item(head: str, text: str) -> str:
    """Write an item of a list."""
    return fold(f"{head}: {text}", "- ", "  ")


def page(*blocks: str | Iterable[str]) -> str:
    """Put blocks together to a page, with a blank line between two of them; lines of one block stay together."""
    told = (block if isinstance(block, str) else "\n".join(block) for block in blocks)
    return "\n\n".join(block for block in told if block) + "\n"


def roff(text: str) -> str:
    """Write a sentence for man(7), in short lines and with what is code in bold."""
    parts = [_escaped(part) for part in text.split("`")]
    for number in range(1, len(parts), 2):
        parts[number] = rf"\fB{parts[number]}\fR"
    lines = textwrap.wrap("".join(parts), _MAN_COLUMNS, break_long_words=False, break_on_hyphens=False)
    # A line that begins with one of these is a command.
    return "\n".join(rf"\&{line}" if line.startswith((".", "'")) else line for line in lines)


def _escaped(text: str) -> str:
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace('"', r"\(dq").replace("^", r"\(ha")
    return escaped.replace("~", r"\(ti").replace("…", r"\&...")
