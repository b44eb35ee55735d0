"""The choice of extras by `systemd/install.sh`, and their locks; tests/system/test_install.py installs."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.unit.conftest import CHECKOUT

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
EXTRAS = sorted(PROJECT["optional-dependencies"])


def pinned(lock: str) -> dict[str, set[str]]:
    """The versions of each package in a lock."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)", (CHECKOUT / lock).read_text(), re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_lock_of_an_extra_goes_with_the_products_own(extra: str) -> None:
    """It adds packages and changes none; each has its hashes, and no index is named."""
    text = (CHECKOUT / f"requirements-{extra}.lock").read_text()
    added = pinned(f"requirements-{extra}.lock")
    assert added
    assert not added.keys() & pinned("requirements.lock").keys()
    assert text.count("==") <= text.count("--hash=sha256:")
    assert "://" not in text
    wanted = {re.split(r"[^a-z0-9-]", one)[0] for one in PROJECT["optional-dependencies"][extra]}
    assert wanted <= added.keys()


def test_extras_can_be_installed_together() -> None:
    """Where two of them need the same package, they need the same version."""
    versions: dict[str, set[str]] = {}
    for extra in EXTRAS:
        for name, found in pinned(f"requirements-{extra}.lock").items():
            assert versions.setdefault(name, found) == found
    assert set(EXTRAS) == {path.stem.partition("-")[2] for path in CHECKOUT.glob("requirements-*.lock")} - {"dev"}


@pytest.mark.parametrize(
    ("before", "asked", "chosen"),
    [
        (None, [], []),
        (None, ["gs"], ["gs"]),
        (None, ["gs", "azure", "gs"], ["azure", "gs"]),
        ("gs\n", [], ["gs"]),
        ("azure\ngs\n", [], ["azure", "gs"]),
        ("gs\n", ["azure"], ["azure", "gs"]),
        ("gs\n", ["gs"], ["gs"]),
        ("gs\n", ["none"], []),
        ("azure\ngs\n", ["none", "gs"], ["gs"]),
        ("azure\ngs\n", ["gs", "none"], ["gs"]),
        ("", [], []),
    ],
)
def test_an_install_adds_to_the_extras_that_are_there_unless_none_is_asked_for(
    tmp_path: Path, before: str | None, asked: list[str], chosen: list[str]
) -> None:
    """So neither an upgrade nor another extra takes a library away from under a model's next version."""
    if before is not None:
        (tmp_path / "venv").mkdir()
        (tmp_path / "venv/extras").write_text(before)
    program = 'set -euo pipefail; checkout=$1; source "$1/systemd/install.sh"; prefix=$2; shift 2; choose_extras "$@"'
    done = subprocess.run(
        ["bash", "-c", program, "bash", str(CHECKOUT), str(tmp_path), *asked],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == chosen


@pytest.mark.parametrize("arguments", [["--with"], ["--with", "dev"], ["--with", "s3"], ["--without", "gs"]])
def test_an_extra_that_there_is_not_is_refused_before_anything_else(arguments: list[str]) -> None:
    """With the names of those that there are."""
    done = subprocess.run(
        [str(CHECKOUT / "dev"), "install", *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "cannot install" in done.stderr
    assert re.search("gs.*azure.*none", done.stderr)
    assert "needs root" not in done.stderr
