"""The part of docs/compatibility.md that is written by trials: one row for each package, and what fails."""

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path

from tests.compatibility.trial import Measured
from tests.host.host import CHECKOUT

DOCUMENT = CHECKOUT / "docs/compatibility.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
HEAD = "| package | version | on disk | cold | warm | memory | threads | result |\n|---|---|---|---|---|---|---|---|\n"
ROW = re.compile(r"^\| ([\w-]+) \|.*\|$", re.MULTILINE)
FAILURE = re.compile(r"^- ([\w-]+): .*(?:\n  .*)*$", re.MULTILINE)
MEBIBYTE = 1024**2
COLUMNS = 120


def row(name: str, measured: Measured) -> str:
    """The row of a package whose answers were all right."""
    cells = (
        name,
        measured.version,
        f"{measured.environment / MEBIBYTE:.0f} MiB",
        f"{measured.cold:.1f} s",
        f"{measured.warm:.1f} s",
        f"{measured.memory / MEBIBYTE:.0f} MiB",
        str(measured.threads),
        "right",
    )
    return f"| {' | '.join(cells)} |"


def failed_row(name: str) -> str:
    """The row of a package that fails; the sentence is in the list below the table."""
    return f"| {name} | | | | | | | fails, see below |"


def failure(name: str, why: str) -> str:
    """What fails, as an item of the list below the table."""
    plain = why.replace("<", "&lt;").replace("|", "&#124;")
    return textwrap.fill(
        f"{name}: {plain}", COLUMNS, initial_indent="- ", subsequent_indent="  ", break_long_words=True
    )


def update(text: str, machine: str, results: Mapping[str, Measured | str], order: list[str]) -> str:
    """Return the document with new results (a sentence is a failure), in the order of the names; others stay."""
    before, _, rest = text.partition(BEGIN)
    written, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"cannot write the table: the document has no {BEGIN} … {END}; put them back")
    rows = {match[1]: match[0] for match in ROW.finditer(written) if match[1] != "package"}
    failures = {match[1]: match[0] for match in FAILURE.finditer(written)}
    for name, result in results.items():
        failures.pop(name, None)
        if isinstance(result, Measured):
            rows[name] = row(name, result)
        else:
            rows[name], failures[name] = failed_row(name), failure(name, result)
    known = [name for name in order if name in rows]
    table = HEAD + "".join(f"{rows[name]}\n" for name in known)
    sentences = "\n".join(failures[name] for name in known if name in failures)
    listed = f"\n{sentences}\n" if sentences else ""
    return f"{before}{BEGIN}\n\n{textwrap.fill(machine, COLUMNS)}\n\n{table}{listed}\n{END}{after}"


def write(machine: str, results: Mapping[str, Measured | str], order: list[str], document: Path = DOCUMENT) -> None:
    """Bring the document up to date."""
    document.write_text(update(document.read_text(), machine, results, order))
