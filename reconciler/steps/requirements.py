"""What a model needs to run: read from its own files, refused where it reaches past the index, named by a digest."""

import hashlib
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import yaml

from reconciler.core.units.names import HOST_ENVIRONMENT
from reconciler.steps.hashed_requirements import canonical, hashed, logical_lines, refuse_unhashed, server_pins
from reconciler.steps.manifest import Environment
from reconciler.steps.step_report import StepError

MAX_FILE_BYTES = 1024 * 1024
MAX_REQUIREMENTS = 1000
SERVER_REQUIREMENTS = "requirements.txt"

# A name, perhaps extras, then versions and markers; every other form names a place or an option.
_REQUIREMENT = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\s*(?:\[[A-Za-z0-9._,\s-]*\])?\s*(?:$|[(<>=!~;].*)"
)
_MINOR = re.compile(r"(3\.[0-9]{1,2})(?:\.[0-9]{1,2})?(?:\.?[a-z]+[0-9]*)?")


def read_environment(model: Path, kind: str, *, require_hashes: bool = False) -> Environment:
    """Read from a fetched model's own files what it needs; `kind` is "model", or "host" for the product's interpreter.

    Raises StepError with the reason why this cannot be an environment.
    """
    if not (model / "MLmodel").is_file():
        raise StepError(
            "cannot use the model: it has no file MLmodel; log it with MLflow's log_model, not as a bare artifact"
        )
    requirements, python, server = _requirements(model), _python(model), server_digest(server_package())
    pins = hashlib.sha256(server_pins(server_package()).read_bytes()).hexdigest() if require_hashes else None
    digest = HOST_ENVIRONMENT
    if kind != HOST_ENVIRONMENT:
        if require_hashes:
            refuse_unhashed(requirements)
        digest = environment_digest(python, requirements, server, pins)
    return Environment(digest=digest, python=python, requirements=requirements, modelserver=server, pins=pins)


def environment_digest(python: str, requirements: tuple[str, ...], server: str, pins: str | None = None) -> str:
    """Identify an environment by everything that goes into it: 32 hex digits.

    `pins`: where every file must have a known hash, the digest of those that the server brings along.
    """
    content = {"python": python, "requirements": sorted(requirements), "modelserver": server}
    content |= {"pins": pins} if pins else {}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


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
        if (
            not _REQUIREMENT.fullmatch(line)
            or " --" in line
            or "\\" in line
            or len(line) > 1000
            or not line.isprintable()
        ):
            raise StepError(
                f"cannot use the model's requirement {line[:120]!r}: only package names with versions are allowed, "
                "indexes and files are the host's settings; log the model again without it"
            )
    return tuple(sorted({*map(canonical, lines), *_unsaid(lines)}))


def _unsaid(lines: list[str]) -> list[str]:
    """Name what MLflow before 3 imports without requiring it: pkg_resources, which newer setuptools lack.

    MLflow's own environments have it because they put pip and setuptools into each.
    """
    old = any(re.match(r"mlflow(-skinny)?\s*==\s*[012]\.", line, re.IGNORECASE) for line in lines)
    said = any(re.match(r"setuptools\b", line, re.IGNORECASE) for line in lines)
    return ["setuptools<81"] if old and not said else []


def _python(model: Path) -> str:
    """Read which Python minor the model was made with, from the first file that says so."""
    for wanted in (_from_python_env(model), _from_conda(model), _from_mlmodel(model)):
        if wanted is not None and (match := _MINOR.fullmatch(str(wanted).strip())):
            return match[1]
    raise StepError("cannot tell which Python the model needs: none of its files says so; log it again with MLflow")


def _from_python_env(model: Path) -> Any:
    return _yaml(model / "python_env.yaml").get("python")


def _from_conda(model: Path) -> Any:
    dependencies = _yaml(model / "conda.yaml").get("dependencies")
    for line in dependencies if isinstance(dependencies, list) else []:
        if isinstance(line, str) and (match := re.fullmatch(r"python\s*==?\s*([0-9.]+)", line.strip())):
            return match[1]
    return None


def _from_mlmodel(model: Path) -> Any:
    flavors = _yaml(model / "MLmodel").get("flavors")
    function = flavors.get("python_function") if isinstance(flavors, dict) else None
    return function.get("python_version") if isinstance(function, dict) else None


def _yaml(path: Path) -> dict[Any, Any]:
    text = _read(path)
    try:
        content = yaml.safe_load(text) if text is not None else None
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ):  # dates, numbers and depths that YAML allows and Python does not
        raise StepError(f"cannot read the model's {path.name}: it is not YAML; log the model again") from None
    return content if isinstance(content, dict) else {}


def _read(path: Path) -> str | None:
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
