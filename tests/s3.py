"""A real S3 server for tests: rclone's, which checks signatures, over a directory of buckets."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.mlflow_server import PATIENCE, wait_until
from tests.tls import Authority

RCLONE = Path(sys.executable).with_name("rclone")
KEYS = ("AKIATESTTESTTEST", "a-secret/of+tests")


@dataclass(frozen=True)
class Buckets:
    """A running server; a bucket is a directory in `directory`, an object a file below it, for tests to read."""

    url: str
    directory: Path
    access_key: str
    secret_key: str
    authority: Path | None = None
    """The certificate of the authority behind its own, if it speaks TLS."""
    restart: Callable[[], None] = lambda: None
    """End the server and start it again at the same port."""

    @property
    def credential(self) -> str:
        """What a host has in `artifacts.aws`."""
        return f"[default]\naws_access_key_id = {self.access_key}\naws_secret_access_key = {self.secret_key}\n"

    @property
    def environment(self) -> dict[str, str]:
        """What a data scientist, or an MLflow server, has in the environment."""
        keys = {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}
        return {"MLFLOW_S3_ENDPOINT_URL": self.url, **keys, "AWS_EC2_METADATA_DISABLED": "true"}

    def put(self, bucket: str, files: dict[str, bytes]) -> None:
        """Put files into a bucket, by their keys; the bucket is made if need be."""
        import boto3
        from botocore.config import Config

        (self.directory / bucket).mkdir(exist_ok=True)
        client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            verify=str(self.authority) if self.authority else None,
            # Or boto3 sends over TLS without a length.
            config=Config(request_checksum_calculation="when_required"),
        )
        for key, content in files.items():
            client.put_object(Bucket=bucket, Key=key, Body=content)


@contextmanager
def buckets(
    directory: Path,
    authority: Authority | None = None,
    keys: tuple[str, str] = KEYS,
    address: str = "127.0.0.1:0",
) -> Iterator[Buckets]:
    """Serve the buckets in `directory`/buckets at a port of this machine; over TLS with an authority.

    `address`: that of a server which ended, to be there again.
    """
    home = directory / "buckets"
    home.mkdir(parents=True, exist_ok=True)
    pair = str(authority.issue("s3")) if authority else ""
    tls = ("--cert", pair, "--key", pair) if pair else ()
    log = directory / "s3.log"
    servers: list[subprocess.Popen[bytes]] = []

    def start(address: str) -> str:
        """Start a server at an address, whose port may be 0; gives the address that it listens at."""
        command = [str(RCLONE), "serve", "s3", "--auth-key", ",".join(keys), "--addr", address, *tls, str(home)]
        before = len(log.read_text()) if log.exists() else 0
        with log.open("ab") as output:
            command += ["--config", os.devnull]
            server = subprocess.Popen(command, stdout=output, stderr=output, env={"PATH": "/usr/bin:/bin"})
        servers.append(server)

        def listening_at() -> str | None:
            if server.poll() is not None:
                raise AssertionError(f"the S3 server ended: {log.read_text()[-2000:]}")
            found = re.findall(r"Starting s3 server on \[(https?://[^/\]]+)", log.read_text()[before:])
            return found[0] if found else None

        return wait_until(listening_at, "the S3 server listens") or ""

    def end() -> None:
        server = servers.pop()
        server.send_signal(signal.SIGTERM)
        server.wait(PATIENCE)

    def restart() -> None:
        end()
        start(urlsplit(url).netloc)

    url = ""
    try:
        url = start(address)
        yield Buckets(url, home, *keys, authority.pem if authority else None, restart)
    finally:
        end()
