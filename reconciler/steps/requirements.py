"""Reads from a model's files what it needs to run, refuses what reaches past the index, and names it by a digest."""

import hashlib
import importlib.util
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from reconciler.core.units.names import HOST_ENVIRONMENT
from reconciler.steps import model_wheels, requirement_files
from reconciler.steps.hashed_requirements import refuse_unhashed, server_pins
from reconciler.steps.manifest import Environment
from reconciler.steps.model_files import read_text
from reconciler.steps.step_report import StepError

SERVER_REQUIREMENTS = "requirements.txt"
# Its code, and what its pages are made of.
_SERVER_FILES = ("*.py", "*.js", "*.css", "*.svg")

_MINOR = re.compile(r"(3\.[0-9]{1,2})(?:\.[0-9]{1,2})?(?:\.?[a-z]+[0-9]*)?")


def read_environment(
    model: Path, kind: str, *, require_hashes: bool = False, ignore_index_options: bool = False
) -> Environment:
    """Read from a fetched model's own files what it needs to run.

    `kind` is "model", or "host" for the product's own interpreter. Odd lines are refused for both: a release may change
    from one kind to the other without another download. Raises StepError with the reason.
    """
    if not (model / "MLmodel").is_file():
        raise StepError(
            "cannot use the model: it has no file MLmodel; log it with MLflow's log_model, not as a bare artifact"
        )
    # All of it is read before anything is decided: the first odd file is the reason, whatever the kind.
    listed = requirement_files.read(model, ignore_index_options=ignore_index_options)
    requirements = tuple(sorted({*listed.requirements, *_not_listed(listed.requirements)}))
    model_wheels.refuse_two_of_one(requirements)
    constraints = tuple(sorted(listed.constraints))
    python = _python(model)
    package = server_package()
    server = server_digest(package)
    pins = hashlib.sha256(server_pins(package).read_bytes()).hexdigest() if require_hashes else None
    if kind == HOST_ENVIRONMENT:
        digest = HOST_ENVIRONMENT  # nothing is installed, so nothing is refused for lack of a hash
    else:
        if require_hashes:
            refuse_unhashed((*requirements, *constraints))
        digest = environment_digest(python, requirements, server, pins, constraints)
    return Environment(
        digest=digest,
        python=python,
        requirements=requirements,
        constraints=constraints,
        modelserver=server,
        pins=pins,
        ignored=tuple(sorted(listed.ignored)),
    )


def environment_digest(
    python: str, requirements: tuple[str, ...], server: str, pins: str | None = None, constraints: tuple[str, ...] = ()
) -> str:
    """Identify an environment by everything that goes into it: 32 hex digits.

    `pins`: where every file must have a known hash, the digest of those that the server brings along.
    """
    content: dict[str, Any] = {"python": python, "requirements": sorted(requirements), "modelserver": server}
    # Without them no key at all: older digests stay valid.
    if pins:
        content["pins"] = pins
    if constraints:
        content["constraints"] = sorted(constraints)
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
    sources = [path for pattern in _SERVER_FILES for path in package.rglob(pattern) if path.is_file()]
    return tuple(sorted(path.relative_to(package) for path in (*sources, package / SERVER_REQUIREMENTS)))


def server_digest(package: Path) -> str:
    """Digest the model server's sources and requirements."""
    digest = hashlib.sha256()
    for path in server_sources(package):
        content = (package / path).read_bytes()
        digest.update(f"{path.as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _not_listed(lines: Iterable[str]) -> list[str]:
    """Name what MLflow before 3 imports without requiring it: pkg_resources, which newer setuptools lack.

    MLflow's own environments have it because they put pip and setuptools into each.
    """
    by_name = [model_wheels.named(line) for line in lines]
    has_old_mlflow = any(re.match(r"mlflow(-skinny)?\s*==\s*[012]\.", line, re.IGNORECASE) for line in by_name)
    has_setuptools = any(re.match(r"setuptools\b", line, re.IGNORECASE) for line in by_name)
    return ["setuptools<81"] if has_old_mlflow and not has_setuptools else []


def _python(model: Path) -> str:
    """Read which Python minor the model was made with, from the first file that says so."""
    for python in (_from_python_env(model), _from_conda(model), _from_mlmodel(model)):
        match = _MINOR.fullmatch(str(python).strip()) if python is not None else None
        if match:
            return match[1]
    raise StepError("cannot tell which Python the model needs: none of its files says so; log it again with MLflow")


def _from_python_env(model: Path) -> Any:
    return _yaml(model, "python_env.yaml").get("python")


def _from_conda(model: Path) -> Any:
    dependencies = _yaml(model, "conda.yaml").get("dependencies")
    if not isinstance(dependencies, list):
        return None
    for line in dependencies:
        match = re.fullmatch(r"python\s*==?\s*([0-9.]+)", line.strip()) if isinstance(line, str) else None
        if match:
            return match[1]
    return None


def _from_mlmodel(model: Path) -> Any:
    flavors = _yaml(model, "MLmodel").get("flavors")
    function = flavors.get("python_function") if isinstance(flavors, dict) else None
    return function.get("python_version") if isinstance(function, dict) else None


def _yaml(model: Path, name: str) -> dict[Any, Any]:
    """Read a mapping from a YAML file of the model; {} when there is no file, or something else in it."""
    text = read_text(model, name)
    try:
        content = yaml.safe_load(text) if text is not None else None
    # YAML also allows dates, numbers and depths that Python does not.
    except (yaml.YAMLError, ValueError, RecursionError):
        raise StepError(f"cannot read the model's {name}: it is not YAML; log the model again") from None
    return content if isinstance(content, dict) else {}
