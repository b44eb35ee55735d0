"""One hospital in small: a host, its registry, a data scientist, and what they see."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.host import Host, Registry
from tests.host.host import CHECKOUT_INSIDE, HostError

PYTHON = "/opt/mlflow-reconciler/venv/bin/python"
UV = "/opt/mlflow-reconciler/venv/bin/uv"
SCIENTIST = "ada"
REGISTER = Path(__file__).with_name("register.py")

ANSWERING = """
import mlflow
from mlflow.pyfunc import PythonModel

class Model(PythonModel):
    def load_context(self, context):
        {on_load}

    def predict(self, context, model_input, params=None):
        {on_predict}

mlflow.models.set_model(Model())
"""


def code(answer: object = ([0.5], "negative"), *, on_load: str = "pass", on_predict: str = "") -> str:
    """Write the code of a small model that gives one answer, or does what is said instead."""
    return ANSWERING.format(on_load=on_load, on_predict=on_predict or f"return {answer!r}")


OF_OTHERS = f"-name 'docker-of-*' -o -path '/sys/fs/cgroup/*-{'[0-9a-f]' * 6}'"
"""What is of other hosts in the control groups: of one that runs an engine, and of any by its name."""


class Site:
    """A booted host with the product, whose registry runs."""

    def __init__(self, host: Host, registry: Registry) -> None:
        """Make the data scientist."""
        self.host = host
        self.registry = registry
        host.run(["useradd", "--create-home", SCIENTIST])

    def register(self, *models: dict[str, Any], environment: Mapping[str, str] | None = None) -> dict[str, int]:
        """Register models by their code; gives the new version of each. See register.py for what a model may say.

        `environment` is what the data scientist has in it beside the registry.
        """
        for model in models:
            model.setdefault("settings", {"environment": "host"})
        done = self.host.run(
            [PYTHON, "-I", f"{CHECKOUT_INSIDE}/tests/system/{REGISTER.name}"],
            user=SCIENTIST,
            stdin=json.dumps(models),
            environment={
                "MLFLOW_TRACKING_URI": self.registry.uri,
                "MLFLOW_DISABLE_TELEMETRY": "true",
                **self.registry.login,
                **(environment or {}),
            },
            timeout=180,
        )
        versions: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
        return versions

    def scientists_python(self, name: str, *packages: str, timeout: float = 900) -> str:
        """Make the data scientist an environment with these packages from the index; gives its interpreter."""
        place = f"/home/{SCIENTIST}/{name}"
        self.host.run([UV, "venv", "--quiet", "--python", "/usr/bin/python3", place], user=SCIENTIST)
        install = [UV, "pip", "install", "--quiet", "--python", place, *packages]
        self.host.run(install, user=SCIENTIST, environment={"UV_SYSTEM_CERTS": "1"}, timeout=timeout)
        return f"{place}/bin/python"

    def pipeline(self, *arguments: str, python: str = PYTHON, timeout: float = 180) -> str:
        """Run pipeline.py as the data scientist, with the product's interpreter or another; gives what it printed."""
        done = self.host.run(
            [python, f"{CHECKOUT_INSIDE}/pipeline.py", *arguments],
            user=SCIENTIST,
            environment={"MLFLOW_TRACKING_URI": self.registry.uri, "MLFLOW_DISABLE_TELEMETRY": "true"},
            timeout=timeout,
        )
        return done.stdout

    def serve(self, *models: dict[str, Any], deadline: float = 180) -> None:
        """Register models, promote them, and wait until all of them serve."""
        versions = self.register(*models)
        for name, version in versions.items():
            self.registry.promote(name, version)
        for name, version in versions.items():
            self.wait_for(name, "serving", version, deadline=deadline)

    def statuses(self) -> dict[str, dict[str, Any]]:
        """What the status says of the deployments, by name."""
        return {one["name"]: one for one in self._status()["deployments"]}

    def registry_status(self) -> dict[str, Any]:
        """What the status says of the registry."""
        found: dict[str, Any] = self._status()["registry"]
        return found

    def _status(self) -> dict[str, Any]:
        """Read what `reconciler status --json` prints where it does, for it is asked ten times a second."""
        document: dict[str, Any] = json.loads(self.host.read("/run/mlflow-reconciler/status.json"))
        return document

    def wait_for(self, name: str, state: str, version: int | None = None, *, deadline: float = 180) -> dict[str, Any]:
        """Wait until a deployment is in a state, with this version active (serving) or desired (any other)."""
        key = "active_version" if state == "serving" else "desired_version"

        def reached() -> dict[str, Any] | None:
            one = self.statuses().get(name)
            if one is None or one["state"] != state or (version is not None and one[key] != str(version)):
                return None
            return one

        return self.host.wait_for(reached, deadline, f"{name} to be {state} with version {version}")

    def wait_until_gone(self, *names: str, deadline: float = 90) -> None:
        """Wait until deployments are no longer there."""
        self.host.wait_for(lambda: not set(names) & set(self.statuses()) or None, deadline, f"{names} to be removed")

    def change_settings(self, drop_in: str, text: str) -> None:
        """Write a drop-in of the settings and wait until the reconciler, which may be in a pass, goes by it."""

        def taken() -> int:
            return self.host.journal("--unit=mlflow-reconciler", "--output=cat").count("took new settings")

        before = taken()
        self.host.write(f"/etc/mlflow-reconciler/config.d/{drop_in}", text)
        self.host.wait_for(lambda: taken() > before or None, 60, "the reconciler to take new settings")

    def settle(self, deadline: float = 120) -> None:
        """Wait until nothing is to be done, and nothing is being done: the status says a step's outcome before that.

        What failed and waits for its next try is nothing to be done.
        """

        def at_rest() -> bool | None:
            return self.host.run(["reconciler", "plan"], check=False).returncode == 0 or None

        self.host.wait_for(at_rest, deadline, "an empty plan")

    def demote(self, *names: str) -> None:
        """Take models out of Production and wait until they are gone."""
        for name, one in self.statuses().items():
            if name in names and one["desired_version"]:
                self.registry.promote(name, one["desired_version"], "Archived")
        self.wait_until_gone(*names)

    def servers(self, name: str) -> list[str]:
        """The units of a deployment's servers that run, the first replica first."""
        listed = ["systemctl", "list-units", "--plain", "--no-legend", "--state=active", f"model-{name}@*.service"]
        return sorted((line.split()[0] for line in self.host.output(listed).splitlines()), key=lambda unit: len(unit))

    def restart(self, unit: str, deadline: float = 300) -> None:
        """Restart a server and wait until it is ready again, as an operator would."""
        self.host.run(["systemctl", "restart", unit], timeout=deadline)

    def start_seconds(self, unit: str) -> float:
        """Seconds from when a server's last start began until it was ready, by systemd's clock."""
        keys = ("InactiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic")
        began, ready = (
            int(self.host.output(["systemctl", "show", "--value", f"--property={key}", unit])) for key in keys
        )
        return (ready - began) / 1e6

    def predict(self, name: str, metadata: dict[str, Any], parts: dict[str, bytes]) -> httpx.Response:
        """Ask a deployment as the seed's clients do."""
        url = self.statuses()[name]["url"]
        files: dict[str, Any] = {"metadata": (None, json.dumps(metadata), "application/json")}
        files |= {part: (f"{part}.wav", content) for part, content in parts.items()}
        return httpx.post(f"{url}/predict", files=files, timeout=60, trust_env=False)

    def listing(self) -> set[str]:
        """List what a deployment could leave: unit files, /run, control groups, the deploy home, loaded units."""
        found = self.host.output(
            "find /etc/systemd/system /run /var/lib/mlflow-deploy /sys/fs/cgroup -xdev "
            rf"\( -name 'invocation:*' -o -path '/run/user/*' -o -path '/run/systemd/journal/*' -o {OF_OTHERS} \) "
            "-prune -o -print || true; "  # what is removed meanwhile is no failure
            rf"find /sys/fs/cgroup/*/ \( {OF_OTHERS} \) -prune -o -type d -print || true; "
            "systemctl list-units --all --plain --no-legend 'model*' 'mlflow*' | cut -d' ' -f1",
            timeout=60,
        )
        return set(found.splitlines())

    def wait_for_listing(self, before: set[str], deadline: float = 400) -> None:
        """Wait until nothing is there that was not, and nothing is missing."""
        try:
            self.host.wait_for(lambda: self.listing() == before or None, deadline, "the listing to be as before")
        except HostError:
            now = self.listing()
            raise AssertionError(f"left: {sorted(now - before)}; missing: {sorted(before - now)}") from None

    def story(self, name: str) -> list[dict[str, Any]]:
        """Read the journal's entries about a model, oldest first."""
        text = self.host.output(["journalctl", f"MODEL={name}", "--output=json", "--no-pager"])
        return [json.loads(line) for line in text.splitlines()]
