"""What a process imports is what it waits for and carries with it."""

import subprocess
import sys

import pytest

HEAVY = ("mlflow", "numpy", "jinja2", "gi", "pydbus", "watchdog", "apscheduler", "nats", "rich", "httpx", "requests")
"""Some of what other parts of the product need."""


def imported(*statements: str) -> set[str]:
    """The top packages, and our own modules, that a fresh process has after some statements."""
    code = "; ".join(("import sys", *statements, "print('\\n'.join(sys.modules))"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    modules = done.stdout.split()
    return {name if name.startswith("reconciler.") else name.partition(".")[0] for name in modules}


@pytest.mark.parametrize("command", ["status", "plan", "history", "adopt"])
def test_a_command_waits_for_nothing_that_others_need(command: str) -> None:
    """Each imports what it needs when it is called: before that, nothing heavy is there."""
    found = imported("from reconciler.cli import main")
    assert command
    assert found.isdisjoint(HEAVY)
    ours = {name for name in found if name.startswith("reconciler.")}
    assert not [name for name in ours if name.split(".")[1] in ("settings", "daemon", "adapters", "files", "agent")]


def test_showing_the_status_needs_the_document_alone() -> None:
    """No settings, no planner, no page of one deployment."""
    found = imported("from reconciler.cli import main", "from reconciler.cli.status import document, overview")
    assert found.isdisjoint(HEAVY)
    unneeded = ("reconciler.settings", "reconciler.core.planner", "reconciler.apply", "reconciler.cli.status.page")
    assert not [name for name in found if name.startswith(unneeded)]


def test_asking_the_reconciler_for_its_plan_needs_no_planner() -> None:
    """Nor settings, a log, or what carries a request out: they would be most of the time that people wait."""
    found = imported(
        "from reconciler.cli import main, plan_reading, plan_text",
        "from reconciler.files import plan_file, request_client",
    )
    assert found.isdisjoint({*HEAVY, "structlog"})
    assert not [name for name in found if name.startswith(("reconciler.settings", "reconciler.core.planner"))]


def test_the_reconciler_imports_neither_mlflow_nor_the_network() -> None:
    """It has root's rights."""
    found = imported(
        "from reconciler.adapters.lean import leave_out_rich",
        "leave_out_rich()",
        "from reconciler.adapters import file_events, journal, systemd_dbus",
        "from reconciler.daemon import loop, wiring",
        "assert sys.modules.pop('rich') is None",
    )
    assert "gi" in found  # it looked
    assert found.isdisjoint({"mlflow", "nats", "httpx", "requests", "numpy", "rich", "uvicorn", "jinja2"})


@pytest.mark.parametrize("service", ["agent", "bridge"])
def test_a_service_carries_nothing_that_prints_for_people(service: str) -> None:
    """It is started without arguments and with settings that are not there: it ends when all is imported."""
    found = imported(
        "import os, threading",
        "os.environ['MLFLOW_RECONCILER_CONFIG'] = '/nowhere'",
        f"from reconciler.{service}.__main__ import main",
        # What ends a process ends a thread only.
        "thread = threading.Thread(target=main)",
        "thread.start()",
        "thread.join()",
        "assert sys.modules.pop('rich') is None",
    )
    assert "structlog" in found
    assert found.isdisjoint({"rich", "mlflow"})
