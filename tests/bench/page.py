"""Writes docs/benchmarks.md and its pictures from the JSON of a run, and from nothing else."""

import html
import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from tests.bench.figures import OURS, Figure, Goal

HEAD = """# Benchmarks

`./dev bench` measures all of this beside other servers and writes this page from
[benchmarks.json](benchmarks.json), which has every sample. All servers of a row take turns within one run, after one
round that warms up. A figure is the median of the rounds. Compare ratios, not figures: the machine is shared, and yours
is another one. `beside ours` is the other figure divided by ours: below 1 x is worse than ours for requests per second,
above 1 x is worse for times and memory.

{machine}

Nothing is set up for the measurement that a user does not have by default, except where the row names it. The model is
scikit-learn's LogisticRegression with four columns and a signature, saved by MLflow. Every server has one process and
its own defaults; MLServer has `parallel_workers: 0`, which is its fastest way for one model, and BentoML a service of a
few lines around MLflow's model. Load comes from wrk on the same machine. The versions of the packages are in
`tests/bench/peers/`.
"""


def document(figures: Sequence[Figure], goals: Sequence[Goal], machine: str) -> str:
    """The JSON of a run."""
    content = {"machine": machine, "figures": [*map(asdict, figures)], "goals": [*map(asdict, goals)]}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def read(text: str) -> tuple[list[Figure], list[Goal], str]:
    """What `document` wrote."""
    content = json.loads(text)
    figures = [Figure(**{**found, "samples": tuple(found["samples"])}) for found in content["figures"]]
    return figures, [Goal(**found) for found in content["goals"]], content["machine"]


def merged(old: Sequence[Any], new: Sequence[Any]) -> list[Any]:
    """Figures or goals of two runs: a row of the new one takes the place of that row in the old one."""
    by_row: dict[str, list[Any]] = {}
    for found in old:
        by_row.setdefault(found.row, []).append(found)
    for row in {found.row for found in new}:
        by_row[row] = []
    for found in new:
        by_row[found.row].append(found)
    return [*chain.from_iterable(by_row.values())]


def render(figures: Sequence[Figure], goals: Sequence[Goal], machine: str, notes: str) -> str:
    """The page; `notes` are the sentences on rows that are not reached."""
    rows: dict[str, list[Figure]] = {}
    for figure in figures:
        rows.setdefault(figure.row, []).append(figure)
    by_row = {goal.row: goal for goal in goals}
    lines = [HEAD.format(machine=textwrap.fill(machine, 120)), "![Requests per second](benchmarks-rate.svg)", ""]
    for row, found in rows.items():
        lines += _row(row, found, by_row.get(row))
    return "\n".join([*lines, *([notes.strip(), ""] if notes.strip() else [])])


def reached(goal: Goal, found: Sequence[Figure]) -> tuple[bool, float]:
    """Whether a row came to its goal, and to what: in the row's unit, or as ours in terms of the peer's."""
    ours = next(figure for figure in found if figure.subject == OURS)
    value = ours.median
    if goal.peer:
        value /= next(figure for figure in found if figure.subject.startswith(goal.peer)).median
    return (value >= goal.bound if goal.is_lowest else value <= goal.bound), value


def _row(row: str, found: Sequence[Figure], goal: Goal | None) -> list[str]:
    ours = next((figure.median for figure in found if figure.subject == OURS), None)
    told = f"**{row[0].upper()}{row[1:]}**"
    lines = [*_wrapped(f"{told}; {_aim(goal, found)}" if goal else told), ""]
    lines += ["| who | median | least to most | beside ours |", "|---|---|---|---|"]
    for figure in found:
        spread = f"{_number(min(figure.samples))} to {_number(max(figure.samples))}"
        is_ours = figure.subject == OURS
        ratio = "" if is_ours or not ours or not figure.median else f"{_number(figure.median / ours)} x"
        lines.append(f"| {figure.subject} | {_number(figure.median)} {figure.unit} | {spread} | {ratio} |")
    remarks = [f"{figure.subject}: {figure.remark}." for figure in found if figure.remark]
    return [*lines, "", *([*_wrapped(" ".join(remarks)), ""] if remarks else [])]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 120, break_long_words=False, break_on_hyphens=False)


def _aim(goal: Goal, found: Sequence[Figure]) -> str:
    is_reached, value = reached(goal, found)
    ours = next(figure for figure in found if figure.subject == OURS)
    unit = "" if goal.peer else f" {ours.unit}".rstrip()
    bound = f"{'at least' if goal.is_lowest else 'at most'} {_number(goal.bound)}{unit}"
    of = f" x {goal.peer}" if goal.peer else ""
    return f"goal: {bound}{of}; it is {_number(value)}{unit}, {'reached' if is_reached else '**not reached**'}."


def _number(value: float) -> str:
    if value and abs(value) < 0.01:
        return f"{value:.2g}"
    return f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) < 100 else f"{value:,.0f}"


def bars(title: str, figures: Mapping[str, float], unit: str) -> str:
    """A bar chart as SVG, readable on a light and on a dark page."""
    height, longest = 26, max([*figures.values(), 1e-9])
    parts = []
    for at, (name, value) in enumerate(figures.items()):
        top, width = 34 + at * height, max(2, round(330 * value / longest))
        parts.append(f'<text x="252" y="{top + 14}" text-anchor="end">{html.escape(name)}</text>')
        parts.append(f'<rect x="260" y="{top}" width="{width}" height="18" rx="2" fill="#3b7dd8"/>')
        parts.append(f'<text x="{266 + width}" y="{top + 14}">{_number(value)}</text>')
    size = 40 + len(figures) * height
    style = "text{font:13px sans-serif;fill:#24292f}@media(prefers-color-scheme:dark){text{fill:#e6edf3}}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 680 {size}" role="img">'
    label = html.escape(f"{title}, {unit}")
    return "\n".join(
        [
            head,
            f"<title>{label}</title><style>{style}</style>",
            f'<text x="8" y="18">{label}</text>',
            *parts,
            "</svg>",
            "",
        ]
    )


def rate_picture(figures: Sequence[Figure]) -> str:
    """Requests per second at 8 connections, of every server and of ours with deploy.batch."""
    row = "requests per second, one row of JSON, 8 connections"
    shown = {figure.subject: figure.median for figure in figures if figure.row == row}
    batch = [found.median for found in figures if found.row == f"{row}, deploy.batch" and found.subject == OURS]
    if batch:
        shown = {f"{OURS}, deploy.batch": batch[0], **shown}
    return bars("One row of JSON, 8 connections", shown, "requests per second")


def write(json_file: Path, directory: Path) -> None:
    """Write the page and its pictures for a JSON file; the notes beside it are `benchmarks-notes.md`."""
    figures, goals, machine = read(json_file.read_text())
    notes = directory / "benchmarks-notes.md"
    said = notes.read_text() if notes.exists() else ""
    (directory / "benchmarks.md").write_text(render(figures, goals, machine, said))
    (directory / "benchmarks-rate.svg").write_text(rate_picture(figures))
