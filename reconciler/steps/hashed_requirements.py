"""Requirements with hashes: how a model lists them, and what the server needs where no file comes without one."""

import re
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from reconciler.steps.step_report import StepError

MAX_HASHES = 500
"""Of one requirement: it has one of each file that a version may be installed from."""
_HASH = re.compile(r"\s--hash=(sha256:[0-9a-f]{64})(?=\s|$)")


def logical_lines(text: str) -> list[str]:
    """Join what a backslash continues, and leave out comments and empty lines."""
    joined = re.sub(r"[ \t]*\\\r?\n[ \t]*", " ", text)
    lines = [line.strip() for line in re.sub(r"(^|\s)#.*", "", joined, flags=re.MULTILINE).splitlines()]
    return [line for line in lines if line]


def hashed(line: str) -> tuple[str, tuple[str, ...]]:
    """Take a requirement and its hashes apart."""
    return _HASH.sub("", line).strip(), tuple(sorted(set(_HASH.findall(line))))


def canonical(line: str) -> str:
    """Write a requirement so that the order of its hashes makes no difference.

    Raises StepError where a hash would count for nothing: one version has files, a range of them has not.
    """
    requirement, hashes = hashed(line)
    if hashes and (not _names_one_version(requirement) or len(hashes) > MAX_HASHES):
        raise StepError(
            f"cannot use the model's requirement {requirement[:120]!r}: hashes (at most {MAX_HASHES}) go with one "
            "version, such as name==1.2.3; log the model again with it"
        )
    return " ".join([requirement, *(f"--hash={one}" for one in hashes)])


def refuse_unhashed(requirements: tuple[str, ...]) -> None:
    """Raise StepError with the first requirement that has no hash."""
    for line in requirements:
        requirement, hashes = hashed(line)
        if not hashes:
            raise StepError(
                f"cannot use the model's requirement {requirement[:120]!r}: this host installs nothing without a "
                "--hash=sha256:… known before (build.require_hashes); list everything as "
                "`uv pip compile --generate-hashes` does, and log the model again"
            )


def server_pins(package: Path) -> Path:
    """Return the file with what the server needs, in one version each and with hashes."""
    return package / "requirements.lock"


def server_needs(requirements: tuple[str, ...], package: Path) -> tuple[list[str], list[str]]:
    """Return what is to be installed for the server beside the model's own, and the hashes that may be needed for that.

    What the model lists itself it gets in its own version. Raises StepError when that one does not do for the server.
    """
    own = {_name(line): line for line in requirements if ";" not in line}
    direct = {}
    for line in logical_lines((package / "requirements.txt").read_text()):
        name, need = _name(line), Requirement(line)
        direct[name] = need
        if name in own and not need.specifier.contains(_version(own[name]), prereleases=True):
            raise StepError(
                f"cannot build the environment: the model's requirements contradict what the server itself needs "
                f"({need}): they have {hashed(own[name])[0]}; log the model with another version"
            )
    known = [line for line in logical_lines(server_pins(package).read_text()) if _name(line) not in own]
    return [line for line in known if _name(line) in direct], [line for line in known if _name(line) not in direct]


def _names_one_version(requirement: str) -> bool:
    try:
        specifiers = [*Requirement(requirement).specifier]
    except InvalidRequirement:
        return False
    return len(specifiers) == 1 and specifiers[0].operator in ("==", "===") and "*" not in specifiers[0].version


def _name(line: str) -> str:
    return canonicalize_name(Requirement(hashed(line)[0]).name)


def _version(line: str) -> str:
    return next(iter(Requirement(hashed(line)[0]).specifier)).version
