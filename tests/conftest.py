"""Fixtures of the system tests, and what pytest does with them: skipped loudly, journals of hosts shown on failure."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.host import Host, Layers, Registry, installed_host, installed_image, why_no_host

# Machines are shared: how long an example takes says nothing of the code.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


@pytest.fixture(scope="session")
def image() -> Iterator[Layers]:
    """Layers of a host on which `./dev install` has run and nothing has been started yet."""
    with installed_image() as layers:
        yield layers


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests in a browser keep their pictures, for people to look at."""
    directory = tmp_path_factory.mktemp("pictures")
    print(f"\npictures of the pages: {directory}")  # noqa: T201 - people look at them
    return directory


@pytest.fixture
def bare_host() -> Iterator[Host]:
    """A booted host without the product."""
    with Host("bare") as host:
        yield host


@pytest.fixture
def host(image: Layers) -> Iterator[Host]:
    """A booted host with the product installed and running; its registry is not."""
    with installed_host(image) as host:
        yield host


@pytest.fixture
def registry(host: Host) -> Registry:
    """The MLflow server that `host` is set to, started."""
    registry = Registry(host, host.registry_port)
    registry.start()
    return registry


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("system") is None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a host where none can be booted; in CI that is a failure."""
    if item.get_closest_marker("system") is None:
        return
    reason = why_no_host()
    if reason is not None and os.environ.get("CI") == "true":
        pytest.fail(f"cannot boot a host: {reason}; CI=true makes this a failure", pytrace=False)
    if reason is not None:
        pytest.skip(f"cannot boot a host: {reason}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the journal of every host that runs while a system test fails."""
    report = yield
    if report.failed and item.get_closest_marker("system") is not None:
        for host in Host.alive:
            report.sections.append((f"journal of {host.name}", host.journal("--lines=250")))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the very end when the system tests did not run: a green run without them proves little."""
    reason = why_no_host()
    skipped = [
        report for report in terminalreporter.getreports("skipped") if "cannot boot a host" in str(report.longrepr)
    ]
    if reason is not None and skipped:
        terminalreporter.write_line(
            f"SYSTEM TESTS DID NOT RUN: {len(skipped)} skipped, because booting a host {reason}", red=True, bold=True
        )
