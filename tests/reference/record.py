"""`python -m tests.reference.record` boots a host, brings deployments into each state, and keeps what is said of them.

It takes some five minutes, and root. `python -m tests.reference` makes the page from it.
"""

import json
import sys
from datetime import UTC, datetime

from reconciler.core.state.page import DeploymentPage
from reconciler.core.state.status import State, Status
from tests.host import Registry, installed_host, installed_image
from tests.reference.transcripts import COLUMNS, Scene, as_recorded, moment_of, path_of
from tests.system.site import Site, code

TERMINAL = {"COLUMNS": str(COLUMNS), "LINES": "60", "NO_COLOR": "1", "TZ": "UTC", "TERM": "linux"}
HOST = "inference1"
CHECK = "/usr/local/bin/check-signature"
# A step that takes long enough to be looked at, where the model is `pauses`.
CHECKS = "#!/bin/sh\ncase $1 in */pauses/*) exec sleep 20 ;; esac\n"
SETTINGS = f"""
[registry]
poll_interval = 10
[deploy]
soak = 30
removal_grace = 120
[fetch]
verify_command = ["{CHECK}"]
[reconcile]
mend_budget = 1
[policy]
names = ["pauses", "cough", "snore", "iris", "voice", "wheeze", "breath"]
tags = ["environment", "idle_timeout", "soak", "start_timeout"]
"""
QUICK = {"environment": "host", "soak": "0"}
EXAMPLE = {
    "request.json": {"schema": 1, "metadata": {}, "parts": {}},
    "response.json": {"output": [0.5], "diagnosis": "negative"},
}
REQUESTS = 12


class Recorder:
    """Keeps scenes of one site."""

    def __init__(self, site: Site) -> None:
        """Take a site."""
        self.site = site

    def keep(self, name: str, state: State, happened: str, deadline: float = 240) -> None:
        """Wait until a deployment is in a state and its text and documents are of one moment; keep these."""
        scene = self.site.host.wait_for(lambda: self._scene(name, state, happened), deadline, f"{name} to be {state}")
        path_of(state).write_text(json.dumps(scene.model_dump(mode="json", by_alias=True), indent=1) + "\n")
        sys.stdout.write(f"{state}: {name}\n")

    def _scene(self, name: str, state: State, happened: str) -> Scene | None:
        now = self.site.statuses().get(name)
        if now is None or now["state"] != state:
            return None
        begin = datetime.now(UTC)
        document = DeploymentPage.model_validate_json(self._ask(name, "--json"))
        moment = moment_of(self._print(name), document, begin, datetime.now(UTC))
        status, table = Status.model_validate_json(self._ask("--json")), self._print()
        if moment is None or document.deployment.state is not state:
            return None
        scene = Scene(happened=happened, at=moment, status=status, page=document)
        with as_recorded():
            # The ages in the table may be of the next second, all else is the same.
            same = [line.split()[:4] for line in scene.table()[1:]] == [line.split()[:4] for line in table[1:]]
        return scene if same else None

    def _ask(self, *words: str) -> str:
        return self.site.host.run(["reconciler", "status", *words]).stdout

    def _print(self, *words: str) -> list[str]:
        """Give what a terminal of so many columns shows."""
        typed = ["script", "--quiet", "--return", "--command", " ".join(["reconciler", "status", *words]), "/dev/null"]
        return self.site.host.run(typed, environment=TERMINAL).stdout.replace("\r", "").splitlines()


