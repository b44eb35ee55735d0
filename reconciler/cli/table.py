"""Lays out tables: one line a row. Words that people copy are never broken; the last column takes what room is left."""

from collections.abc import Mapping, Sequence

from reconciler.cli.terminal import columns, cut, fold, pad, paint

SEPARATOR = "  "
_WIDEST = 28
"""Columns for which the first cell of a table makes room in all rows."""
_ROOM = 30
"""Columns that the last column needs at least to be worth reading beside the others."""
_INDENT = " " * 4


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int | None,
    colours: Mapping[str, str] | None = None,
    widest: int = _WIDEST,
) -> list[str]:
    """Lay out rows of printable text, one line each, cut to `width` columns; None: as long as they are.

    `colours`: of cells in the second column, by their text. A first cell of more than `widest` columns moves its own
    row only.
    """
    sizes = _sizes([headings, *rows], widest)
    return [_line(row, sizes, width, colours or {}) for row in (headings, *rows)]


def folded_table(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Lay out rows like `table`, with all of the last column: below its row in a narrow terminal."""
    sizes = _sizes([headings, *rows])
    before_last = sum(sizes[:-1]) + len(SEPARATOR) * (len(sizes) - 1)
    fits = width is None or before_last + sizes[-1] <= width
    if width is None or fits:
        return [_line(row, sizes, None, {}) for row in (headings, *rows)]
    if width - before_last >= _ROOM:
        return [line for row in (headings, *rows) for line in _hanging(row, sizes, before_last, width)]
    lines = [_line(headings[:-1], sizes, None, {})]
    for row in rows:
        lines.append(_line(row[:-1], sizes, None, {}))
        lines += [_INDENT + line for line in fold(row[-1], width - len(_INDENT)) if line]
    return lines


def _hanging(row: Sequence[str], sizes: Sequence[int], begin: int, width: int) -> list[str]:
    first, *more = fold(row[-1], width - begin)
    return [_line([*row[:-1], first], sizes, None, {}), *(" " * begin + line for line in more)]


def _sizes(lines: Sequence[Sequence[str]], widest: int = _WIDEST) -> list[int]:
    first, *others = zip(*lines, strict=True)
    usual = [columns(cell) for cell in first if columns(cell) <= widest]
    return [max(usual), *(max(columns(cell) for cell in column) for column in others)]


def _line(row: Sequence[str], sizes: Sequence[int], width: int | None, colours: Mapping[str, str]) -> str:
    """Lay out one row. What does not fit is left out from the right; the first cell is whole whatever happens."""
    plain = [pad(cell, size) for cell, size in zip(row[:-1], sizes, strict=False)] + [row[-1]]
    shown, left = [], width
    for number, cell in enumerate(plain):
        if left is not None:
            room = left - (len(SEPARATOR) if number else 0)
            needed = columns(cell.rstrip())
            is_last = number == len(plain) - 1
            if number and needed > room:
                if is_last and room > 1:
                    shown.append(cut(cell, room))
                break
            left = room - columns(cell)
        shown.append(cell)
    if len(shown) > 1:
        shown[1] = shown[1].replace(row[1], paint(row[1], colours.get(row[1], "")), 1)
    return SEPARATOR.join(shown).rstrip()
