"""Verify: what lies on the disk is nobody's to change, byte for byte what was fetched, and its environment complete."""

from dataclasses import dataclass
from pathlib import Path

from reconciler.core.text.sizes import human_size
from reconciler.core.units import status_lines
from reconciler.core.units.names import HOST_ENVIRONMENT
from reconciler.steps import environment_record, tree, verify_command
from reconciler.steps import manifest as manifests
from reconciler.steps.manifest import MANIFEST, MODEL
from reconciler.steps.sole_access import knows_leases, why_not_alone
from reconciler.steps.step_report import StepError


@dataclass(frozen=True)
class Pins:
    """What root recorded when it was first fetched, and built; None where nothing was."""

    files: str | None = None
    content: str | None = None


@dataclass(frozen=True)
class Check:
    """The host's own check of the model's files, where it has one."""

    command: tuple[str, ...] = ()
    deadline: float = verify_command.DEADLINE


def verify(release: Path, environment: Path | None, pins: Pins = Pins(), check: Check = Check()) -> str:
    """Compare a release with its manifest, and both with what root recorded; `environment` None is the host's own.

    Only then the host's own check is asked. Returns a line for the status; raises StepError with the first difference.
    """
    # First: from here on nobody can change what is looked at.
    if why := why_not_alone(release):
        raise StepError(f"cannot verify {release}: it {why}; fetch it again")
    try:
        manifest = manifests.read(release)
        found = tree.regular_files(release / MODEL)
    except FileNotFoundError as error:
        raise StepError(f"cannot verify {release}: it was not fetched completely; fetch it again") from error
    where = f"version {manifest.version} of {manifest.name}"
    if odd := sorted(found.keys() ^ manifest.files.keys()):
        what = "is missing" if odd[0] in manifest.files else "was not there when it was fetched"
        raise StepError(f"cannot verify {where}: {odd[0]!r} {what}; fetch it again")
    for path, record in manifest.files.items():
        if found[path] != record.size or tree.sha256_of(release / MODEL / path) != record.sha256:
            raise StepError(f"cannot verify {where}: {path!r} is not what was fetched; fetch it again")
    if pins.files not in (None, manifest.pin):
        raise StepError(f"cannot verify {where}: these are not the files that were fetched first; fetch it again")
    wanted = manifest.environment.digest
    if (environment is None) != (wanted == HOST_ENVIRONMENT):
        raise StepError(f"cannot verify {where}: it was fetched for the environment {wanted}; fetch it again")
    if environment is not None and (why := environment_record.why_incomplete(environment, wanted, pins.content)):
        raise StepError(f"cannot verify {where}: its environment {why}; build it again")
    if check.command:
        verify_command.check(check.command, release / MODEL, where, check.deadline)
    agreed = f", and {check.command[0]} agreed" if check.command else ""
    unseen = "" if knows_leases(release / MANIFEST) else ", but this file system does not tell who has them open"
    words = f"verified {len(found)} files, {human_size(manifest.size)}{agreed}{unseen}"
    return status_lines.verified(words, wanted)
