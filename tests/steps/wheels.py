"""A wheelhouse of tiny packages made on the spot, so that environments are built for real and without a network."""

import io
import stat
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path


def wheel(
    house: Path,
    name: str,
    version: str,
    *,
    requires: tuple[str, ...] = (),
    tag: str = "py3-none-any",
    files: Mapping[str, str | bytes] | None = None,
    links: Mapping[str, str] | None = None,
    record: str | None = None,
) -> None:
    """Add a wheel whose package says its version, with more `files` beside it and `links` to elsewhere.

    `record`: what it says instead of what is in it.
    """
    house.mkdir(parents=True, exist_ok=True)
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    files = {
        f"{module}/__init__.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n",
        **(files or {}),
    }
    paths = [*files, *(links or {}), f"{info}/RECORD"]
    files[f"{info}/RECORD"] = record if record is not None else "".join(f"{path},,\n" for path in paths)
    with zipfile.ZipFile(house / f"{module}-{version}-{tag}.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        for path, target in (links or {}).items():
            link = zipfile.ZipInfo(path)
            link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            archive.writestr(link, target)


def source(house: Path, name: str, version: str, building: str = "") -> None:
    """Add a source distribution, which must be built before it can be installed.

    `building`: Python that runs while it is built, by itself; the text that it puts into `seen` is in the package.
    """
    house.mkdir(parents=True, exist_ok=True)
    files = {
        "pyproject.toml": f'[project]\nname = "{name}"\nversion = "{version}"\n',
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    }
    if building:
        files["pyproject.toml"] += (
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'  # its own: no network
        )
        files["building.py"] = building
        files["backend.py"] = BACKEND.format(name=name, version=version)
    with tarfile.open(house / f"{name}-{version}.tar.gz", "w:gz") as archive:
        for path, content in files.items():
            member = tarfile.TarInfo(f"{name}-{version}/{path}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content.encode()))


BACKEND = """
import zipfile, runpy

def get_requires_for_build_wheel(config_settings=None):
    return []

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    seen = runpy.run_path("building.py")["seen"]
    file = "{name}-{version}-py3-none-any.whl"
    info = "{name}-{version}.dist-info"
    with zipfile.ZipFile(f"{{wheel_directory}}/{{file}}", "w") as wheel:
        wheel.writestr("{name}/__init__.py", "")
        wheel.writestr("{name}/seen", seen)
        wheel.writestr(f"{{info}}/METADATA", "Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
        wheel.writestr(f"{{info}}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{{info}}/RECORD", "")
    return file
"""


def server_needs(house: Path) -> None:
    """Add stand-ins for what the model server requires: 9.0 where it has no upper bound, else a version within it."""
    for name, version in (("starlette", "9.0"), ("python-multipart", "9.0"), ("uvicorn", "0.54.0"), ("h11", "0.16.0")):
        wheel(house, name, version)
