"""The order of the commands in `reconciler --help`, and what the command says of itself."""

from pathlib import Path
from typing import Any

from typer.core import TyperGroup

from reconciler import __version__
from reconciler.core.units import paths

FIRST = (
    *("status", "logs", "history", "check", "plan", "apply", "wait"),
    *("retry", "rollback", "rollout", "suspend", "resume"),
)
"""What people type, the most frequent first; all others follow in the order in which they are added."""
DAEMONS = "Run by systemd"
"""The heading of the commands that nobody types."""


class InOrder(TyperGroup):
    """The commands in the order in which people need them."""

    def list_commands(self, ctx: Any) -> list[str]:
        """List the names of all commands. `ctx`: click's, or that of typer's own copy of click."""
        added = super().list_commands(ctx)
        return [*(name for name in FIRST if name in added), *(name for name in added if name not in FIRST)]


def version() -> str:
    """Return the version of the product, with the name of the installed one where this process runs that."""
    installed = Path(paths.PRODUCT, "current").resolve()
    is_installed = Path(__file__).resolve().is_relative_to(installed) and installed.name != "current"
    return f"{__version__} (installed: {installed.name})" if is_installed else __version__
