"""What has to be done on a host before a page, or a command of one, is typed there."""

import json
from contextlib import suppress
from datetime import datetime, timedelta

import httpx

from tests.documents.pages import CHECKOUT, read
from tests.system.site import SCIENTIST, Site, code

HOME = f"/home/{SCIENTIST}"
SETTINGS = "[policy]\nnames = ['pauses*', 'iris', 'hungry', 'cough', 'snore']\n"
HOST = {"environment": "host"}
GOOD, ANOTHER, PYTHON_ELSEWHERE = 1, 2, 3
"""The versions of `pauses`."""
PAUSES = CHECKOUT.joinpath("examples/pauses/pauses.py").read_text()
SERVABLE = f"{PAUSES}\n\nimport mlflow\n\nmlflow.models.set_model(Pauses())\n"
EXAMPLE = {
    "request.json": {"schema": 1, "metadata": {}, "parts": {}},
    "response.json": {"output": [], "diagnosis": "inconclusive"},
}
CONFIRMING, SOAKING = "90-confirming.toml", "90-soaking.toml"
AGENT = "mlflow-registry-agent"
ARTIFACTS = "/var/lib/private/test-mlflow-server/artifacts"


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


def take_three_away(site: Site) -> None:
    """Three of four deployments leave Production at once, which the guard of removals holds."""
    site.register(*({"name": name, "code": code()} for name in ("cough", "snore")))
    promote(site, cough=1, snore=1)
    names = ("cough", "iris", "snore")
    for name in names:
        site.wait_for(name, "serving", 1)
    # All are in one snapshot: the guard counts those of one pass.
    site.host.run(["systemctl", "stop", AGENT])
    for name in names:
        site.registry.promote(name, 1, "Archived")
    site.host.run(["systemctl", "start", AGENT])

    def are_held() -> bool | None:
        return {site.statuses()[name]["state"] for name in names} == {"held"} or None

    site.host.wait_for(are_held, 60, "the three to be held")


def confirm_each_change(site: Site) -> None:
    """The removals are done, and the next version waits for a person."""
    site.wait_until_gone("cough", "iris", "snore")
    site.change_settings(CONFIRMING, "[reconcile]\nmode = 'confirm'\n")
    promote(site, **site.register({"name": "pauses", "code": SERVABLE, "replay": EXAMPLE}))
    site.wait_for("pauses", "held")


def confirm_nothing(site: Site) -> None:
    """As before `take_three_away`."""
    site.host.run(["rm", f"/etc/mlflow-reconciler/config.d/{CONFIRMING}"])
    promote(site, pauses=ANOTHER, iris=1)
    site.wait_for("pauses", "serving", ANOTHER)
    site.wait_for("iris", "serving", 1)


def fail_in_soak(site: Site) -> None:
    """Clients send a new version what it cannot read, and it is taken back."""
    write_files(site)
    site.host.write(f"{HOME}/notes.txt", "a cough\n")
    # The page looks into the journal of a build, and without one there is none to look into.
    promote(site, pauses=PYTHON_ELSEWHERE)
    site.wait_for("pauses", "degraded", PYTHON_ELSEWHERE)
    site.change_settings(SOAKING, "[deploy]\nsoak = 120\n[build]\npythons = 'managed'\n")
    [version] = site.register({"name": "pauses", "code": SERVABLE, "replay": EXAMPLE}).values()
    promote(site, pauses=version)
    site.host.wait_for(lambda: "is watched" in site.statuses()["pauses"]["message"] or None, 120, "the soak")

    def is_taken_back() -> bool | None:
        url = f"{site.statuses()['pauses']['url']}/predict"
        # The hand-over of the address back to the version before is not what this is about.
        with suppress(httpx.TransportError):
            httpx.post(url, files={"metadata": (None, "{}"), "aceite": ("notes.txt", b"a cough\n")}, trust_env=False)
        return site.statuses()["pauses"]["state"] == "degraded" or None

    site.host.wait_for(is_taken_back, 120, "the version to be taken back", interval=0.05)


def promote_what_is_not_allowed(site: Site) -> None:
    """A model that the policy does not name; and `pauses` serves as before."""
    site.host.run(["rm", f"/etc/mlflow-reconciler/config.d/{SOAKING}"])
    site.register({"name": "draft", "code": code()})
    promote(site, pauses=ANOTHER, draft=1)
    site.wait_for("pauses", "serving", ANOTHER)
    site.host.wait_for(lambda: "draft" in site.statuses() or None, 60, "the status to name draft")


def forget_what_is_not_allowed(site: Site) -> None:
    """As before `promote_what_is_not_allowed`."""
    site.registry.promote("draft", 1, "Archived")
    site.wait_until_gone("draft")
