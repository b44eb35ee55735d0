"""`./dev demo`: the whole path on a throwaway host, from `./dev install` to a prediction, an update and a removal."""

import shlex
import signal
import textwrap
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from tests.host.host import CHECKOUT_INSIDE, Host
from tests.host.image import INSTALL_SECONDS, prepared_environments
from tests.host.installed import configure
from tests.host.registry import Registry
from tests.load import Load
from tests.system.site import SCIENTIST, Site, code

if TYPE_CHECKING:
    from pipeline import ExampleRequest

# ruff: noqa: T201 - it talks to people

NAME = "pauses"
EXAMPLE = "/opt/mlflow-reconciler/examples/pauses"
MODEL = ("--name", NAME, "--model", f"{EXAMPLE}/pauses.py:Pauses")
SETTINGS = "[deploy]\nsoak = 10\n"
CONNECTIONS = 8
MORE = 300  # requests before and after a change
WRONG = "self.n = getattr(self, 'n', 0) + 1; return ([], 'inconclusive') if self.n % 2 else 1 // 0"
STRICTER = ("--artifact", f"thresholds={EXAMPLE}/strict.json", "--update")
SERVING_SECONDS = 600  # a cold cache of packages behind a slow line; some 20 s are usual


class Timeline:
    """The steps with their seconds, shown as they happen and once more at the end."""

    def __init__(self) -> None:
        """Start the clock."""
        self.steps: list[tuple[str, float]] = []

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Time one step."""
        print(f"\n=== {what}", flush=True)
        started = time.monotonic()
        yield
        self.steps.append((what, time.monotonic() - started))
        print(f"    ({self.steps[-1][1]:.1f} s)", flush=True)

    def show(self) -> None:
        """Print all steps with their seconds."""
        print("\n=== timeline")
        for what, seconds in self.steps:
            print(f"{seconds:7.1f} s  {what}")
        print(f"{sum(seconds for _, seconds in self.steps):7.1f} s  in all", flush=True)


@contextmanager
def installed_site(timeline: Timeline, settings: str) -> Iterator[Site]:
    """Boot a host, install the product on it as people do, and start a registry there."""
    with timeline.step("packages of requirements.lock (kept for the next time)"), prepared_environments() as seed:
        host = Host("demo", seed=seed)
    try:
        with timeline.step("boot a host over this machine's own root: systemd, D-Bus, journal"):
            configure(host, settings)
            host.boot()
        with timeline.step("./dev install"):
            host.run([f"{CHECKOUT_INSIDE}/dev", "install"], timeout=INSTALL_SECONDS, live=True)
        with timeline.step("start an MLflow server on it: sqlite, one worker"):
            site = Site(host, Registry(host, host.registry_port))
            site.registry.start()
            host.wait_for(lambda: site.registry_status()["reachable"] or None, 60, "the agent to read the registry")
            indent(site.registry.uri)
        yield site
    finally:
        host.remove()


def demo(*, keep: bool) -> None:
    """Run the demonstration; with `keep` the host stays, serving version 2, until Ctrl-C."""
    timeline = Timeline()
    with installed_site(timeline, SETTINGS) as site:
        host, before = site.host, site.listing()
        register(site, timeline, "version 1")
        promote_and_ask(site, timeline, 1)
        register(site, timeline, "version 2, with stricter thresholds", STRICTER)
        hand_over(site, timeline, 2)
        undo(site, timeline, 3)
        show(host, ["reconciler", "status"])
        show(host, ["reconciler", "history", NAME])
        if not keep:
            remove(site, timeline, before)
            show(host, ["reconciler", "status"])
        show_story(host, NAME)
        timeline.show()
        if keep:
            stay(site, NAME)


def register(site: Site, timeline: Timeline, what: str, more: tuple[str, ...] = ()) -> None:
    """Run pipeline.py as an ordinary user."""
    with timeline.step(f"{what}: {SCIENTIST}, an ordinary user, runs python3 pipeline.py"):
        indent(site.pipeline(*MODEL, *more))


def promote_and_ask(site: Site, timeline: Timeline, version: int) -> None:
    """Do what the MLflow UI does to promote, wait until that version serves, and send it the seed's input."""
    with timeline.step(f"version {version}: to Production, until it serves"):
        site.registry.promote(NAME, version, archive=True)
        site.wait_for(NAME, "serving", version, deadline=SERVING_SECONDS)
    ask(site, timeline, version)


