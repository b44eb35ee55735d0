"""The linters, as tests: what they say is what a failing test says."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
PYTHON_SOURCES = ("reconciler", "modelserver", "containerserver", "package", "pipeline.py", "examples", "tests")
LAUNCHERS = ("reconciler", "modelserver", "containerserver", "nats-bridge", "release-step", "server-temp")
SHELL_SCRIPTS = (
    "dev",
    ".ci/run",
    "systemd/install.sh",
    "tests/kubernetes/build.sh",
    *(f"systemd/launchers/{name}" for name in LAUNCHERS),
)
EXTRAS = ("requirements-gs.lock", "requirements-azure.lock")
LOCKS = ("requirements.lock", "requirements-dev.lock", "modelserver/requirements.lock", *EXTRAS)
AUDIT_SECONDS = 120
# A code and a reason behind it, on the same line.
EXCEPTION = re.compile(r"#\s*(?:noqa|type:\s*ignore)\b")
WITH_REASON = re.compile(
    r"# (?:noqa: [A-Z]+\d+(?:, [A-Z]+\d+)* - \S|type: ignore(?:\[[a-z, -]+\])?(?:,? # noqa: [A-Z0-9, ]+ - |  # )\S)"
)
WITH_DOCUMENTS = ("docs", "examples", "tests")
MOST_COLUMNS = 120
ATTACKS_AT_LEAST = 61
SENTENCES_AT_LEAST = 15
# An item of a list with all that is indented below it, up to the next item or heading.
ATTACK = re.compile(r"^- .*?(?=^- |^#|\Z)", re.MULTILINE | re.DOTALL)
NAMED_TEST = re.compile(r"(\w[\w/]*\.py)?(?:::(\w+)(?:\[\w+\])?)?")
# A file of the project as documents name it: with a folder, in the short form below `reconciler/` or `tests/`, too.
NAMED_FILE = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|j2|md|toml|lock|catalog|sh))`")
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
    below = (path for folder in WITH_DOCUMENTS for path in (CHECKOUT / folder).rglob("*.md"))
    return sorted([*CHECKOUT.glob("*.md"), *below])


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


# Where a line is appended, and what import-linter or ruff says of it.
FORBIDDEN = (
    ("core/planner/plan.py", "import os", "os"),
    ("core/planner/plan.py", "from pathlib import Path", "pathlib"),
    ("core/planner/rollout.py", "import time", "time"),
    ("core/planner/soak.py", "from random import random", "random"),
    ("core/state/ledger.py", "import structlog", "structlog"),
    ("core/planner/plan.py", "from reconciler.settings.model import Settings", "reconciler.settings"),
    ("core/planner/plan.py", "from reconciler.adapters.journal import notify", "reconciler.adapters"),
    ("core/planner/plan.py", "from reconciler.steps.tree import remove_tree", "reconciler.steps"),
    ("core/planner/plan.py", "from reconciler.adapters.credentials import registry_login", "reconciler.adapters"),
    ("core/state/status.py", "from reconciler.core.planner.plan import plan", "reconciler.core.planner"),
    ("core/text/quote.py", "from reconciler.core.units import names", "reconciler.core.units"),
    ("settings/model.py", "from reconciler.files import atomic", "reconciler.files"),
    ("apply/render.py", "from reconciler.adapters import signals", "reconciler.adapters"),
    ("agent/poll.py", "from reconciler.daemon import loop", "reconciler.daemon"),
    ("daemon/loop.py", "from reconciler.adapters import mlflow_client", "mlflow"),
    ("a_new_one.py", "import json", "a_new_one"),
    ("core/a_new_one.py", "import json", "a_new_one"),
)


@pytest.mark.parametrize(("module", "line", "told"), FORBIDDEN, ids=lambda text: str(text).replace(" ", "-"))
def test_what_may_not_be_imported_breaks_a_contract(tmp_path: Path, module: str, line: str, told: str) -> None:
    """Each line alone, in a copy of the tree that test_layers_are_kept found to be right."""
    for part in ("reconciler", "modelserver", "containerserver", "tests/contracts.py", "pyproject.toml"):
        source, target = CHECKOUT / part, tmp_path / part
        target.parent.mkdir(exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
    with (tmp_path / "reconciler" / module).open("a") as file:
        file.write(f"{line}\n")
    done = subprocess.run(
        [tool("lint-imports"), "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout
    assert "BROKEN" in done.stdout
    assert told in done.stdout.partition("BROKEN")[2]


@pytest.mark.parametrize(
    "line",
    [
        "from datetime import UTC, datetime; datetime.now(UTC)",
        "from datetime import datetime; datetime.now()",
        "from datetime import date; date.today()",
        "from urllib.request import urlopen",
    ],
)
def test_the_core_asks_no_clock(tmp_path: Path, line: str) -> None:
    """What import-linter cannot tell from what is allowed, ruff does: parts of a module that the core may import."""
    shutil.copyfile(CHECKOUT / "pyproject.toml", tmp_path / "pyproject.toml")
    for place in ("core", "daemon"):
        (tmp_path / "reconciler" / place).mkdir(parents=True)
        (tmp_path / "reconciler" / place / "clock.py").write_text(f"{line}\n")
    command = (tool("ruff"), "check", "--select", "TID251", "--output-format", "concise", ".")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "reconciler/core/clock.py:1:" in done.stdout
    assert "reconciler/daemon" not in done.stdout


def test_shell_scripts_are_clean() -> None:
    """The shell scripts, where shellcheck is installed (./dev test installs it)."""
    if shutil.which("shellcheck") is None:
        pytest.skip("needs Debian's package shellcheck")
    run("shellcheck", "--external-sources", *SHELL_SCRIPTS)


def test_every_exception_from_a_rule_says_why() -> None:
    """No `noqa` and no `type: ignore` without its code and its reason on the line."""
    sources = [
        path
        for name in PYTHON_SOURCES
        for path in ([CHECKOUT / name] if name.endswith(".py") else sorted((CHECKOUT / name).rglob("*.py")))
    ]
    assert len(sources) > 100
    silent = [
        f"{path.relative_to(CHECKOUT)}:{number}: {line.strip()}"
        for path in sources
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if EXCEPTION.search(line) and not WITH_REASON.search(line)
    ]
    assert not silent, "no reason given:\n" + "\n".join(silent)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_known_vulnerability_has_a_verdict(lock: str) -> None:
    """What pip-audit finds in the locks is fixed, or listed with a verdict in pyproject.toml."""
    if not Path(tool("pip-audit")).exists():
        pytest.skip("needs pip-audit, of pyproject.toml's group dev")
    command = (tool("pip-audit"), "--require-hashes", "--disable-pip", "--format", "json", "--timeout", "10")
    try:
        done = subprocess.run(
            [*command, "--progress-spinner", "off", "--requirement", lock],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
            timeout=AUDIT_SECONDS,
        )
        answers = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        answers = []
    if not any("vulns" in one for one in answers):
        pytest.skip("cannot reach the database of vulnerabilities from here: nothing was audited")
    if missed := [one["name"] for one in answers if "vulns" not in one]:
        warnings.warn(f"{lock}: the database knows nothing of {', '.join(missed)}: not audited", stacklevel=1)
    verdicts = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["mlflow-systemd"]["vulnerabilities"]
    found = {finding["id"]: one for one in answers for finding in one.get("vulns", ())}
    unlisted = [f"{one['name']} {one['version']}: {known}" for known, one in found.items() if not verdicts.get(known)]
    assert not unlisted, f"{lock}: {', '.join(unlisted)}; upgrade (./dev lock), or give a verdict in pyproject.toml"


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


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_no_line_of_a_document_is_wider_than_the_code(document: Path) -> None:
    """Tables and examples of output included: they are read in terminals and in reviews."""
    lines = enumerate(document.read_text().splitlines(), 1)
    wide = [f"{document.name}:{number}: {len(line)} columns" for number, line in lines if len(line) > MOST_COLUMNS]
    assert not wide, "\n".join(wide)


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_files_that_a_document_names_exist(document: Path) -> None:
    """Whoever moves a file finds where it was described."""
    roots = (CHECKOUT, CHECKOUT / "reconciler", CHECKOUT / "tests", document.parent)
    named = NAMED_FILE.findall(document.read_text())
    lost = [name for name in named if not any((root / name).exists() for root in roots)]
    assert not lost, f"{document.name} names what does not exist: {', '.join(lost)}"


def test_every_sentence_about_a_rejection_is_found_where_the_developers_page_says() -> None:
    """docs/developing.md: the words are in the file that writes them, and each function that is named exists."""
    text = (CHECKOUT / "docs/developing.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \| (`[\w/]+\.py:\w+`.*)$", text, re.MULTILINE)
    assert len(rows) >= SENTENCES_AT_LEAST
    for words, places in rows:
        written_in = _source(re.findall(r"`([\w/]+\.py):", places)[0])
        assert words in written_in, f"{words!r} is not where the table says"
    for path, name in re.findall(r"`([\w/]+\.py):(\w+)`", text):
        assert re.search(rf"^ *(def {name}\(|{name}\b.*= )", _source(path), re.MULTILINE), f"{path} has no {name}"


def _source(path: str) -> str:
    """The text of a file that documents may name without the folder `reconciler/`."""
    full = CHECKOUT / path
    return (full if full.exists() else CHECKOUT / "reconciler" / path).read_text()


def test_every_attack_names_a_test_that_exists() -> None:
    """docs/security.md: each attack says what stops it, and names tests that are in the files where they should be."""
    text = (CHECKOUT / "docs/security.md").read_text()
    section = text.partition("\n## Attacks\n")[2].partition("\n## ")[0]
    attacks = ATTACK.findall(section)
    assert len(attacks) >= ATTACKS_AT_LEAST
    for attack in attacks:
        what, _, named = attack.partition("\n  - Tests: ")
        assert re.search(r"\n  - Stopped by: \S", what), attack
        file = None
        for name in re.findall(r"`([^`]+)`", named):
            parts = NAMED_TEST.fullmatch(name)
            assert parts, f"{name} is no test: {attack}"
            file = CHECKOUT / "tests" / parts[1] if parts[1] else file
            assert file is not None, attack
            assert file.exists(), f"there is no {file}: {attack}"
            assert not parts[2] or f"\ndef {parts[2]}(" in file.read_text(), f"{file.name} has no {parts[2]}"
        assert file is not None, attack


def _without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)


def _headings(file: Path) -> set[str]:
    """The names that headings have in links."""
    titles = re.findall(r"^#+\s+(.*?)\s*$", re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
