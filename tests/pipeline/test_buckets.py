"""What a data scientist reads whose MLflow server leaves artifacts in a bucket that its clients write to themselves."""

import os
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import ModuleType

import boto3
import pytest
from mlflow.store.artifact import s3_artifact_repo

from tests.s3 import Buckets, buckets
from tests.steps.hostile_bucket import HostileBucket, failure, send
from tests.tls import Authority

MLFLOW = "http://mlflow.example:5000"
BUCKET = f"cannot log the model at {MLFLOW}: its artifacts are in a bucket that you write to yourself, and"
UNUSED = "http://127.0.0.1:9"
ASK = "ask the people who run the MLflow server"
SET_SERVER = "set MLFLOW_S3_ENDPOINT_URL to the address of the bucket's server, best in .env"
SET_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, best in .env"
REFUSED = "its server refused your keys"

SENTENCES: dict[str, tuple[dict[str, str], str]] = {
    "no keys": (
        {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
        f"you have no keys for it; {ASK} for keys and set {SET_KEYS}",
    ),
    "half of a pair": ({"AWS_SECRET_ACCESS_KEY": ""}, f"you have no keys for it; {ASK} for keys and set {SET_KEYS}"),
    "another key": ({"AWS_ACCESS_KEY_ID": "AKIAOTHER"}, f"{REFUSED} (InvalidAccessKeyId); check {SET_KEYS}"),
    "another secret": ({"AWS_SECRET_ACCESS_KEY": "other"}, f"{REFUSED} (SignatureDoesNotMatch); check {SET_KEYS}"),
    "no server": (
        {"MLFLOW_S3_ENDPOINT_URL": ""},
        f"Amazon's server (MLFLOW_S3_ENDPOINT_URL is not set) does not answer; {SET_SERVER}",
    ),
    "nobody there": ({"MLFLOW_S3_ENDPOINT_URL": UNUSED}, f"{UNUSED} does not answer; {SET_SERVER}"),
    "no address": (
        {"MLFLOW_S3_ENDPOINT_URL": "minio:9000"},
        f"minio:9000 is not its server (InvalidEndpoint); {SET_SERVER}",
    ),
    "no bucket": ({"bucket": "nope"}, f"{{server}} is not its server (NoSuchBucket); {SET_SERVER}"),
    "another authority": (
        {"server": "TLS"},
        "this machine does not trust the certificate of {server}; set AWS_CA_BUNDLE to the file with its authority",
    ),
    "no word for its checksums": (
        {"server": "TLS", "AWS_CA_BUNDLE": "{authority}"},
        "its server is too old for boto3's checksums (MissingContentLength); "
        "set AWS_REQUEST_CHECKSUM_CALCULATION=when_required, best in .env",
    ),
    "no boto3": ({"boto3": "missing"}, "boto3 is not installed; run pip install boto3"),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buckets]:
    """A real S3 server."""
    with buckets(tmp_path_factory.mktemp("plain")) as server:
        server.put("models", {"there": b""})
        yield server


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buckets]:
    """The same over TLS."""
    with buckets(tmp_path_factory.mktemp("encrypted"), Authority(tmp_path_factory.mktemp("authority"))) as server:
        server.put("models", {"there": b""})
        yield server


@pytest.mark.parametrize("what", SENTENCES)
def test_a_bucket_that_cannot_be_written_to_is_a_sentence(
    pipeline: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    plain: Buckets,
    encrypted: Buckets,
    what: str,
) -> None:
    """It names the bucket's server and its settings, where "connection refused" alone would point to MLflow's."""
    wrong, expected = SENTENCES[what]
    server = encrypted if wrong.get("server") else plain
    for variable in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(variable)
    for variable, value in {**server.environment, **wrong, "HOME": str(tmp_path)}.items():
        if value:
            monkeypatch.setenv(variable, value.replace("{authority}", str(server.authority)))
        else:
            monkeypatch.delenv(variable, raising=False)
    # boto3 and MLflow keep what they found the first time.
    s3_artifact_repo._cached_get_s3_client.cache_clear()
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    if wrong.get("boto3"):
        monkeypatch.setitem(sys.modules, "boto3", None)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/MLmodel").write_text("x")
    repository = s3_artifact_repo.S3ArtifactRepository(f"s3://{wrong.get('bucket', 'models')}/x")

    def log() -> None:
        with pipeline.registry_request(f"log the model at {MLFLOW}", MLFLOW, 60):
            repository.log_artifacts(str(tmp_path / "model"))  # type: ignore[no-untyped-call]  # MLflow gives it no types

    with pytest.raises(pipeline.PipelineError) as caught:
        log()
    assert str(caught.value) == f"{BUCKET} {expected.replace('{server}', server.url)}"
    assert "AWS_MAX_ATTEMPTS" not in os.environ


def test_a_bucket_that_is_busy_is_asked_as_often_as_the_mlflow_server(
    pipeline: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, plain: Buckets
) -> None:
    """boto3 by itself tries five times, and waits a minute each time for a server that is silent."""
    (tmp_path / "MLmodel").write_text("x")

    def busy(handler: BaseHTTPRequestHandler, _path: str) -> bool:
        handler.rfile.read(int(handler.headers["Content-Length"]))
        send(handler, failure("SlowDown"), 503)
        return True

    with HostileBucket(busy) as bucket:
        for variable, value in {**plain.environment, "MLFLOW_S3_ENDPOINT_URL": bucket.url}.items():
            monkeypatch.setenv(variable, value)
        s3_artifact_repo._cached_get_s3_client.cache_clear()
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)

        def log() -> None:
            with pipeline.registry_request(f"log the model at {MLFLOW}", MLFLOW, 60, retries=1):
                repository = s3_artifact_repo.S3ArtifactRepository("s3://models/x")
                repository.log_artifact(str(tmp_path / "MLmodel"))  # type: ignore[no-untyped-call]  # MLflow gives it no types

        with pytest.raises(pipeline.PipelineError, match=r"SlowDown.*check MLFLOW_S3_ENDPOINT_URL \(http") as caught:
            log()
        assert str(caught.value).startswith(BUCKET)
        assert len(bucket.seen) == 2
