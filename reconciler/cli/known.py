"""The deployments that a NAME can mean: what a mistyped one may have meant, and what a shell completes."""

from collections.abc import Collection
from typing import NoReturn

from reconciler.cli.exit import FAILED, refuse
from reconciler.core.text.quote import one_line
from reconciler.core.units.names import why_not_deployable


def published_names() -> list[str]:
    """Return the deployments of the published status; none where there is no status."""
    from reconciler.files.status_file import NoStatusError, read_status

    try:
        return [one.name for one in read_status().deployments]
    except NoStatusError:
        return []


def complete(incomplete: str) -> list[str]:
    """Return the deployments that a shell may complete a beginning to."""
    # A name goes onto a command line: what others than we could have given it stays out.
    return [name for name in published_names() if name.startswith(incomplete) and not why_not_deployable(name)]


def refuse_unknown(words: str, name: str, known: Collection[str], code: int = FAILED) -> NoReturn:
    """End the command: there is nothing of this name. `words` follow "cannot"."""
    import difflib  # only here: completion is to be quick

    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {one_line(close[0])}?" if close else "reconciler status lists the deployments"
    refuse(f"cannot {words} {one_line(name, 80)}: there is no such deployment; {hint}", code)
