"""The linters, as tests: what they say is what a failing test says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
PYTHON_SOURCES = ("reconciler", "modelserver", "pipeline.py", "examples", "tests")
LAUNCHERS = ("reconciler", "modelserver", "release-step")
SHELL_SCRIPTS = ("dev", ".ci/run", "systemd/install.sh", *(f"systemd/launchers/{name}" for name in LAUNCHERS))
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


def run(*command: str) -> None:
    """Run a linter in the checkout and fail with what it says."""
    found = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.fail(f"{' '.join(command)}\n{found.stdout}{found.stderr}", pytrace=False)


def tool(name: str) -> str:
    """Path of a tool in the environment that runs the tests."""
    return str(Path(sys.executable).with_name(name))


def documents() -> list[Path]:
    """Every Markdown file of the project."""
    return [*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md"), *(CHECKOUT / "examples").rglob("*.md")]


def test_ruff_finds_nothing() -> None:
    """Style and likely bugs."""
    run(tool("ruff"), "check", ".")


def test_the_code_is_formatted() -> None:
    """`ruff format` would change nothing."""
    run(tool("ruff"), "format", "--check", ".")


def test_mypy_strict_finds_nothing() -> None:
    """Types."""
    run(tool("mypy"), "--strict", "--explicit-package-bases", *PYTHON_SOURCES)


def test_layers_are_kept() -> None:
    """The contracts in pyproject.toml about who imports whom."""
    run(tool("lint-imports"), "--no-cache")


def test_shell_scripts_are_clean() -> None:
    """The shell scripts, where shellcheck is installed (./dev test installs it)."""
    if shutil.which("shellcheck") is None:
        pytest.skip("needs Debian's package shellcheck")
    run("shellcheck", "--external-sources", *SHELL_SCRIPTS)


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_links_of_the_documents_lead_somewhere(document: Path) -> None:
    """Files and headings that a document links to exist."""
    broken = []
    for match in LINK.finditer(_without_code(document.read_text())):
        target = match[1] or match[2]
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        if not file.exists() or (heading and heading not in _headings(file)):
            broken.append(target)
    assert not broken, f"{document.name} links to what does not exist: {', '.join(broken)}"


def _without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def _headings(file: Path) -> set[str]:
    """The names that headings have in links."""
    titles = re.findall(r"^#+\s+(.*?)\s*$", re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
