"""Fetch: bring one model version from the registry's artifact store to this host, whole or not at all."""

from pathlib import Path

from reconciler.core.text.sizes import human_size
from reconciler.core.units import status_lines
from reconciler.core.units.logged_example import beside_fetched
from reconciler.core.units.names import HOST_ENVIRONMENT
from reconciler.files.atomic import sync_directory, unfinished
from reconciler.steps import manifest as manifests
from reconciler.steps import tree
from reconciler.steps.download import FetchOrder, download
from reconciler.steps.logged_example import find_example
from reconciler.steps.manifest import MANIFEST, MODEL, Environment, FileRecord, Manifest
from reconciler.steps.requirements import read_environment
from reconciler.steps.sole_access import why_not_alone
from reconciler.steps.step_report import StepError, print_line

INCOMING = ".incoming"


def fetch(release_dir: Path, order: FetchOrder, pinned: str | None = None) -> str:
    """Make `release_dir` hold the model version with its manifest; return a line for the status.

    `pinned` is the digest that root recorded when the version was first fetched: other files are not accepted.
    Invariant: an interruption at any point leaves nothing that counts as fetched. A repetition downloads nothing.
    """
    manifest = _present(release_dir, order, pinned)
    if manifest is None:
        manifest = _fetch_anew(release_dir, order, pinned)
    elif not _has_ordered_environment(manifest, order):
        # Same bytes, another way to run them: nothing to download.
        manifest = manifest.model_copy(update={"environment": _environment(release_dir / MODEL, order)})
        manifests.write(release_dir, manifest)
    example = find_example(release_dir / MODEL, manifest.files.keys())
    words = f"fetched {len(manifest.files)} files, {human_size(manifest.size)}{beside_fetched(example)}"
    return status_lines.fetched(words, example, manifest.pin, manifest.environment.digest)


def _fetch_anew(release_dir: Path, order: FetchOrder, pinned: str | None) -> Manifest:
    """Download the version, and write its manifest last: that is what makes it count as fetched."""
    before = _recorded(release_dir, pinned)
    _forget(release_dir)
    sizes = download(release_dir / INCOMING, order)
    manifest = _new_manifest(order, sizes, release_dir / INCOMING)
    # A version is its files: a registry, or a store, that gives others later is not believed.
    if pinned not in (None, manifest.pin):
        tree.remove(release_dir / INCOMING)
        raise StepError(
            f"cannot use version {order.version} of {order.name}: the artifact store has other files than when it "
            f"was first fetched here{_difference(before, manifest)}; register a new version, this one stays refused"
        )
    # The files are durable before they get their name, and the name before the manifest says that they are there.
    tree.sync_below(release_dir)
    (release_dir / INCOMING).rename(release_dir / MODEL)
    sync_directory(release_dir)
    manifests.write(release_dir, manifest)
    return manifest


def _has_ordered_environment(manifest: Manifest, order: FetchOrder) -> bool:
    environment = manifest.environment
    is_same_kind = (environment.digest == HOST_ENVIRONMENT) == (order.environment == HOST_ENVIRONMENT)
    has_same_hashes = (environment.pins is not None) == order.require_hashes
    may_be_ignored = order.ignore_index_options or not environment.ignored
    return is_same_kind and has_same_hashes and may_be_ignored


def _environment(model: Path, order: FetchOrder) -> Environment:
    """Read what the model needs, and tell what of its requirements counts for nothing here."""
    environment = read_environment(
        model,
        order.environment,
        require_hashes=order.require_hashes,
        ignore_index_options=order.ignore_index_options,
    )
    for option in environment.ignored:
        print_line(f"ignored in the model's requirements, by build.ignore_index_options: {option}")
    return environment


def _present(release_dir: Path, order: FetchOrder, pinned: str | None) -> Manifest | None:
    """Return the manifest when this version is there already, with every file as it was fetched."""
    try:
        why = why_not_alone(release_dir)
        if why:
            print_line(f"fetching again: the release {why}")
            return None
        manifest = manifests.read(release_dir)
        if not _is_of(manifest, order) or not _has_its_sizes(manifest, release_dir / MODEL):
            return None
        changed = _first_changed(manifest, release_dir / MODEL)
        if changed:
            print_line(f"fetching again: {changed} is not what was fetched")
            return None
        # Root's record counts more than a manifest that belongs to the user of the step.
        return manifest if pinned in (None, manifest.pin) else None
    except FileNotFoundError:
        return None
    except StepError as damaged:
        print_line(f"fetching again: {damaged}")
        return None


def _is_of(manifest: Manifest, order: FetchOrder) -> bool:
    """Whether a manifest is of the ordered version: a registry that was set up anew gives its number to another one."""
    return (manifest.name, manifest.version, manifest.source) == (order.name, order.version, order.source)


def _has_its_sizes(manifest: Manifest, model: Path) -> bool:
    sizes = {path: record.size for path, record in manifest.files.items()}
    return tree.regular_files(model) == sizes


def _first_changed(manifest: Manifest, model: Path) -> str | None:
    for path, record in manifest.files.items():
        if tree.sha256_of(model / path) != record.sha256:
            return path
    return None


def _recorded(release_dir: Path, pinned: str | None) -> Manifest | None:
    """Return the manifest of the first fetch, if it is still here, to name a file that differs now."""
    try:
        manifest = manifests.read(release_dir)
    except (FileNotFoundError, StepError):
        return None
    return manifest if manifest.pin == pinned else None


def _difference(before: Manifest | None, now: Manifest) -> str:
    """Name a file that differs, where that is known."""
    if before is None:
        return ""
    paths = before.files.keys() | now.files.keys()
    differing = [path for path in paths if before.files.get(path) != now.files.get(path)]
    return f" ({min(differing)})"


def _forget(release_dir: Path) -> None:
    # The manifest goes first: without it nothing else counts.
    for leftover in (MANIFEST, unfinished(Path(MANIFEST)), MODEL, INCOMING):
        tree.remove(release_dir / leftover)
    sync_directory(release_dir)


def _new_manifest(order: FetchOrder, sizes: dict[str, int], model: Path) -> Manifest:
    records = {path: FileRecord(sha256=tree.sha256_of(model / path), size=size) for path, size in sizes.items()}
    return Manifest(
        name=order.name,
        version=order.version,
        source=order.source,
        files=records,
        environment=_environment(model, order),
    )
