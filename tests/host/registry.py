"""A real MLflow server inside a host, and what a person does to it in the MLflow UI, by the UI's own requests."""

import re
from typing import Any

import httpx

from tests.host.host import CHECKOUT_INSIDE, Host

UNIT = "test-mlflow-server.service"
STATE = "test-mlflow-server"
VENV = "/opt/mlflow-reconciler/venv/bin"


AUTH_SETTINGS = f"""[mlflow]
default_permission = MANAGE
database_uri = sqlite:////var/lib/{STATE}/auth.db
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


DATABASE = f"/usr/local/share/{STATE}.db"
"""A database as a new server makes it, which takes it seconds of a processor: made once, in the image of hosts."""
_MAKE_DATABASE = (
    "import sys; from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore; "
    "SqlAlchemyStore(f'sqlite:///{sys.argv[1]}', 'mlflow-artifacts:/')"
)


def prepare_registry(host: Host) -> None:
    """Make a database that the servers of hosts with this one's layers begin with."""
    host.run([f"{VENV}/python", "-c", _MAKE_DATABASE, DATABASE], timeout=120)
    host.run(["chmod", "0644", DATABASE])


class Registry:
    """The MLflow server of one host: sqlite, one worker, artifacts handed through it; needs the product."""

    def __init__(self, host: Host, port: int, admin_password: str = "", *, address: str = "127.0.0.1") -> None:
        """Name the server; `start` starts it. With a password for `admin`, it asks everybody who they are.

        `address`: the host's own, at which other hosts reach it.
        """
        self.host = host
        self._admin_password = admin_password
        self.port = port
        self._address = address
        self.uri = f"http://{address}:{port}"
        login = ("admin", admin_password) if admin_password else None
        self._client = httpx.Client(base_url=self.uri, timeout=30, trust_env=False, auth=login)
        self.login = {"MLFLOW_TRACKING_USERNAME": login[0], "MLFLOW_TRACKING_PASSWORD": login[1]} if login else {}
        """What goes into the environment of a person's MLflow client."""

    def start(self, deadline: float = 120) -> None:
        """Start the server and wait until it answers; its database outlives `stop`."""
        environment = {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # half a dozen more processes otherwise
            "HOME": f"/var/lib/{STATE}",
        }
        if self._admin_password:
            self.host.write("/etc/test-mlflow-auth.ini", AUTH_SETTINGS)
            environment |= {
                "MLFLOW_AUTH_CONFIG_PATH": "/etc/test-mlflow-auth.ini",
                "MLFLOW_AUTH_ADMIN_PASSWORD": self._admin_password,
                "MLFLOW_FLASK_SERVER_SECRET_KEY": "of the test",
                "PYTHONPATH": f"{CHECKOUT_INSIDE}/tests/host/stand_ins",
            }
        self.host.run(
            [
                *("systemd-run", "--quiet", "--collect", f"--unit={UNIT}", "--property=DynamicUser=yes"),
                *(f"--property=StateDirectory={STATE}", f"--property=WorkingDirectory=/var/lib/{STATE}"),
                *("--property=KillMode=mixed", "--property=TimeoutStopSec=10"),
                *(f"--setenv={name}={value}" for name, value in environment.items()),
                f"--property=ExecStartPre=/bin/sh -c '[ -e mlflow.db -o ! -e {DATABASE} ] || cp {DATABASE} mlflow.db'",
                *(f"{VENV}/python", "-m", "mlflow", "server"),
                *(("--app-name", "basic-auth") if self._admin_password else ()),
                *("--host", self._address, "--port", str(self.port), "--workers", "1"),
                *("--uvicorn-opts", "--no-access-log"),  # the journal is for people
                *("--backend-store-uri", f"sqlite:////var/lib/{STATE}/mlflow.db"),
                *("--artifacts-destination", f"/var/lib/{STATE}/artifacts"),
            ]
        )
        wait_for_url(self.host, f"{self.uri}/health", deadline)

    def stop(self) -> None:
        """Stop the server; nobody listens afterwards."""
        self.host.run(["systemctl", "stop", UNIT], timeout=30)

    def rebuild(self) -> None:
        """Start another server at the same address: nothing that was registered is known there."""
        self.stop()
        self.host.run(["rm", "-rf", f"/var/lib/private/{STATE}"])
        self.start()

    def set_user(self, name: str, password: str, *, new: bool = True) -> None:
        """Make a user, or give one another password."""
        path = "users/create" if new else "users/update-password"
        self._send("POST" if new else "PATCH", path, {"username": name, "password": password}, api="api/2.0")

    def set_permission(self, user: str, name: str, permission: str = "") -> None:
        """Give a user a permission of their own on a registered model, such as DENY; none takes it back."""
        body = {"username": user, "resource_type": "registered_model", "resource_id": name}
        path = "users/permissions/grant" if permission else "users/permissions/revoke"
        self._send("POST", path, {**body, "permission": permission} if permission else body, api="api/3.0")

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

    def delete(self, name: str) -> None:
        """Delete a registered model with all its versions."""
        self._send("DELETE", "registered-models/delete", {"name": name})

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

    def _send(self, method: str, path: str, body: dict[str, Any], api: str = "ajax-api/2.0") -> None:
        answer = self._client.request(method, f"/{api}/mlflow/{path}", json=body)
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