def ask(site: Site, timeline: Timeline, version: int) -> None:
    """Send the seed's input."""
    status, example = site.statuses()[NAME], seed_example()
    with timeline.step(f"version {version}: POST {status['url']}/predict with {', '.join(example.parts)}"):
        answer = site.predict(NAME, example.metadata, {part: content for part, (_, content) in example.parts.items()})
        indent(f"{answer.status_code} {answer.headers['Model-Release']}: {answer.text}")
        answer.raise_for_status()


def hand_over(site: Site, timeline: Timeline, version: int) -> None:
    """Replace the version that serves while clients ask all the time, and count what they lost."""
    with (
        timeline.step(f"version {version}: to Production under load, until it has proved itself"),
        load(site) as asking,
    ):
        asking.wait_for_more(MORE)
        site.registry.promote(NAME, version, archive=True)
        site.wait_for(NAME, "serving", version, deadline=SERVING_SECONDS)
        asking.wait_for_more(MORE, release=str(version))
    totals = asking.totals
    indent(f"{totals.requests} requests over {CONNECTIONS} connections; lost: {len(totals.harm())}")
    if harm := totals.harm():
        raise RuntimeError(f"a hand-over lost requests: {harm}")
    ask(site, timeline, version)


def undo(site: Site, timeline: Timeline, version: int) -> None:
    """Promote a version that pipeline.py would have refused, and show that it undoes itself."""
    site.register({"name": NAME, "code": code(on_predict=WRONG)})
    with timeline.step(f"version {version}, which fails every other request: until it is undone"), load(site) as asking:
        asking.wait_for_more(MORE)
        site.registry.promote(NAME, version, archive=True)
        status = site.wait_for(NAME, "degraded", version, deadline=SERVING_SECONDS)
        asking.wait_for_more(MORE, release=status["active_version"])
    totals = asking.totals
    wrong = sum(totals.wrong.values())
    indent(
        f"{totals.requests} requests; answered with an error by version {version}: {wrong}; lost otherwise:"
        f" {sum(totals.failed.values()) + totals.closed_unannounced}"
    )
    indent(f"state {status['state']}, version {status['active_version']} serves: {status['message']}")


def load(site: Site) -> Load:
    """Clients that ask without a recording, all the time; every version answers that it cannot tell."""
    port = int(site.statuses()[NAME]["url"].rpartition(":")[2])
    answer = {"output": [], "diagnosis": "inconclusive"}
    return Load({"1": answer, "2": answer, "3": answer}, tcp=("127.0.0.1", port), connections=CONNECTIONS)


def seed_example() -> "ExampleRequest":
    """The seed's input as pipeline.py has it, with recordings."""
    with warnings.catch_warnings(action="ignore"):  # MLflow would like type hints on the template's predict
        from pipeline import read_example
    return read_example(None)


def remove(site: Site, timeline: Timeline, before: set[str]) -> None:
    """Demote, wait until all is gone, and show that it is."""
    during = site.listing()
    with timeline.step("version 2: archived, until everything is gone"):
        site.demote(NAME)
        indent(f"waits until units, files and control groups of {NAME} are gone")
        site.wait_for_listing(before)
    indent(
        f"listing of units, /run, control groups and deploy directories: {len(before)} entries before the first"
        f" promotion, {len(during)} while it served, {len(site.listing())} now"
    )
    indent(f"left over: {sorted(site.listing() - before) or 'nothing'}")


def stay(site: Site, name: str) -> None:
    """Leave the host running for people."""
    port = site.registry.port
    print(
        f"""
The host runs until Ctrl-C.
  MLflow UI:  {site.registry.uri}/#/models/{name}
              (switch "New model registry UI" off there to set stages; from afar, ssh -L {port}:127.0.0.1:{port})
  the model:  {site.statuses()[name]["url"]}/docs
  a shell:    nsenter --target {site.host.init} --all bash -l""",
        flush=True,
    )
    with suppress(KeyboardInterrupt):
        signal.pause()


def show(host: Host, command: list[str]) -> None:
    """Print a command and what it prints on the host."""
    print(f"\n$ {shlex.join(command)}")
    indent(host.output(command))


def show_story(host: Host, name: str) -> None:
    """Show what a model's journal says to people, without what its servers, uv and tracebacks say to its makers."""
    told = ("--identifier=registry-agent", "--identifier=reconciler")
    show(host, ["journalctl", f"MODEL={name}", *told, "--no-pager", "--no-hostname", "--output=short"])


def indent(text: str) -> None:
    """Print what a step has to show, below its heading."""
    print(textwrap.indent(text.rstrip(), "    "), flush=True)
