"""A host set up by hand as SPIRA's manual said: a directory of a user, a linked unit, docker compose."""

from tests.host import Host
from tests.s3 import Buckets

USER = "inspirada"
IMAGE = "inference-service"

_COMPOSE = """version: "3.5"

services:
  {name}:
    image: ${{INFERENCE_SERVICE_IMAGE_NAME}}
    restart: always
    env_file: .env
    command: python main.py
    # Of the test alone: its broker and its store are at the host's loopback.
    network_mode: host
"""
_UNIT = """[Unit]
Description=SPIRA inference service of %i
PartOf=docker.service
After=docker.service

[Service]
WorkingDirectory={directory}
ExecStart={directory}/build-server.sh
ExecStop={directory}/stop-server.sh
SyslogIdentifier=SPIRA-INFERENCE

[Install]
WantedBy=multi-user.target
"""


def set_up(host: Host, name: str, nats_url: str, store: Buckets) -> str:
    """Lay out everything and start it, as the manual says; gives the directory."""
    host.run(["useradd", "--create-home", USER])
    directory = f"/home/{USER}/model_deploys/{name}"
    environment = {
        "INFERENCE_SERVICE_IMAGE_NAME": IMAGE,
        "receiving_channel": f"{name}-topic",
        "central_channel": "result_updates",
        "nats_conn_url": nats_url,
        "minio_conn_url": store.url.removeprefix("http://"),
        "minio_access_key": store.access_key,
        "minio_secret_key": store.secret_key,
        "bucket_name": "audio-files",
        "default_extension": ".wav",
        "mlflow_conn_url": "http://127.0.0.1:5000",
        "model_path": f"models:/{name}/Production",
        "loop_interval": "1",
    }
    files = {
        "docker-compose.server.yml": _COMPOSE.format(name=name),
        ".env": "".join(f"{key}={value}\n" for key, value in environment.items()),
        "build-server.sh": f"#!/bin/bash\ndocker-compose -f docker-compose.server.yml up {name}\n",
        "stop-server.sh": f"#!/bin/bash\ndocker-compose -f docker-compose.server.yml stop {name}\n",
        "docker-compose-model@.service": _UNIT.format(directory=directory),
    }
    for path, text in files.items():
        host.write(f"{directory}/{path}", text, 0o755 if path.endswith(".sh") else 0o644)
    host.run(["chown", "-R", f"{USER}:", f"/home/{USER}/model_deploys"])
    unit = f"docker-compose-model@{name}.service"
    host.run(["ln", "-s", f"{directory}/docker-compose-model@.service", f"/etc/systemd/system/{unit}"])
    host.run("systemctl daemon-reload")
    host.run(["systemctl", "start", unit])
    return directory
