"""What has to be so on the host before a page is typed: a table of pages, and the deeds it names.

A page that is not in the table is typed on a host where `pauses` (two versions, the second serves) and `iris` serve.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import httpx

from tests.documents.pages import CHECKOUT, read
from tests.system.site import SCIENTIST, Site, code

HOME = f"/home/{SCIENTIST}"
SETTINGS = "[policy]\nnames = ['pauses*', 'iris', 'hungry']\n"
HOST = {"environment": "host"}
GOOD, ANOTHER, PYTHON_ELSEWHERE = 1, 2, 3
"""The versions of `pauses`."""
PAUSES = CHECKOUT.joinpath("examples/pauses/pauses.py").read_text()
SERVABLE = f"{PAUSES}\n\nimport mlflow\n\nmlflow.models.set_model(Pauses())\n"
EXAMPLE = {
    "request.json": {"schema": 1, "metadata": {}, "parts": {}},
    "response.json": {"output": [], "diagnosis": "inconclusive"},
}
ARTIFACTS = "/var/lib/private/test-mlflow-server/artifacts"

Deed = Callable[[Site], None]


@dataclass(frozen=True)
class Scene:
    """What a page needs beside the models that serve already."""

    prepare: Deed | None = None
    clear: Deed | None = None
    """What is done after the page."""
    words: Mapping[str, Callable[[Site], str]] = field(default_factory=dict)
    """What stands on the page, and what is typed instead; what is printed is read the other way round."""
    not_typed: str = ""
    """Why not; its commands are given to their parsers, as those of every page."""


def serve_models(site: Site) -> None:
    """Register everything that the scenes need, and serve `pauses` and `iris`."""
    pauses = {"name": "pauses", "code": SERVABLE, "replay": EXAMPLE}
    # It does not get ready in time.
    hungry = {"code": code(on_load="import time; time.sleep(3600)"), "settings": {**HOST, "start_timeout": "5"}}
    site.register(
        *(dict(pauses), dict(pauses), {**pauses, "settings": {}}),
        {"name": "iris", "code": code([200.60573556797024])},
        {"name": "hungry", **hungry},
    )
    name_another_python(site, "pauses", PYTHON_ELSEWHERE)
    for version in (GOOD, ANOTHER):
        promote(site, pauses=version)
        site.wait_for("pauses", "serving", version)
    promote(site, iris=1)
    site.wait_for("iris", "serving", 1)
    site.host.write(f"{HOME}/.env", f"MLFLOW_TRACKING_URI={site.registry.uri}\n")
    product = "/opt/mlflow-reconciler"
    site.host.run(["cp", "-rL", f"{product}/pipeline.py", f"{product}/examples", HOME], user=SCIENTIST)


def name_another_python(site: Site, name: str, version: int) -> None:
    """Have a version say that it was logged with a Python that no host has."""
    artifacts = str(site.registry.version(name, version)["source"])
    model = f"{ARTIFACTS}/*/models/{artifacts.rpartition('/')[2]}/artifacts"
    site.host.run(f"sed -i 's/^python: .*/python: 3.99.1/' {model}/python_env.yaml")


def promote(site: Site, **versions: int) -> None:
    """Select these versions."""
    for name, version in versions.items():
        site.registry.promote(name, version, archive=True)


def write_files(site: Site) -> None:
    """Recordings and other files that pages name."""
    for name in ("aceite.wav", "sustentada.wav"):
        site.host.run(["cp", f"{HOME}/examples/pauses/recording.wav", f"{HOME}/{name}"])


def ask_until_it_runs(site: Site, name: str) -> None:
    """Ask a deployment; systemd calls its socket running only once a client has come."""
    url = f"{site.statuses()[name]['url']}/ping"
    state = ["systemctl", "show", "--value", "--property=SubState", f"model-{name}.socket"]

    def runs() -> bool | None:
        httpx.get(url, timeout=30, trust_env=False)
        return site.host.output(state) == "running" or None

    site.host.wait_for(runs, 60, f"the socket of {name} to run")


def go_wrong(site: Site) -> None:
    """One deployment fails, and the new version of another one does."""
    ask_until_it_runs(site, "pauses")
    promote(site, hungry=1, pauses=PYTHON_ELSEWHERE)
    site.wait_for("pauses", "degraded")
    site.wait_for("hungry", "failed")


def go_well(site: Site) -> None:
    """As before `go_wrong`."""
    promote(site, pauses=ANOTHER)
    site.wait_for("pauses", "serving", ANOTHER)
    site.demote(*(set(site.statuses()) - {"pauses", "iris"}))
    site.settle()


def while_version_1_served(site: Site) -> str:
    """A moment at which only the first version of `pauses` did."""
    runs = json.loads(site.host.output(["reconciler", "history", "pauses", "--json"]))["runs"]
    ended = datetime.fromisoformat(runs[0]["ended"])
    return f"{ended - timedelta(seconds=1):%Y-%m-%dT%H:%M:%S}Z"


def write_cough(site: Site) -> None:
    """The model that the page shows, in a file as the page says."""
    shown = next(block for block in read("docs/first-model.md").blocks if "class Cough" in block.text)
    site.host.write(f"{HOME}/cough.py", shown.text)


def address(name: str) -> Callable[[Site], str]:
    """Where a deployment answers on this host."""
    return lambda site: str(site.statuses()[name]["url"]).removeprefix("http://")


ADDRESSES: Mapping[str, Callable[[Site], str]] = {
    "127.0.0.1:5000": lambda site: site.registry.uri.removeprefix("http://"),
    "127.0.0.1:20001": address("pauses"),
    "127.0.0.1:20002": address("iris"),
    "127.0.0.1:20828": address("pauses"),
    "ADDRESS": address("pauses"),
    "inference1": lambda site: site.host.name,
}
"""The addresses that pages give to what they speak of."""

SCENES: Mapping[str, Scene] = {
    "README.md": Scene(words={"--name pauses": lambda _: "--name pauses-of-readme"}),
    "docs/audit.md": Scene(
        words={"2026-11-24T14:03": while_version_1_served, "2026-11-25T09:15": while_version_1_served}
    ),
    "docs/cli.md": Scene(prepare=go_wrong, clear=go_well),
    "docs/first-model.md": Scene(
        prepare=write_cough,
        words={
            "--name pauses": lambda _: "--name pauses-of-page",
            "--name cough": lambda _: "--name cough-of-page",
            "pauses is a new": lambda _: "pauses-of-page is a new",
            "pauses could": lambda _: "pauses-of-page could",
        },
    ),
    "docs/reference/states.md": Scene(not_typed="it is recorded from a host by a program"),
    "docs/rollouts.md": Scene(not_typed="each block begins in a state that the one before does not leave"),
    "docs/serving.md": Scene(prepare=write_files),
    "docs/troubleshooting.md": Scene(not_typed="each section begins with another fault"),
}
