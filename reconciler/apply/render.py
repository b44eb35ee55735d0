"""Renders units from templates and has systemd's own parser check them before they are used anywhere."""

import re
import subprocess
import tempfile
import traceback
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from reconciler.core.planner.actions import Render
from reconciler.core.text.quote import QuotingError, one_line, quote, quote_argument, quote_sentence, safe_token
from reconciler.core.units.unit_facts import UnitFacts, read_facts
from reconciler.files.atomic import in_words

if TYPE_CHECKING:  # a host that renders nothing does not carry jinja2: it is a tenth of the reconciler
    from jinja2 import Environment

SECTION = "[X-Mlflow-Reconciler]"
_SERVICE_OF_SOCKET = re.compile(r"^Service=([^/\s]+)$", re.MULTILINE)
OLDEST_SYSTEMD = 252
"""The oldest version that units are made for, of Debian 12; templates ask for `systemd` before they use newer keys."""
VERIFY_TIMEOUT = 30
"""Seconds; systemd-analyze takes 0.1 to 0.3 of them."""


class RenderError(Exception):
    """A unit cannot be rendered, or systemd would not accept it; the message begins with `cannot`."""


class Verifier(Protocol):
    """Checks a rendered unit."""

    def __call__(self, unit: str, text: str) -> None:
        """Raise RenderError when systemd would complain about the unit."""


class Renderer:
    """Renders units. A template of the host's own replaces the product's template of the same name."""

    def __init__(self, directories: Sequence[Path], verify: Verifier, systemd: int = OLDEST_SYSTEMD) -> None:
        """Look templates up in `directories`, first match wins. `systemd` is the version that reads the units."""
        self._verify = verify
        self._systemd = systemd
        self._directories = tuple(directories)
        self._own = directories[:-1]
        self._seen: frozenset[Path] = frozenset()

    @cached_property
    def _templates(self) -> "Environment":
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        templates = Environment(
            loader=FileSystemLoader(self._directories),
            undefined=StrictUndefined,
            autoescape=False,  # noqa: S701 - units are not HTML; the next line is to them what escaping is to HTML
            finalize=safe_token,
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        templates.filters.update(quote=quote, argument=quote_argument, sentence=quote_sentence)
        templates.globals["systemd"] = self._systemd
        return templates

    def render(self, action: Render) -> str:
        """Render a unit, add the section that marks it as ours, and verify it. Raises RenderError."""
        try:
            self._notice_new_templates()
            body = self._templates.get_template(action.template).render(action.values)
        except Exception as error:  # a template may raise anything
            raise RenderError(_why_not_rendered(action, error)) from error
        text = f"{body.rstrip()}\n\n{mark(action.facts)}"
        self._verify(action.unit, text)
        return text

    def _notice_new_templates(self) -> None:
        """Forget all templates when the host got or lost one of its own.

        Jinja reads a changed template again, but does not notice a new one that replaces a shipped one.
        """
        there = frozenset(path for directory in self._own for path in directory.rglob("*"))
        has_changed = there != self._seen
        if has_changed and self._templates.cache is not None:
            self._templates.cache.clear()
        self._seen = there


def _why_not_rendered(action: Render, error: Exception) -> str:
    # A value that no unit can carry is not the template's fault, and the error says what to do.
    remedy = "" if isinstance(error, QuotingError) else "; mend the template"
    place = f"{action.template}{_line_number(error)}"
    return f"cannot render {action.unit} from {place}: {one_line(str(error))}{remedy}"


def _line_number(error: Exception) -> str:
    """Return `:LINE`, the line of the template that raised an error, as far as Jinja knows; else ""."""
    number = getattr(error, "lineno", None)  # of an error in the template's syntax
    if number:
        return f":{number}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename.endswith(".j2")]
    return f":{lines[-1]}" if lines else ""


def mark(facts: UnitFacts) -> str:
    """Write the section that marks a unit as ours and keeps the facts that it was rendered from."""
    lines = [
        SECTION,
        "# Written by mlflow-reconciler, which undoes what is changed here. It is changed in /etc/mlflow-reconciler:",
        "# by settings in config.toml, or by a template of your own in templates/.",
    ]
    return "\n".join([*lines, *(f"{key}={value}" for key, value in facts.write().items())]) + "\n"


def facts_of(text: str) -> UnitFacts | None:
    """Read the facts back from a unit's text; None when the unit is not ours."""
    _, found, section = text.partition(f"\n{SECTION}\n")
    if not found:
        return None
    pairs = (line.partition("=") for line in section.splitlines() if "=" in line and not line.startswith("#"))
    return read_facts({key: value for key, _separator, value in pairs})


def verify_with_systemd(unit: str, text: str) -> None:
    """Run systemd-analyze verify. Raises RenderError with its complaints, or when it cannot be run."""
    try:
        _verify_with_systemd(unit, text)
    except OSError as error:
        where = "" if error.filename else f"{tempfile.gettempdir()}: "
        raise RenderError(f"cannot verify {unit}: {where}{in_words(error)}") from error


def _write_stand_ins(directory: Path, socket: str) -> None:
    """Write the services of a socket: systemd complains if they are missing, and they may be rendered later."""
    for service in _SERVICE_OF_SOCKET.findall(socket):
        (directory / service).write_text("[Service]\nExecStart=/bin/true\n")


def _verify_with_systemd(unit: str, text: str) -> None:
    with tempfile.TemporaryDirectory(prefix="verify-") as directory:
        path = Path(directory) / unit
        path.write_text(text, encoding="utf-8")
        if unit.endswith(".socket"):
            _write_stand_ins(Path(directory), text)
        command = ["systemd-analyze", "verify", "--man=no", "--generators=no", "--recursive-errors=no", str(path)]
        try:
            done = subprocess.run(  # noqa: S603 - a fixed program, a file of ours
                command, capture_output=True, encoding="utf-8", errors="replace", timeout=VERIFY_TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise RenderError(f"cannot verify {unit}: {error}") from error
    # It exits with 0 for unknown keys and types, so any line about the unit is a complaint.
    lines = (done.stderr + done.stdout).splitlines()
    complaints = [line for line in lines if directory in line or unit in line]
    if complaints or done.returncode:
        words = " ".join(complaints or (done.stderr or done.stdout).split("\n")).replace(f"{directory}/", "")
        raise RenderError(f"cannot use {unit} as rendered: {one_line(words, 500)}; mend the template")
