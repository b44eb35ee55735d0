"""The ledger on disk: one file of root's, replaced as a whole. Units read its digests from a file each."""

from collections.abc import Callable, Mapping
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
    """What the reconciler must not forget.

    Invariants: `ledger` is in force at once, on disk as soon as the disk takes it. A digest that units compare with
    counts only once its file is written (`unwritten`).
    """

    def __init__(self, path: Path) -> None:
        """Go on from what `path` holds; what cannot be used is put aside, for people, once it is replaced."""
        self._path = path
        self._pins = PinFiles(path.with_name("pins"))
        self._usable = True
        self._has_notes = False
        self.problem = ""
        """Why the ledger in force is not on disk, in a sentence; "" when it is."""
        self.ledger = self._read()
        self._on_disk = self.ledger
        self._pins_of: tuple[Ledger, dict[str, str]] = self.ledger, self.ledger.pins()
        self._shown = dict(self._pins_of[1])

    def _read(self) -> Ledger:
        try:
            return Ledger.model_validate_json(read_own_file(self._path, MAX_LEDGER_BYTES))
        except MissingFileError:
            return Ledger(schema=1)
        except (UnacceptableFileError, ValidationError) as error:
            # Kept until it is replaced: a person may save something of it.
            self._usable = False
            if isinstance(error, UnacceptableFileError):
                why = str(error)
            else:
                why = f"{self._path}: {error.error_count()} errors"
            log.error(  # noqa: TRY400 - the sentence says all; a traceback would say less
                f"cannot use the ledger: {why}; releases that failed here may be tried once more"
            )
            return Ledger(schema=1)

    @property
    def unwritten(self) -> frozenset[str]:
        """The digests without a file for units to compare with: nothing that needs one of them may be started."""
        return frozenset(self._unshown())

    def _unshown(self) -> list[str]:
        return [name for name, pin in self._recorded().items() if self._shown.get(name) != pin]

    def _recorded(self) -> Mapping[str, str]:
        """The digests of the ledger in force; each pass asks for them several times."""
        if self._pins_of[0] is not self.ledger:
            self._pins_of = self.ledger, self.ledger.pins()
        return self._pins_of[1]

    def write(self, ledger: Ledger) -> None:
        """Go by `ledger` from now on, and write it to the disk, now or with a later call of `keep`."""
        self.ledger = ledger
        self.keep()

    def note(self, ledger: Ledger) -> None:
        """Go by `ledger` from now on; the caller has it written by `keep_notes` before it does anything else.

        Notes come by the hundred when many deployments are rolled out, and each would write the whole file.
        """
        self.ledger = ledger
        self._has_notes = True

    def keep_notes(self) -> None:
        """Write to the disk what was noted since the last write, as `write` does."""
        if self._has_notes:
            self.keep()

    def keep(self) -> None:
        """Write to the disk what is not there yet; while that fails, `problem` says why."""
        self._has_notes = False
        # Both are tried: one may work where the other does not.
        problem_of_pins = self._try(self._show_pins)
        problem_of_ledger = self._try(self._replace)
        why = problem_of_pins or problem_of_ledger
        problem = f"cannot save the ledger: {why}" if why else ""
        if problem and problem != self.problem:
            log.error(f"{problem}. It is in force, it is tried again, and a restart of the reconciler would lose it")
        elif self.problem and not problem:
            log.info("the ledger is saved again")
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
        """Write what is new, before it counts. A file that the ledger never knew stays: the ledger may be lost."""
        pins = self._recorded()
        for name in self._unshown():
            self._pins.show(name, pins[name])
            self._shown[name] = pins[name]
        # A digest goes after the ledger no longer has it: no unit compares with it by then.
        for name in self._shown.keys() - pins.keys():
            self._pins.hide(name)
            del self._shown[name]

    def lost_pins(self) -> frozenset[str]:
        """Find the recorded digests that were written for units and whose files are missing or changed by now."""
        unwritten = self.unwritten
        written = {name: pin for name, pin in self._recorded().items() if name not in unwritten}
        return self._pins.lost(written)

    def show_pin(self, name: str) -> None:
        """Write the file of a recorded digest again. Raises OSError."""
        pin = self._recorded().get(name)
        if pin is not None:
            self._pins.show(name, pin)
            self._shown[name] = pin
