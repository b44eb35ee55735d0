"""The ledger on disk: one file of root's, replaced as a whole; its digests each in one for units to read."""

from pathlib import Path

import structlog
from pydantic import ValidationError

from reconciler.apply.atomic import replace_file
from reconciler.core.ledger import Ledger

log = structlog.get_logger()


class LedgerFile:
    """What the reconciler must not forget, in memory as on disk."""

    def __init__(self, path: Path) -> None:
        """Go on from what `path` holds; a file that cannot be used is kept aside, for people, once it is replaced."""
        self._path = path
        self._pins = path.with_name("pins")
        self._aside: Path | None = None
        self.ledger = Ledger(schema=1)
        try:
            self.ledger = Ledger.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, ValidationError) as error:
            self._aside = path.with_name(f"{path.name}.unusable")
            log.error(  # noqa: TRY400 - the sentence says all; a traceback would say less
                f"cannot use {path}: {type(error).__name__}; what failed here may be tried once more"
            )

    def write(self, ledger: Ledger) -> None:
        """Replace what is remembered. Raises OSError, and then the former stays in force."""
        if ledger == self.ledger:
            return
        self._show_pins(ledger)
        if self._aside is not None and self._path.exists():
            self._path.replace(self._aside)
        self._aside = None
        replace_file(self._path, ledger.model_dump_json(by_alias=True, indent=1).encode() + b"\n", 0o600)
        self.ledger = ledger

    def _show_pins(self, ledger: Ledger) -> None:
        """Write what is new, before it counts. What the ledger never knew stays: it may have been lost."""
        pins, before = ledger.pins(), self.ledger.pins()
        if not pins.keys() | before.keys():
            return
        self._pins.mkdir(mode=0o755, exist_ok=True)
        for name, pin in pins.items():
            if before.get(name) != pin:
                replace_file(self._pins / name, f"{pin}\n".encode(), 0o644)
        for name in before.keys() - pins.keys():
            (self._pins / name).unlink(missing_ok=True)
        if not any(self._pins.iterdir()):
            self._pins.rmdir()
