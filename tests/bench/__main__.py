"""`python -m tests.bench`: measure, and write what was found into docs/benchmarks.json and docs/benchmarks.md."""

import argparse
import importlib
import os
import pkgutil
import platform
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

from tests import bench
from tests.bench import page
from tests.bench.subjects import CHECKOUT

DOCS = CHECKOUT / "docs"
ROUNDS = 5


def measuring_modules() -> dict[str, ModuleType]:
    """The modules of this package that have figures and goals, by their names."""
    names = [found.name for found in pkgutil.iter_modules(bench.__path__) if found.name != "__main__"]
    modules = {name: importlib.import_module(f"tests.bench.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "figures") and hasattr(module, "GOALS")}


def machine() -> str:
    """One sentence about what it is measured on."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} with {os.cpu_count()} CPUs ({model}), "
        f"{gib:.0f} GiB of memory, Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}."
    )


def main() -> int:
    """Measure what is asked for. A row that was measured before stays until it is measured again."""
    modules = measuring_modules()
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each row; the median counts")
    parser.add_argument("--only", nargs="+", choices=sorted(modules), default=sorted(modules), metavar="PART")
    parser.add_argument("--quick", action="store_true", help="one round of each row")
    parser.add_argument("--json", type=Path, default=DOCS / "benchmarks.json", metavar="FILE", help="where samples go")
    parser.add_argument("--from", dest="render", action="store_true", help="write the page from the JSON again, only")
    options = parser.parse_args()
    if not options.render:
        measure((modules[name] for name in options.only), 1 if options.quick else options.rounds, options.json)
    if options.json.parent.resolve() == DOCS.resolve():
        page.write(options.json, DOCS)
    return 0


def measure(modules: Iterable[ModuleType], rounds: int, file: Path) -> None:
    """Measure with some modules, and write after each: a run that is broken off has what it found."""
    for module in modules:
        sys.stderr.write(f"bench: measures {module.__name__.rpartition('.')[2]}\n")
        figures, goals = module.figures(rounds), [*module.GOALS]
        if file.exists():
            old_figures, old_goals, _ = page.read(file.read_text())
            figures, goals = page.merged(old_figures, figures), page.merged(old_goals, goals)
        file.write_text(page.document(figures, goals, machine()))


if __name__ == "__main__":
    sys.exit(main())
