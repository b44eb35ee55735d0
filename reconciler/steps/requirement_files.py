"""Reads a model's requirements.txt with the files that it includes, and refuses each line that this host cannot use."""

import posixpath
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from reconciler.core.text.quote import one_line
from reconciler.steps import model_wheels, requirement_options
from reconciler.steps.hashed_requirements import hashed, logical_lines, with_sorted_hashes
from reconciler.steps.manifest import why_not_a_path
from reconciler.steps.model_files import read_text
from reconciler.steps.requirement_options import INCLUDES, Option, refused
from reconciler.steps.step_report import StepError

FIRST = "requirements.txt"
MAX_REQUIREMENTS = 1000
MAX_INCLUDED = 20
"""Files that are included, all together."""

# A name, perhaps extras, then versions and markers; every other form names a place or an option. It is looser than
# packaging.Requirement on purpose: `gpg==1.14.0-unknown` is no version that can be installed, yet a model that lists it
# runs in the host's environment. What is not accepted here would never be fetched.
_PACKAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\s*(?:\[[A-Za-z0-9._,\s-]*\])?\s*(?:$|[(<>=!~;].*)")
_ADDRESS = re.compile(r"[^@;]*[\w\]]\s*@|[A-Za-z][\w+.-]+:")


@dataclass
class Listed:
    """What the files say, each list without repetition."""

    requirements: set[str] = field(default_factory=set)
    constraints: set[str] = field(default_factory=set)
    """Versions that a package must have if something requires it."""
    ignored: set[str] = field(default_factory=set)
    """Options that count for nothing here, as the host's settings say; they may be shown."""


def read(model: Path, *, ignore_index_options: bool = False) -> Listed:
    """Read what a fetched model lists; raises StepError with the first line that cannot be used, and why.

    A wheel comes with the hash of its file. `-r` and `-c` mean files of the model, relative to the including one.
    """
    return _Reader(model, ignore_index_options).read()


class _Reader:
    """Follows the files of one model."""

    def __init__(self, model: Path, ignore_index_options: bool) -> None:
        self._model = model
        self._ignore_index_options = ignore_index_options
        self._listed = Listed()
        self._seen: set[tuple[str, bool]] = set()

    def read(self) -> Listed:
        """Begin with the file that MLflow writes."""
        text = read_text(self._model, FIRST)
        if text is None:
            raise StepError(
                "cannot tell what the model needs: it has no requirements.txt; log it again with pip_requirements=[…]"
            )
        self._read_lines(text, (FIRST,), is_constraint=False)
        return self._listed

    def _read_lines(self, text: str, files: tuple[str, ...], *, is_constraint: bool) -> None:
        """Take up the lines of a file; `files` are those that lead to it, itself the last."""
        target = self._listed.constraints if is_constraint else self._listed.requirements
        # In order, so that the same line is always the first odd one.
        for line in sorted(set(logical_lines(text))):
            if line.startswith("-"):
                self._follow(line, files)
            else:
                target.add(_usable(line, self._model, is_constraint=is_constraint))
            if len(target) > MAX_REQUIREMENTS:
                raise StepError(
                    f"cannot use the model's requirements: more than {MAX_REQUIREMENTS} lines; list direct ones only"
                )

    def _follow(self, line: str, files: tuple[str, ...]) -> None:
        """Include the files that a line of options names; note the options that are ignored."""
        for option in requirement_options.parse(line):
            if option.name in INCLUDES:
                self._include(line, option, files)
            elif option.is_about_an_index and self._ignore_index_options:
                self._listed.ignored.add(option.shown)
                if len(self._listed.ignored) > MAX_REQUIREMENTS:
                    raise refused(
                        option.shown,
                        f"more than {MAX_REQUIREMENTS} options about an index; log the model again without them",
                    )
            else:
                raise refused(option.shown, option.why_not)

    def _include(self, line: str, option: Option, files: tuple[str, ...]) -> None:
        is_constraint = option.name == "--constraint"
        name = _path(line, option.value, files[-1])
        if name in files:
            raise refused(line, f"{one_line(name, 120)} includes itself; log the model again without the circle")
        if (name, is_constraint) in self._seen:
            return
        self._seen.add((name, is_constraint))
        if len(self._seen) > MAX_INCLUDED:
            raise refused(line, f"more than {MAX_INCLUDED} files are included; log the model with fewer")
        text = read_text(self._model, name)
        if text is None:
            raise refused(
                line,
                f"the model has no file {one_line(name, 120)!r}; "
                "list the requirements themselves, or name a file to log_model: pip_requirements='requirements.txt'",
            )
        self._read_lines(text, (*files, name), is_constraint=is_constraint)


def _path(line: str, value: str, including: str) -> str:
    """Return the path, in the model, of a file that a line includes; raises StepError when it is none."""
    if _ADDRESS.match(value):
        raise refused(line, "only files of the model are read; list the requirements themselves")
    # Files only: a fetched model has no links, so a name and `..` behind it take each other away.
    joined = posixpath.normpath(PurePosixPath(including).parent / value)
    why = why_not_a_path(joined)
    if why:
        raise refused(line, f"{why}; name a file of the model, or list the requirements themselves")
    return joined


def _usable(line: str, model: Path, *, is_constraint: bool) -> str:
    """Return a line as it is recorded; raises StepError when this host cannot use it."""
    requirement, _ = hashed(line)
    if _names_a_package(requirement):
        return with_sorted_hashes(line)
    if is_constraint:
        raise refused(requirement, "a constraint is a package name with versions; log the model again without it")
    if model_wheels.parse(requirement):
        return model_wheels.pinned(line, model)
    raise refused(requirement, _why_not(requirement))


def _names_a_package(line: str) -> bool:
    """Whether a requirement, without its hashes, is a package name with versions: no place, no option of uv's."""
    has_option = " --" in line
    is_continued = "\\" in line
    is_a_file = line.partition("[")[0].partition(";")[0].rstrip().endswith(".whl")
    is_short = len(line) <= model_wheels.MAX_LINE
    if has_option or is_continued or is_a_file or not is_short:
        return False
    return line.isprintable() and _PACKAGE.fullmatch(line) is not None


def _why_not(requirement: str) -> str:
    """Say why a requirement cannot be used that is neither a package's name nor a wheel."""
    if " -" in requirement:
        return model_wheels.NO_OPTIONS
    if _ADDRESS.match(requirement):
        return f"packages come from the host's own places (build.index_url, build.find_links); {model_wheels.SHIP_IT}"
    if "/" in requirement or requirement.startswith("."):
        return f"it is a path of the machine where the model was made; {model_wheels.SHIP_IT}"
    return "only package names with versions and wheels in the model are allowed; correct it, and log the model again"
