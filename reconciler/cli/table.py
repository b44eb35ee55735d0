"""Prints tables: for a terminal with rich, which folds and colours them; for a program one line a row.

Programs ask often, and rich takes longer for a thousand rows than all else that `reconciler status` does.
"""

import sys
from collections.abc import Collection, Mapping, Sequence

SEPARATOR = "  "


def print_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    foldable: Collection[str],
    colours: Mapping[str, str] | None = None,
) -> None:
    """Print rows of printable text. On a terminal, only the columns in `foldable` may be broken into lines.

    `colours`: of cells, by their text.
    """
    if sys.stdout.isatty():
        _print_folded(headings, rows, foldable, colours or {})
    else:
        _print_lines([headings, *rows])


def print_line(text: str, colour: str = "") -> None:
    """Print one line of printable text."""
    if not sys.stdout.isatty():
        sys.stdout.write(f"{text}\n")
        return
    from rich.console import Console
    from rich.text import Text

    Console(markup=False, emoji=False, highlight=False).print(Text(text, colour))


def _print_lines(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        sys.stdout.write(SEPARATOR.join(cells).rstrip() + "\n")


def _print_folded(
    headings: Sequence[str], rows: Sequence[Sequence[str]], foldable: Collection[str], colours: Mapping[str, str]
) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading not in foldable)
    for row in rows:
        # As it is: names and messages come from others, so nothing in them is markup.
        table.add_row(*(Text(cell, colours.get(cell, "")) for cell in row))
    Console(markup=False, emoji=False, highlight=False).print(table)
