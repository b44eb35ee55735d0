"""Reads from a model's files what it needs to run, refuses what reaches past the index, and names it by a digest."""

import hashlib
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import yaml

from reconciler.core.units.names import HOST_ENVIRONMENT
from reconciler.steps.hashed_requirements import hashed, logical_lines, refuse_unhashed, server_pins, with_sorted_hashes
from reconciler.steps.manifest import Environment
from reconciler.steps.step_report import StepError

MAX_FILE_BYTES = 1024 * 1024
MAX_REQUIREMENTS = 1000
SERVER_REQUIREMENTS = "requirements.txt"

MAX_REQUIREMENT = 1000
"""Characters of one requirement."""

# A name, perhaps extras, then versions and markers; every other form names a place or an option. It is looser than
# packaging.Requirement on purpose: `gpg==1.14.0-unknown` is no version that can be installed, yet a model that lists it
# runs in the host's environment. What is not accepted here would never be fetched.
_PACKAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\s*(?:\[[A-Za-z0-9._,\s-]*\])?\s*(?:$|[(<>=!~;].*)")
_MINOR = re.compile(r"(3\.[0-9]{1,2})(?:\.[0-9]{1,2})?(?:\.?[a-z]+[0-9]*)?")


def read_environment(model: Path, kind: str, *, require_hashes: bool = False) -> Environment:
    """Read from a fetched model's own files what it needs to run.

    `kind` is "model", or "host" for the product's own interpreter. Odd lines are refused for both: a release may change
    from one kind to the other without another download. Raises StepError with the reason.
    """
    if not (model / "MLmodel").is_file():
        raise StepError(
            "cannot use the model: it has no file MLmodel; log it with MLflow's log_model, not as a bare artifact"
        )
    # All of it is read before anything is decided: the first odd file is the reason, whatever the kind.
    requirements = _requirements(model)
    python = _python(model)
    package = server_package()
    server = server_digest(package)
    pins = hashlib.sha256(server_pins(package).read_bytes()).hexdigest() if require_hashes else None
    if kind == HOST_ENVIRONMENT:
        digest = HOST_ENVIRONMENT  # nothing is installed, so nothing is refused for lack of a hash
    else:
        if require_hashes:
            refuse_unhashed(requirements)
        digest = environment_digest(python, requirements, server, pins)
    return Environment(digest=digest, python=python, requirements=requirements, modelserver=server, pins=pins)


def environment_digest(python: str, requirements: tuple[str, ...], server: str, pins: str | None = None) -> str:
    """Identify an environment by everything that goes into it: 32 hex digits.

    `pins`: where every file must have a known hash, the digest of those that the server brings along.
    """
    content = {"python": python, "requirements": sorted(requirements), "modelserver": server}
    if pins:  # without them no key at all: older digests stay valid
        content["pins"] = pins
    document = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(document.encode()).hexdigest()[:32]


def server_package() -> Path:
    """Find the installed model server without importing it."""
    spec = importlib.util.find_spec("modelserver")
    if spec is None or spec.origin is None:
        raise StepError("cannot find the model server's package: the product is not installed whole; run ./dev install")
    return Path(spec.origin).parent


def server_sources(package: Path) -> tuple[Path, ...]:
    """List the files that make the model server, as paths relative to its package."""
    sources = [path for path in package.rglob("*.py") if path.is_file()] + [package / SERVER_REQUIREMENTS]
    return tuple(sorted(path.relative_to(package) for path in sources))


def server_digest(package: Path) -> str:
    """Digest the model server's sources and requirements."""
    digest = hashlib.sha256()
    for path in server_sources(package):
        content = (package / path).read_bytes()
        digest.update(f"{path.as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _requirements(model: Path) -> tuple[str, ...]:
    text = _read(model / "requirements.txt")
    if text is None:
        raise StepError(
            "cannot tell what the model needs: it has no requirements.txt; log it again with pip_requirements=[…]"
        )
    lines = sorted(set(logical_lines(text)))
    if len(lines) > MAX_REQUIREMENTS:
        raise StepError(
            f"cannot use the model's requirements: more than {MAX_REQUIREMENTS} lines; list direct ones only"
        )
    for whole in lines:
        line, _ = hashed(whole)
        if not _names_a_package(line):
            raise StepError(
                f"cannot use the model's requirement {line[:120]!r}: only package names with versions are allowed, "
                "indexes and files are the host's settings; log the model again without it"
            )
    return tuple(sorted({*map(with_sorted_hashes, lines), *_not_listed(lines)}))


def _names_a_package(line: str) -> bool:
    """Whether a requirement, without its hashes, is a package name with versions: no place, no option of uv's."""
    has_option = " --" in line
    is_continued = "\\" in line
    is_short = len(line) <= MAX_REQUIREMENT
    if has_option or is_continued or not is_short:
        return False
    return line.isprintable() and _PACKAGE.fullmatch(line) is not None


def _not_listed(lines: list[str]) -> list[str]:
    """Name what MLflow before 3 imports without requiring it: pkg_resources, which newer setuptools lack.

    MLflow's own environments have it because they put pip and setuptools into each.
    """
    has_old_mlflow = any(re.match(r"mlflow(-skinny)?\s*==\s*[012]\.", line, re.IGNORECASE) for line in lines)
    has_setuptools = any(re.match(r"setuptools\b", line, re.IGNORECASE) for line in lines)
    return ["setuptools<81"] if has_old_mlflow and not has_setuptools else []


def _python(model: Path) -> str:
    """Read which Python minor the model was made with, from the first file that says so."""
    for python in (_from_python_env(model), _from_conda(model), _from_mlmodel(model)):
        match = _MINOR.fullmatch(str(python).strip()) if python is not None else None
        if match:
            return match[1]
    raise StepError("cannot tell which Python the model needs: none of its files says so; log it again with MLflow")


def _from_python_env(model: Path) -> Any:
    return _yaml(model / "python_env.yaml").get("python")


def _from_conda(model: Path) -> Any:
    dependencies = _yaml(model / "conda.yaml").get("dependencies")
    if not isinstance(dependencies, list):
        return None
    for line in dependencies:
        match = re.fullmatch(r"python\s*==?\s*([0-9.]+)", line.strip()) if isinstance(line, str) else None
        if match:
            return match[1]
    return None


def _from_mlmodel(model: Path) -> Any:
    flavors = _yaml(model / "MLmodel").get("flavors")
    function = flavors.get("python_function") if isinstance(flavors, dict) else None
    return function.get("python_version") if isinstance(function, dict) else None


def _yaml(path: Path) -> dict[Any, Any]:
    """Read a mapping from a YAML file of the model; {} when there is no file, or something else in it."""
    text = _read(path)
    try:
        content = yaml.safe_load(text) if text is not None else None
    # YAML also allows dates, numbers and depths that Python does not.
    except (yaml.YAMLError, ValueError, RecursionError):
        raise StepError(f"cannot read the model's {path.name}: it is not YAML; log the model again") from None
    return content if isinstance(content, dict) else {}


def _read(path: Path) -> str | None:
    """Read a text file of the model, up to a limit; None when there is none. Raises StepError."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    if len(raw) > MAX_FILE_BYTES:
        raise StepError(f"cannot read the model's {path.name}: it has more than a megabyte; log the model again")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise StepError(f"cannot read the model's {path.name}: it is not UTF-8 text; log the model again") from None
