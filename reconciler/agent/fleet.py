"""Writes what all hosts report into a file for `reconciler status --fleet`. Nothing is decided by it."""

from pathlib import Path

import structlog

from reconciler.core.registry.elsewhere import fleet
from reconciler.core.registry.reading import RegistryReading
from reconciler.core.state.fleet import Fleet
from reconciler.files.atomic import in_words, replace_file

log = structlog.get_logger()


class FleetTeller:
    """Keeps one file in step with the readings. A failure is logged once, and tried again with the next reading."""

    def __init__(self, file: Path) -> None:
        """Nothing was written yet, as far as this process knows."""
        self._file = file
        self._written: Fleet | None = None
        self._failed = False

    def tell(self, reading: RegistryReading) -> None:
        """Write the file if hosts say something else than in the reading before."""
        now = fleet(reading)
        if now == self._written and self._file.exists():
            return
        try:
            replace_file(self._file, now.model_dump_json(by_alias=True, indent=1).encode(), 0o644)
        except OSError as error:
            if not self._failed:
                log.warning(f"cannot write {self._file}: {in_words(error)}; reconciler status --fleet is out of date")
            self._failed = True
            return
        self._written, self._failed = now, False
