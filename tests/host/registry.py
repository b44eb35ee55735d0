"""A real MLflow server inside a host, and what a person does to it in the MLflow UI, by the UI's own requests."""

import re
from typing import Any

import httpx

from tests.host.host import Host

UNIT = "test-mlflow-server.service"
STATE = "test-mlflow-server"


class Registry:
    """The MLflow server of one host: sqlite, one worker, artifacts handed through it; needs the product."""

    def __init__(self, host: Host, port: int) -> None:
        """Name the server; `start` starts it."""
        self.host = host
        self.port = port
        self.uri = f"http://127.0.0.1:{port}"
        self._client = httpx.Client(base_url=self.uri, timeout=30, trust_env=False)

    def start(self, deadline: float = 120) -> None:
        """Start the server and wait until it answers; its database outlives `stop`."""
        environment = {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # half a dozen more processes otherwise
            "HOME": f"/var/lib/{STATE}",
        }
        self.host.run(
            [
                *("systemd-run", "--quiet", "--collect", f"--unit={UNIT}", "--property=DynamicUser=yes"),
                *(f"--property=StateDirectory={STATE}", f"--property=WorkingDirectory=/var/lib/{STATE}"),
                *("--property=KillMode=mixed", "--property=TimeoutStopSec=10"),
                *(f"--setenv={name}={value}" for name, value in environment.items()),
                *("/opt/mlflow-reconciler/venv/bin/python", "-I", "-m", "mlflow", "server"),
                *("--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"),
                *("--uvicorn-opts", "--no-access-log"),  # the journal is for people
                *("--backend-store-uri", f"sqlite:////var/lib/{STATE}/mlflow.db"),
                *("--artifacts-destination", f"/var/lib/{STATE}/artifacts"),
            ]
        )
        wait_for_url(self.host, f"{self.uri}/health", deadline)

    def stop(self) -> None:
        """Stop the server; nobody listens afterwards."""
        self.host.run(["systemctl", "stop", UNIT], timeout=30)

    def promote(self, name: str, version: int | str, stage: str = "Production", *, archive: bool = False) -> None:
        """Move a version to a stage; `archive` is the UI's box for the versions that have the stage already."""
        self._post(
            "model-versions/transition-stage",
            {"name": name, "version": str(version), "stage": stage, "archive_existing_versions": archive},
        )

    def set_alias(self, name: str, alias: str, version: int | str) -> None:
        """Point an alias to a version."""
        self._post("registered-models/alias", {"name": name, "alias": alias, "version": str(version)})

    def remove_alias(self, name: str, alias: str) -> None:
        """Remove an alias."""
        self._send("DELETE", "registered-models/alias", {"name": name, "alias": alias})

    def set_tag(self, name: str, key: str, value: str, version: int | str | None = None) -> None:
        """Set a tag on a version, or without one on the registered model."""
        if version is None:
            self._post("registered-models/set-tag", {"name": name, "key": key, "value": value})
        else:
            self._post("model-versions/set-tag", {"name": name, "version": str(version), "key": key, "value": value})

    def version(self, name: str, version: int | str) -> dict[str, Any]:
        """What MLflow says of a version: stage, tags, source."""
        answer = self._client.get(
            "/ajax-api/2.0/mlflow/model-versions/get", params={"name": name, "version": str(version)}
        )
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()["model_version"]
        return found

    def _post(self, path: str, body: dict[str, Any]) -> None:
        self._send("POST", path, body)

    def _send(self, method: str, path: str, body: dict[str, Any]) -> None:
        answer = self._client.request(method, f"/ajax-api/2.0/mlflow/{path}", json=body)
        if answer.is_error:
            raise RuntimeError(f"cannot {method} {path}: MLflow answered {answer.status_code}: {answer.text}")


def wait_for_url(host: Host, url: str, deadline: float = 60, *, status: int = 200) -> httpx.Response:
    """Wait until a URL of a host that shares this machine's network answers with `status`; gives that answer."""

    def answer() -> httpx.Response | None:
        try:
            response = httpx.get(url, timeout=5, trust_env=False)
        except httpx.TransportError:
            return None
        return response if response.status_code == status else None

    return host.wait_for(answer, deadline, f"{re.sub('^https?://', '', url)} to answer {status}")
