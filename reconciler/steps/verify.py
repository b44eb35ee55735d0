"""Verify: nobody else can change the files on the disk, they are byte for byte those fetched, the environment too."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.core.text.sizes import human_size
from reconciler.core.units import status_lines
from reconciler.core.units.names import HOST_ENVIRONMENT
from reconciler.steps import environment_record, tree, verify_command
from reconciler.steps import manifest as manifests
from reconciler.steps.manifest import MANIFEST, MODEL, Manifest
from reconciler.steps.sole_access import knows_leases, why_not_alone
from reconciler.steps.step_report import StepError


@dataclass(frozen=True)
class Pins:
    """The digests that root recorded after the first fetch, and the build; None where nothing was recorded."""

    files: str | None = None
    content: str | None = None


@dataclass(frozen=True)
class Check:
    """The host's own check of the model's files, where it has one."""

    command: tuple[str, ...] = ()
    deadline: float = verify_command.DEADLINE


def verify(release_dir: Path, environment_dir: Path | None, pins: Pins = Pins(), check: Check = Check()) -> str:
    """Compare a release with its manifest, and both with what root recorded. Return a line for the status.

    `environment_dir` is None where the host's own environment runs the model. The host's check runs last: it may trust
    what it reads. Raises StepError with the first difference.
    """
    # First: from here on nobody can change what is looked at.
    why = why_not_alone(release_dir)
    if why:
        raise StepError(f"cannot verify {release_dir}: it {why}; fetch it again")
    try:
        manifest = manifests.read(release_dir)
        found = tree.regular_files(release_dir / MODEL)
    except FileNotFoundError as error:
        raise StepError(f"cannot verify {release_dir}: it was not fetched completely; fetch it again") from error
    where = f"version {manifest.version} of {manifest.name}"
    why = _why_not_as_fetched(release_dir / MODEL, found, manifest)
    if why is None and pins.files not in (None, manifest.pin):
        # The manifest belongs to the user who could have changed the files with it; root's record does not.
        why = "these are not the files that were fetched first"
    if why:
        raise StepError(f"cannot verify {where}: {why}; fetch it again")
    _check_environment(environment_dir, manifest, pins, where)
    if check.command:
        verify_command.require_yes(check.command, release_dir / MODEL, where, check.deadline)
    agreed = f", and {check.command[0]} agreed" if check.command else ""
    unseen = "" if knows_leases(release_dir / MANIFEST) else ", but this file system does not tell who has them open"
    words = f"verified {len(found)} files, {human_size(manifest.size)}{agreed}{unseen}"
    return status_lines.verified(words, manifest.environment.digest)


def _why_not_as_fetched(model: Path, found: Mapping[str, int], manifest: Manifest) -> str | None:
    """Name the first file that differs from the manifest; None when all are byte for byte what was fetched."""
    odd = sorted(found.keys() ^ manifest.files.keys())
    if odd:
        what = "is missing" if odd[0] in manifest.files else "was not there when it was fetched"
        return f"{odd[0]!r} {what}"
    for path, record in manifest.files.items():
        has_its_size = found[path] == record.size  # asked first: it costs no reading
        if not has_its_size or tree.sha256_of(model / path) != record.sha256:
            return f"{path!r} is not what was fetched"
    return None


def _check_environment(environment_dir: Path | None, manifest: Manifest, pins: Pins, where: str) -> None:
    """Raise StepError when the environment is not the one that the manifest names, complete and as it was built."""
    wanted = manifest.environment.digest
    if (environment_dir is None) != (wanted == HOST_ENVIRONMENT):
        raise StepError(f"cannot verify {where}: it was fetched for the environment {wanted}; fetch it again")
    if environment_dir is None:
        return
    why = environment_record.why_incomplete(environment_dir, wanted, pins.content)
    if why:
        raise StepError(f"cannot verify {where}: its environment {why}; build it again")
