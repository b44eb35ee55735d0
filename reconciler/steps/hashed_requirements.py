"""Requirements with hashes: how a model lists them, and what the server needs where no file comes without one."""

import re
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from reconciler.core.text.quote import one_line
from reconciler.steps.step_report import StepError

MAX_HASHES = 500
"""Of one requirement: it has one of each file that a version may be installed from."""
# Blanks before a backslash are looked at from the first of them only: a hostile line may have a megabyte of blanks.
_CONTINUED = re.compile(r"(?:(?<![ \t])[ \t]+)?\\\r?\n[ \t]*")
_HASH = re.compile(r"\s--hash=(sha256:[0-9a-f]{64})(?=\s|$)")


def logical_lines(text: str) -> list[str]:
    """Split a requirements file into its lines: continued ones joined, without comments and empty lines."""
    joined = _CONTINUED.sub(" ", text)
    lines = [line.strip() for line in re.sub(r"(^|\s)#.*", "", joined, flags=re.MULTILINE).splitlines()]
    return [line for line in lines if line]


def hashed(line: str) -> tuple[str, tuple[str, ...]]:
    """Split a line into its requirement and its hashes, which are sorted and without repetition."""
    return _HASH.sub("", line).strip(), tuple(sorted(set(_HASH.findall(line))))


def with_sorted_hashes(line: str) -> str:
    """Write a requirement so that the order of its hashes makes no difference to the environment's digest.

    Raises StepError if the requirement has hashes and does not name one version: a range has no fixed files.
    """
    requirement, hashes = hashed(line)
    if not hashes:
        return requirement
    if not _names_one_version(requirement) or len(hashes) > MAX_HASHES:
        raise StepError(
            f"cannot use the model's requirement {one_line(requirement, 120)!r}: hashes (at most {MAX_HASHES}) go with "
            "one version, such as name==1.2.3; log the model again with it"
        )
    return " ".join([requirement, *(f"--hash={digest}" for digest in hashes)])


def refuse_unhashed(requirements: tuple[str, ...]) -> None:
    """Raise StepError with the first requirement that has no hash."""
    for line in requirements:
        requirement, hashes = hashed(line)
        if not hashes:
            raise StepError(
                f"cannot use the model's requirement {one_line(requirement, 120)!r}: this host installs nothing "
                "without a --hash=sha256:… known before (build.require_hashes); list everything as "
                "`uv pip compile --generate-hashes` does, and log the model again"
            )


def server_pins(package: Path) -> Path:
    """Return the file with what the server needs, in one version each and with hashes."""
    return package / "requirements.lock"


def server_needs(requirements: tuple[str, ...], package: Path) -> tuple[list[str], list[str]]:
    """Return the lines to install for the server beside the model's own, and the lines with hashes of their needs.

    A package that the model lists itself is installed in the model's version. Raises StepError when the server cannot
    use that version.
    """
    # A line with a marker may not apply here, so the server brings that package itself.
    own = {_name(line): line for line in requirements if ";" not in line}
    direct = {_name(line): Requirement(line) for line in logical_lines((package / "requirements.txt").read_text())}
    for name, need in direct.items():
        if name in own:
            _refuse_contradiction(need, own[name])
    to_install: list[str] = []
    hashes_only: list[str] = []
    # The lock lists more than is needed beside most models: uv takes from the second list only what it needs.
    for line in logical_lines(server_pins(package).read_text()):
        name = _name(line)
        if name in own:
            continue
        (to_install if name in direct else hashes_only).append(line)
    return to_install, hashes_only


def _refuse_contradiction(need: Requirement, own: str) -> None:
    """Raise StepError when the version that the model lists itself does not do for the server."""
    if not need.specifier.contains(_version(own), prereleases=True):
        raise StepError(
            f"cannot build the environment: the model's requirements contradict what the server itself needs "
            f"({need}): they have {hashed(own)[0]}; log the model with another version"
        )


def _names_one_version(requirement: str) -> bool:
    try:
        specifiers = [*Requirement(requirement).specifier]
    except (InvalidRequirement, RecursionError):  # the latter by hundreds of brackets in a marker
        return False
    if len(specifiers) != 1:
        return False
    specifier = specifiers[0]
    is_equality = specifier.operator in ("==", "===")
    return is_equality and "*" not in specifier.version


def _name(line: str) -> str:
    return canonicalize_name(Requirement(hashed(line)[0]).name)


def _version(line: str) -> str:
    return next(iter(Requirement(hashed(line)[0]).specifier)).version