def record(site: Site) -> None:
    """Bring a deployment into each state, one after another, and keep its scene."""
    keep = Recorder(site).keep
    registry, host = site.registry, site.host
    register(site, "pauses", "cough", "iris", "voice", "wheeze", "breath")
    registry.promote("pauses", 1)
    keep("pauses", State.PREPARING, "Version 1 was promoted a few seconds ago.")
    for name in ("cough", "iris", "voice", "wheeze", "breath"):
        registry.promote(name, 1)
    for name in ("pauses", "cough", "voice", "wheeze", "breath"):
        site.wait_for(name, "serving", 1)
        ask(site, name)
    register(site, "pauses")
    registry.promote("pauses", 2, archive=True)
    site.host.wait_for(lambda: site.statuses()["pauses"]["reason"] == "soaking" or None, 240, "the soak")
    keep("pauses", State.ROLLING_OUT, "Version 2 was promoted, loaded, answered its example and took the address.")
    ask(site, "pauses")
    keep("pauses", State.SERVING, "Version 2 was promoted, and has passed its soak.")
    keep("iris", State.IDLE, "Nobody asked for longer than the `idle_timeout` of the model.")
    fail_at_load(site, "cough", "snore")
    registry.promote("cough", 2, archive=True)
    keep("cough", State.DEGRADED, "Version 2 was promoted, and its code failed while it loaded.")
    registry.promote("snore", 1)
    keep("snore", State.FAILED, "The first version was promoted, and its code failed while it loaded.")
    suspend = ["reconciler", "suspend", "voice", "--for", "2h", "--why", "load test"]
    host.run(suspend, environment={"SUDO_USER": "ana"})
    keep("voice", State.SUSPENDED, 'An operator typed `reconciler suspend voice --for 2h --why "load test"`.')
    undo_repairs(site, "wheeze")
    keep("wheeze", State.STALLED, "A script on the host stopped the server again and again.")
    registry.delete("breath")
    keep("breath", State.HELD, "Somebody deleted the registered model.")
    register(site, "draft")
    registry.promote("draft", 1)
    keep("draft", State.NOT_DEPLOYABLE, "A model was promoted that `policy.names` does not list.")
    registry.promote("pauses", 2, "Archived")
    keep("pauses", State.REMOVING, "The version was taken out of Production.")
    registry.promote("pauses", 2)
    site.wait_for("pauses", "serving", 2)
    forget_the_snapshot(site, "pauses")
    keep("pauses", State.PENDING, "The units came from a backup without the snapshot, and the registry is away.")


def forget_the_snapshot(site: Site, name: str) -> None:
    """Have the reconciler begin with the units of a deployment that does not run, and without a registry."""
    site.registry.stop()
    services = "mlflow-registry-agent mlflow-reconciler"
    site.host.run(f"systemctl stop {services} model-{name}.socket 'model-{name}@*'")
    site.host.run("rm -f /run/mlflow-registry-agent/registry.json /var/lib/mlflow-reconciler/snapshot.json")
    site.host.run(f"systemctl start {services}")


def register(site: Site, *names: str) -> None:
    """Register another version of each."""
    quick = {**QUICK, "idle_timeout": "5"}
    settings = {"iris": quick, "pauses": {"environment": "host"}}
    site.register(
        *(
            {"name": name, "code": code(), "replay": EXAMPLE, "settings": dict(settings.get(name, QUICK))}
            for name in names
        )
    )


def fail_at_load(site: Site, *names: str) -> None:
    """Register another version of each whose code fails."""
    wrong = code(on_load="import cough_features")
    site.register(*({"name": name, "code": wrong, "replay": EXAMPLE, "settings": dict(QUICK)} for name in names))


def ask(site: Site, name: str) -> None:
    """Send some requests, so that there is something to count."""
    for _ in range(REQUESTS):
        site.predict(name, {"age": 23}, {}).raise_for_status()


def undo_repairs(site: Site, name: str) -> None:
    """Stop a server whenever the reconciler has started it, until the reconciler gives up."""

    def is_stalled() -> bool | None:
        for unit in site.servers(name):
            site.host.run(["systemctl", "stop", unit])
        return site.statuses()[name]["state"] == "stalled" or None

    site.host.wait_for(is_stalled, 120, "the reconciler to give up", interval=1)


def main() -> None:
    """Record all scenes."""
    with installed_image() as image, installed_host(image, HOST, settings=SETTINGS) as host:
        host.write(CHECK, CHECKS, mode=0o755)
        host.enforce_limits()
        host.run(["hostname", HOST])
        host.run(["systemctl", "restart", "mlflow-reconciler", "mlflow-registry-agent"])
        registry = Registry(host, host.registry_port)
        registry.start()
        record(Site(host, registry))


if __name__ == "__main__":
    main()
