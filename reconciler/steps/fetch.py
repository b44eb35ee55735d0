"""Fetch: bring one model version from the registry's artifact store to this host, whole or not at all."""

from pathlib import Path

from reconciler.core.text.sizes import human_size
from reconciler.core.units import status_lines
from reconciler.core.units.names import HOST_ENVIRONMENT
from reconciler.files.atomic import sync_directory, unfinished
from reconciler.steps import manifest as manifests
from reconciler.steps import tree
from reconciler.steps.download import Wanted, download
from reconciler.steps.manifest import MANIFEST, MODEL, FileRecord, Manifest
from reconciler.steps.requirements import read_environment
from reconciler.steps.sole_access import why_not_alone
from reconciler.steps.step_report import StepError, say

INCOMING = ".incoming"


def fetch(release: Path, want: Wanted, pinned: str | None = None) -> str:
    """Make `release` hold the model version with its manifest; return what was done as a line for the status.

    `pinned` is what root recorded when the version was first fetched: other files are not taken.
    Repeating it is free, and interrupting it at any point leaves nothing that counts as fetched.
    """
    present = _present(release, want, pinned)
    if present is None:
        before = _recorded(release, pinned)
        _forget(release)
        present = _describe(want, download(release / INCOMING, want), release / INCOMING)
        if pinned not in (None, present.pin):
            tree.remove(release / INCOMING)
            raise StepError(
                f"cannot use version {want.version} of {want.name}: the artifact store has other files than when it "
                f"was first fetched here{_difference(before, present)}; register a new version, this one stays refused"
            )
        tree.sync_below(release)
        (release / INCOMING).rename(release / MODEL)
        sync_directory(release)
        manifests.write(release, present)
    elif (present.environment.digest == HOST_ENVIRONMENT, present.environment.pins is not None) != (
        want.environment == HOST_ENVIRONMENT,
        want.require_hashes,
    ):
        # Same bytes, another way to run them: nothing to download.
        environment = read_environment(release / MODEL, want.environment, require_hashes=want.require_hashes)
        present = present.model_copy(update={"environment": environment})
        manifests.write(release, present)
    words = f"fetched {len(present.files)} files, {human_size(present.size)}"
    return status_lines.fetched(words, present.pin, present.environment.digest)


def _present(release: Path, want: Wanted, pinned: str | None) -> Manifest | None:
    """Return the manifest when this version is there already, with every file as it was fetched."""
    try:
        if why := why_not_alone(release):
            say(f"fetching again: the release {why}")
            return None
        found = manifests.read(release)
        same = (found.name, found.version, found.source) == (want.name, want.version, want.source)
        sizes = {path: record.size for path, record in found.files.items()}
        if not same or tree.regular_files(release / MODEL) != sizes:
            return None
        digests = {path: record.sha256 for path, record in found.files.items()}
        changed = [path for path, digest in digests.items() if tree.sha256_of(release / MODEL / path) != digest]
        if changed:
            say(f"fetching again: {changed[0]} is not what was fetched")
        return None if changed or pinned not in (None, found.pin) else found
    except FileNotFoundError:
        return None
    except StepError as damaged:
        say(f"fetching again: {damaged}")
        return None


def _recorded(release: Path, pinned: str | None) -> Manifest | None:
    """The manifest of the first fetch, if it is still here."""
    try:
        found = manifests.read(release)
    except (FileNotFoundError, StepError):
        return None
    return found if found.pin == pinned else None


def _difference(before: Manifest | None, now: Manifest) -> str:
    """Name a file that differs, where that is known."""
    if before is None:
        return ""
    paths = before.files.keys() | now.files.keys()
    return f" ({min(path for path in paths if before.files.get(path) != now.files.get(path))})"


def _forget(release: Path) -> None:
    # The manifest goes first: without it nothing else counts.
    for leftover in (MANIFEST, unfinished(Path(MANIFEST)), MODEL, INCOMING):
        tree.remove(release / leftover)
    sync_directory(release)


def _describe(want: Wanted, sizes: dict[str, int], model: Path) -> Manifest:
    records = {path: FileRecord(sha256=tree.sha256_of(model / path), size=size) for path, size in sizes.items()}
    return Manifest(
        name=want.name,
        version=want.version,
        source=want.source,
        files=records,
        environment=read_environment(model, want.environment, require_hashes=want.require_hashes),
    )
