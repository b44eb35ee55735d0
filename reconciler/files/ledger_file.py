"""The ledger on disk: one file of root's, replaced as a whole; its digests each in one for units to read."""

from collections.abc import Callable
from pathlib import Path

import structlog
from pydantic import ValidationError

from reconciler.core.state.ledger import Ledger
from reconciler.files.atomic import in_words, put_aside, replace_file
from reconciler.files.pin_files import PinFiles
from reconciler.files.untrusted import MissingFileError, UnacceptableFileError, read_own_file

MAX_LEDGER_BYTES = 64 * 1024 * 1024

log = structlog.get_logger()


class LedgerFile:
    """What the reconciler must not forget, in memory as on disk."""

    def __init__(self, path: Path) -> None:
        """Go on from what `path` holds; what cannot be used is put aside, for people, once it is replaced."""
        self._path = path
        self._pins = PinFiles(path.with_name("pins"))
        self._usable = True
        self.problem = ""
        """Why what is in force is not on disk, in a sentence."""
        self.ledger = self._read()
        self._on_disk = self.ledger
        self._shown = self.ledger.pins()

    def _read(self) -> Ledger:
        try:
            return Ledger.model_validate_json(read_own_file(self._path, MAX_LEDGER_BYTES))
        except MissingFileError:
            return Ledger(schema=1)
        except (UnacceptableFileError, ValidationError) as error:
            self._usable = False
            why = (
                str(error)
                if isinstance(error, UnacceptableFileError)
                else f"{self._path}: {error.error_count()} errors"
            )
            log.error(  # noqa: TRY400 - the sentence says all; a traceback would say less
                f"cannot use the ledger: {why}; what failed here may be tried once more"
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
        if not self._usable:
            put_aside(self._path)
            self._usable = True
        replace_file(self._path, self.ledger.model_dump_json(by_alias=True, indent=1).encode() + b"\n", 0o600)
        self._on_disk = self.ledger

    def _show_pins(self) -> None:
        """Write what is new, before it counts. What the ledger never knew stays: it may have been lost."""
        pins = self.ledger.pins()
        for name in [name for name, pin in pins.items() if self._shown.get(name) != pin]:
            self._pins.show(name, pins[name])
            self._shown[name] = pins[name]
        for name in self._shown.keys() - pins.keys():
            self._pins.hide(name)
            del self._shown[name]

    def lost_pins(self) -> frozenset[str]:
        """Find the recorded digests that were written, and that units are no longer shown as they are."""
        unwritten = self.unwritten
        return self._pins.lost({name: pin for name, pin in self.ledger.pins().items() if name not in unwritten})

    def show_pin(self, name: str) -> None:
        """Show a recorded digest again. Raises OSError."""
        if (pin := self.ledger.pins().get(name)) is not None:
            self._pins.show(name, pin)
            self._shown[name] = pin
