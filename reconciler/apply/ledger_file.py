"""The ledger on disk: one file of root's, replaced as a whole."""

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
        if self._aside is not None and self._path.exists():
            self._path.replace(self._aside)
        self._aside = None
        replace_file(self._path, ledger.model_dump_json(by_alias=True, indent=1).encode() + b"\n", 0o600)
        self.ledger = ledger
