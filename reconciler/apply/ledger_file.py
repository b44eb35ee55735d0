"""The ledger on disk: one file of root's, replaced as a whole; its digests each in one for units to read."""

from pathlib import Path

import structlog
from pydantic import ValidationError

from reconciler.apply.atomic import put_aside, replace_file
from reconciler.apply.foreign_file import MissingFileError, UnacceptableFileError, read_own_file
from reconciler.apply.pin_files import PinFiles
from reconciler.core.ledger import Ledger

MAX_LEDGER_BYTES = 64 * 1024 * 1024

log = structlog.get_logger()


class LedgerFile:
    """What the reconciler must not forget, in memory as on disk."""

    def __init__(self, path: Path) -> None:
        """Go on from what `path` holds; what cannot be used is put aside, for people, once it is replaced."""
        self._path = path
        self._pins = PinFiles(path.with_name("pins"))
        self._usable = True
        self.ledger = Ledger(schema=1)
        try:
            self.ledger = Ledger.model_validate_json(read_own_file(path, MAX_LEDGER_BYTES))
        except MissingFileError:
            return
        except (UnacceptableFileError, ValidationError) as error:
            self._usable = False
            why = str(error) if isinstance(error, UnacceptableFileError) else f"{path}: {error.error_count()} errors"
            log.error(  # noqa: TRY400 - the sentence says all; a traceback would say less
                f"cannot use the ledger: {why}; what failed here may be tried once more"
            )

    def write(self, ledger: Ledger) -> None:
        """Replace what is remembered. Raises OSError, and then the former stays in force."""
        if ledger == self.ledger:
            return
        self._show_pins(ledger)
        if not self._usable:
            put_aside(self._path)
            self._usable = True
        replace_file(self._path, ledger.model_dump_json(by_alias=True, indent=1).encode() + b"\n", 0o600)
        self.ledger = ledger

    def _show_pins(self, ledger: Ledger) -> None:
        """Write what is new, before it counts. What the ledger never knew stays: it may have been lost."""
        pins, before = ledger.pins(), self.ledger.pins()
        for name, pin in pins.items():
            if before.get(name) != pin:
                self._pins.show(name, pin)
        for name in before.keys() - pins.keys():
            self._pins.hide(name)

    def lost_pins(self) -> frozenset[str]:
        """Find the recorded digests that units are not shown as they are."""
        return self._pins.lost(self.ledger.pins())

    def show_pin(self, name: str) -> None:
        """Show a recorded digest again. Raises OSError."""
        if (pin := self.ledger.pins().get(name)) is not None:
            self._pins.show(name, pin)
