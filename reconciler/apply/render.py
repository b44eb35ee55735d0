"""Renders units from templates and has systemd's own parser check them before they are used anywhere."""

import re
import subprocess
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reconciler.core.planner.actions import Render
from reconciler.core.text.quote import QuotingError, one_line, quote, quote_argument, quote_sentence, safe_token
from reconciler.core.units.unit_facts import UnitFacts, read_facts
from reconciler.files.atomic import in_words

SECTION = "[X-Mlflow-Reconciler]"
_SERVICE_OF_SOCKET = re.compile(r"^Service=([^/\s]+)$", re.MULTILINE)
VERIFY_TIMEOUT = 30
"""Seconds; systemd-analyze takes 0.1 to 0.3 of them."""


class RenderError(Exception):
    """A unit that cannot be rendered or that systemd would not take; the message begins with `cannot`."""


class Verifier(Protocol):
    """Checks a rendered unit."""

    def __call__(self, unit: str, text: str) -> None:
        """Raise RenderError when systemd would complain about the unit."""


class Renderer:
    """Templates of the product, with the host's own in front of them."""

    def __init__(self, directories: Sequence[Path], verify: Verifier) -> None:
        """Look templates up in `directories`, first match wins."""
        self._verify = verify
        self._own = directories[:-1]
        self._seen: frozenset[Path] = frozenset()
        self._environment = Environment(
            loader=FileSystemLoader(directories),
            undefined=StrictUndefined,
            autoescape=False,  # noqa: S701 - units are not HTML; the next line is to them what escaping is to HTML
            finalize=safe_token,
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(quote=quote, argument=quote_argument, sentence=quote_sentence)

    def render(self, action: Render) -> str:
        """Render, mark as ours, verify. Raises RenderError."""
        try:
            self._notice_new_templates()
            body = self._environment.get_template(action.template).render(action.values)
        except Exception as error:
            # A value that no unit can carry is not the template's fault, and the error says what to do.
            mend = "" if isinstance(error, QuotingError) else "; mend the template"
            why = one_line(str(error))
            raise RenderError(
                f"cannot render {action.unit} from {action.template}{_line(error)}: {why}{mend}"
            ) from error
        text = f"{body.rstrip()}\n\n{mark(action.facts)}"
        self._verify(action.unit, text)
        return text

    def _notice_new_templates(self) -> None:
        """Jinja reads a changed template again, but goes on with one that another now stands in front of."""
        there = frozenset(path for directory in self._own for path in directory.rglob("*"))
        if there != self._seen and self._environment.cache is not None:
            self._environment.cache.clear()
        self._seen = there


def _line(error: Exception) -> str:
    """Say on which line of a template it went wrong, as far as Jinja knows."""
    if line := getattr(error, "lineno", None):
        return f":{line}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(".j2")]
    return f":{lines[-1]}" if lines else ""


def mark(facts: UnitFacts) -> str:
    """Write the section that says whose unit this is and what it was rendered from."""
    lines = [
        SECTION,
        "# Written by mlflow-reconciler, which undoes what is changed here. It is changed in /etc/mlflow-reconciler:",
        "# by settings in config.toml, or by a template of your own in templates/.",
    ]
    return "\n".join([*lines, *(f"{key}={value}" for key, value in facts.write().items())]) + "\n"


def facts_of(text: str) -> UnitFacts | None:
    """Read the facts back; None when the unit is not ours."""
    _, found, section = text.partition(f"\n{SECTION}\n")
    if not found:
        return None
    pairs = (line.partition("=") for line in section.splitlines() if "=" in line and not line.startswith("#"))
    return read_facts({key: value for key, _, value in pairs})


def verify_with_systemd(unit: str, text: str) -> None:
    """Run systemd-analyze verify; it exits 0 for unknown keys and types, so any word about the unit is a complaint."""
    try:
        _verify_with_systemd(unit, text)
    except OSError as error:
        where = "" if error.filename else f"{tempfile.gettempdir()}: "
        raise RenderError(f"cannot verify {unit}: {where}{in_words(error)}") from error


def _verify_with_systemd(unit: str, text: str) -> None:
    with tempfile.TemporaryDirectory(prefix="verify-") as directory:
        path = Path(directory) / unit
        path.write_text(text, encoding="utf-8")
        for service in _SERVICE_OF_SOCKET.findall(text) if unit.endswith(".socket") else ():
            # A socket without its service is a complaint, and the service may be rendered after it.
            (Path(directory) / service).write_text("[Service]\nExecStart=/bin/true\n")
        command = ["systemd-analyze", "verify", "--man=no", "--generators=no", "--recursive-errors=no", str(path)]
        try:
            done = subprocess.run(  # noqa: S603 - a fixed program, a file of ours
                command, capture_output=True, encoding="utf-8", errors="replace", timeout=VERIFY_TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise RenderError(f"cannot verify {unit}: {error}") from error
    complaints = [line for line in (done.stderr + done.stdout).splitlines() if directory in line or unit in line]
    if complaints or done.returncode:
        words = " ".join(complaints or (done.stderr or done.stdout).split("\n")).replace(f"{directory}/", "")
        raise RenderError(f"cannot use {unit} as rendered: {one_line(words, 500)}; mend the template")
