"""Wheels that a model ships in its own files: how it lists them, and how uv is told to take exactly these.

A line such as `wheels/tools-1.2-py3-none-any.whl` becomes `wheels/tools-1.2-py3-none-any.whl --hash=sha256:…` when the
model is fetched. So another wheel of the same name makes another environment. uv is not told the path but the name, the
version and the hash, and a directory with the listed wheels: a wheel that is required by its path may itself require
others by their addresses, and uv would go there.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from reconciler.core.text.quote import one_line
from reconciler.steps.hashed_requirements import hashed
from reconciler.steps.manifest import why_not_a_path
from reconciler.steps.model_files import digest_of
from reconciler.steps.step_report import StepError

SHIP_IT = (
    'ship the wheel inside the model: log it with code_paths=["NAME.whl"] and list code/NAME.whl, or call '
    "mlflow.models.utils.add_libraries_to_model, which does that for all packages"
)
NO_OPTIONS = "options behind a requirement are not taken, but for --hash=sha256:…; log the model again without them"
MAX_LINE = 1000
"""Characters of one line, without its hashes."""

# A path, perhaps extras, perhaps a marker. Windows writes the path with backslashes.
# Blanks go with what is behind them, or a run of them could be shared out in many ways.
_WHEEL = re.compile(r"(?!-)([^\s\[\];]+\.whl)(?:\s*(\[[A-Za-z0-9._,\s-]*\]))?(?:\s*(;[^\\]*))?")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:.*")
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class Wheel:
    """One wheel as a model lists it."""

    path: str
    """Where it is in the model."""
    extras: str
    """With their brackets; "" for none."""
    marker: str
    """With its semicolon; "" for none."""
    name: str
    """Of the package, normalized."""
    version: str

    @property
    def line(self) -> str:
        """The requirement, in the one way in which it is written down."""
        return f"{self.path}{self.extras}{f' {self.marker}' if self.marker else ''}"

    @property
    def named(self) -> str:
        """The same package by its name and version."""
        return f"{self.name}{self.extras}=={self.version}{f' {self.marker}' if self.marker else ''}"


def parse(requirement: str) -> Wheel | None:
    """Read a requirement, without its hashes; None when it is no path of a wheel.

    Raises StepError when it is one that cannot be in the model, is not named as wheels are, or has odd extras or an odd
    marker: what is behind the path goes to uv, and uv takes options there.
    """
    is_line = len(requirement) <= MAX_LINE and requirement.isprintable()
    match = _WHEEL.fullmatch(requirement) if is_line else None
    if match is None or _ADDRESS.fullmatch(match[1]):
        return None
    extras, marker = "".join((match[2] or "").split()), " ".join((match[3] or "").split())
    path = match[1].replace("\\", "/").removeprefix("./")
    is_absolute = path.startswith(("/", "~")) or _DRIVE.match(path) is not None
    if is_absolute:
        raise _refused(requirement, f"it is a path of the machine where the model was made; {SHIP_IT}")
    why = why_not_a_path(path)
    if why:
        raise _refused(requirement, f"{why}; {SHIP_IT}")
    name, version = _name_and_version(path.rpartition("/")[2])
    if not name:
        raise _refused(
            requirement,
            "a wheel is called NAME-VERSION-PYTHON-ABI-PLATFORM.whl; "
            "keep the name that it was built with, and log the model again",
        )
    why = _why_not_behind_a_path(f"{name}{match[2] or ''}=={version} {match[3] or ''}")
    if why:
        raise _refused(requirement, why)
    return Wheel(path, extras, marker, name, version)


def _why_not_behind_a_path(named: str) -> str | None:
    """Say what is wrong with the extras or the marker of a wheel, given by its name; None when uv can have them."""
    # Looked for in quoted texts, too: who splits a line at its options first finds them there.
    if " --" in named:
        return NO_OPTIONS
    try:
        Requirement(named)
    except (InvalidRequirement, RecursionError):  # the latter by hundreds of brackets
        return (
            "behind the path of a wheel only [extras] and a marker can be, such as ; python_version > '3.10'; "
            "correct it, and log the model again"
        )
    return None


def is_wheel(line: str) -> bool:
    """Tell whether a line is the path of a wheel; raises StepError as `parse` does."""
    return parse(hashed(line)[0]) is not None


def _name_and_version(file: str) -> tuple[str, str]:
    """Read the name of a wheel's file; two empty texts when it is none."""
    try:
        name, version, _, _ = parse_wheel_filename(file)
    except InvalidWheelFilename:
        return "", ""
    return (name, str(version)) if file.isascii() else ("", "")


def pinned(line: str, model: Path) -> str:
    """Write a wheel's line with the hash of the model's own file; other lines as they are.

    Raises StepError when the model has no such file, or another one than its hashes say.
    """
    requirement, hashes = hashed(line)
    wheel = parse(requirement)
    if wheel is None:
        return line
    digest = digest_of(model, wheel.path)
    if digest is None:
        raise _refused(requirement, f"the model has no such file; {SHIP_IT}")
    expected = f"sha256:{digest}"
    if hashes and expected not in hashes:
        raise _refused(requirement, "the file in the model has another hash; log the model again")
    return f"{wheel.line} --hash={expected}"


def refuse_two_of_one(lines: tuple[str, ...]) -> None:
    """Raise StepError when two wheels are of one package: which of them is meant is not ours to guess."""
    found: dict[str, Wheel] = {}
    for wheel in filter(None, (parse(hashed(line)[0]) for line in lines)):
        other = found.setdefault(wheel.name, wheel)
        if other != wheel:
            both = " and ".join(one_line(path, 120) for path in sorted((other.path, wheel.path)))
            raise StepError(
                f"cannot use the model's wheels: {both} are both of the package {wheel.name}; "
                "log the model with one of them"
            )


def named(line: str) -> str:
    """Write a wheel's line with the package's name and version in place of the path; other lines as they are."""
    requirement, hashes = hashed(line)
    wheel = parse(requirement)
    if wheel is None:
        return line
    return " ".join([wheel.named, *(f"--hash={digest}" for digest in hashes)])


def collect(lines: tuple[str, ...], model: Path, directory: Path) -> bool:
    """Make a directory with the listed wheels, for uv to find them there; return whether there are any.

    They are links: uv compares each file with its hash when it reads it.
    """
    wheels = [*filter(None, (parse(hashed(line)[0]) for line in lines))]
    if wheels:
        directory.mkdir()
    for wheel in wheels:
        (directory / wheel.path.rpartition("/")[2]).symlink_to(model / wheel.path)
    return bool(wheels)


def _refused(requirement: str, why: str) -> StepError:
    return StepError(f"cannot use the model's requirement {one_line(requirement, 120)!r}: {why}")
