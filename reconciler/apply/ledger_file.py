"""The ledger on disk: one file of root's, replaced as a whole; its digests each in one for units to read."""

from collections.abc import Callable
from pathlib import Path

import structlog
from pydantic import ValidationError

from reconciler.apply.atomic import in_words, replace_file
from reconciler.core.ledger import Ledger

log = structlog.get_logger()


class LedgerFile:
    """What the reconciler must not forget, in memory as on disk."""

    def __init__(self, path: Path) -> None:
        """Go on from what `path` holds; a file that cannot be used is kept aside, for people, once it is replaced."""
        self._path = path
        self._pins = path.with_name("pins")
        self._aside: Path | None = None
        self.problem = ""
        """Why what is in force is not on disk, in a sentence."""
        self.ledger = self._read()
        self._on_disk = self.ledger
        self._shown = self.ledger.pins()

    def _read(self) -> Ledger:
        path = self._path
        try:
            return Ledger.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return Ledger(schema=1)
        except (OSError, ValidationError) as error:
            self._aside = path.with_name(f"{path.name}.unusable")
            log.error(  # noqa: TRY400 - the sentence says all; a traceback would say less
                f"cannot use {path}: {type(error).__name__}; what failed here may be tried once more"
            )
            return Ledger(schema=1)

    @property
    def unwritten(self) -> frozenset[str]:
        """The digests that no unit could compare with: nothing may be started that has to."""
        return frozenset(name for name, pin in self.ledger.pins().items() if self._shown.get(name) != pin)

    def write(self, ledger: Ledger) -> None:
        """Go by it from now on, and have it outlive the process as soon as the disk takes it."""
        self.ledger = ledger
        self.keep()

    def keep(self) -> None:
        """Try once more to write what could not be written; while that is so, `problem` says why."""
        problems = [problem for problem in (self._try(self._show_pins), self._try(self._replace)) if problem]
        problem = f"cannot write down what must not be forgotten: {problems[0]}" if problems else ""
        if problem and problem != self.problem:
            log.error(f"{problem}. It is in force, it is tried again, and a restart of the reconciler would forget it")
        elif self.problem and not problem:
            log.info("what must not be forgotten is written down again")
        self.problem = problem

    @staticmethod
    def _try(write: Callable[[], None]) -> str:
        try:
            write()
        except OSError as error:
            return in_words(error)
        return ""

    def _replace(self) -> None:
        if self.ledger == self._on_disk:
            return
        if self._aside is not None and self._path.exists():
            self._path.replace(self._aside)
        self._aside = None
        replace_file(self._path, self.ledger.model_dump_json(by_alias=True, indent=1).encode() + b"\n", 0o600)
        self._on_disk = self.ledger

    def _show_pins(self) -> None:
        """Write what is new, before it counts. What the ledger never knew stays: it may have been lost."""
        pins = self.ledger.pins()
        if pins == self._shown:
            return
        self._pins.mkdir(mode=0o755, exist_ok=True)
        for name in pins.keys() | self._shown.keys():
            if name not in pins:
                (self._pins / name).unlink(missing_ok=True)
                del self._shown[name]
            elif self._shown.get(name) != pins[name]:
                replace_file(self._pins / name, f"{pins[name]}\n".encode(), 0o644)
                self._shown[name] = pins[name]
        if not any(self._pins.iterdir()):
            self._pins.rmdir()
