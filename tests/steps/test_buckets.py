"""Fetch from buckets: a real S3 server with real signatures, and one that does what no honest one would."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from reconciler.steps import manifest as manifests
from reconciler.steps.tree import sha256_of
from tests.mlflow_server import PATIENCE, mlflow_server
from tests.s3 import Buckets, buckets
from tests.steps.conftest import log_directory, newest
from tests.steps.hostile_answers import HOSTILE, answering
from tests.steps.hostile_bucket import HostileBucket, failure, listing, send
from tests.steps.step import ROOT, Ended, Steps, command, environment
from tests.steps.store import FILES, Store
from tests.tls import Authority, TlsFront

CREDENTIAL = "[default]\naws_access_key_id = AKIATESTTESTTEST\naws_secret_access_key = hunter2hunter2\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A hospital's own authority."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buckets]:
    """A real S3 server on this machine."""
    with buckets(tmp_path_factory.mktemp("plain")) as server:
        yield server


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Buckets]:
    """The same over TLS."""
    with buckets(tmp_path_factory.mktemp("encrypted"), authority) as server:
        yield server


def credentials(directory: Path, aws: str = CREDENTIAL, ca: str = "") -> str:
    """Give credentials as systemd does."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in (("artifacts.aws", aws), ("artifacts.ca", ca)):
        if content:
            (directory / name).write_text(content)
    return str(directory)


def alone(state: Path, *arguments: object, **variables: str) -> Ended:
    """Run a step in a process of its own from the first import on, with these variables."""
    done = subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=environment(state, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Ended(done.returncode, done.stdout.splitlines()[-1], done.stdout)


def fetch(
    run: Callable[..., Ended], area: Path, url: str, credential: str, *more: str, below: str = "odd", **variables: str
) -> Ended:
    """Fetch the version whose files are in the bucket `models` below `odd/`, or elsewhere in it."""
    with Store(location=f"s3://models/{below}") as registry:
        arguments = registry.arguments("--host", "s3://models", "--s3-endpoint-url", url, *more, schemes="s3")
        given = {"MLFLOW_TRACKING_URI": registry.address, "CREDENTIALS_DIRECTORY": credential, **variables}
        return run(area / "release", *arguments, **given)


def fetched(area: Path) -> dict[str, bytes]:
    """Read what is there and counts."""
    names = manifests.read(area / "release").files
    return {name: (area / "release/model" / name).read_bytes() for name in names}


def why(ended: Ended, area: Path) -> str:
    """Return why nothing was fetched; nothing may count then, and nobody may see a traceback."""
    assert ended.code == 1, ended.output
    assert ended.status.startswith("cannot "), ended.status
    assert "Traceback" not in ended.output
    assert "hunter2" not in ended.output
    assert not (area / "release/manifest.json").exists()
    return ended.status


def test_a_version_in_a_bucket_is_on_the_disk_with_every_file(tmp_path: Path, run: Steps, plain: Buckets) -> None:
    """Names as people give them, empty files, objects that stand for directories; all byte for byte."""
    plain.put("models", {"odd-other/secret": b"of another version", "other": b""})
    files = {**FILES, "data/a b+c~(1) ä%20.bin": b"\0" * 3_000_000, "data/deep/er/empty": b""}
    plain.put("models", {f"odd/{name}": content for name, content in files.items()})
    ended = fetch(run, tmp_path, plain.url, credentials(tmp_path / "credentials", plain.credential))
    assert ended.code == 0, ended.output
    assert fetched(tmp_path) == files


def test_a_store_with_an_authority_of_its_own_is_trusted_by_its_credential(
    tmp_path: Path, run: Steps, encrypted: Buckets, authority: Authority
) -> None:
    """Over TLS; without the credential the sentence names it."""
    encrypted.put("models", {f"odd/{name}": content for name, content in FILES.items()})
    trusting = credentials(tmp_path / "trusting", encrypted.credential, authority.pem.read_text())
    ended = fetch(run, tmp_path / "one", encrypted.url, trusting)
    assert ended.code == 0, ended.output
    assert fetched(tmp_path / "one") == FILES
    ended = fetch(run, tmp_path / "two", encrypted.url, credentials(tmp_path / "not", encrypted.credential))
    assert "its certificate is not trusted" in why(ended, tmp_path / "two")
    assert "put its authority into the credential 'artifacts.ca' of the host" in ended.status


def test_a_version_that_changed_in_the_bucket_is_refused_by_its_pin(tmp_path: Path, run: Steps, plain: Buckets) -> None:
    """As from any other store: its first digest counts."""
    plain.put("models", {f"changed/{name}": content for name, content in FILES.items()})
    given = credentials(tmp_path / "credentials", plain.credential)
    assert fetch(run, tmp_path / "one", plain.url, given, below="changed").code == 0
    pin = tmp_path / "pin"
    pin.write_text(manifests.read(tmp_path / "one/release").pin)
    assert fetch(run, tmp_path / "two", plain.url, given, "--pin", str(pin), below="changed").code == 0
    plain.put("models", {"changed/weights.bin": b"\1" * 3000})
    ended = fetch(run, tmp_path / "three", plain.url, given, "--pin", str(pin), below="changed")
    assert ended.code == 1
    assert "the artifact store has other files than when it was first fetched here" in ended.status


def test_nothing_is_taken_from_environment_home_or_metadata_service(tmp_path: Path, plain: Buckets) -> None:
    """Keys, addresses, proxies and programs of somebody's; all of them would lead elsewhere."""
    plain.put("models", {f"own/{name}": content for name, content in FILES.items()})
    home, ran = tmp_path / "home", tmp_path / "ran"
    (home / ".aws/models/s3/2006-03-01").mkdir(parents=True)
    (home / ".aws/models/s3/2006-03-01/service-2.json").write_text("{}")
    with HostileBucket() as elsewhere:
        program = f"credential_process = /usr/bin/touch {ran}\nendpoint_url = {elsewhere.url}\nregion = mars\n"
        (home / ".aws/credentials").write_text(f"[default]\n{program}[evil]\n{program}")
        (home / ".aws/config").write_text("this is no file of settings, as who reads it finds out")
        variables = {
            "HOME": str(home),
            "AWS_PROFILE": "evil",
            "AWS_ACCESS_KEY_ID": "AKIAOTHEROTHEROTHER",
            "AWS_SECRET_ACCESS_KEY": "other",
            "AWS_SESSION_TOKEN": "other",
            "AWS_CONFIG_FILE": str(home / ".aws/config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(home / ".aws/credentials"),
            "AWS_DATA_PATH": str(home / ".aws/models"),
            "AWS_CA_BUNDLE": "/nonexistent",
            "AWS_ENDPOINT_URL": elsewhere.url,
            "AWS_ENDPOINT_URL_S3": elsewhere.url,
            "MLFLOW_S3_ENDPOINT_URL": elsewhere.url,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": elsewhere.url,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": elsewhere.url,
            "AWS_EC2_METADATA_DISABLED": "false",
            "AWS_USE_FIPS_ENDPOINT": "true",
            "AWS_CSM_ENABLED": "true",
            "AWS_DEFAULTS_MODE": "in-region",
        }
        given = credentials(tmp_path / "credentials", plain.credential + program)
        ended = fetch(alone, tmp_path, plain.url, given, below="own", **variables)
        assert ended.code == 0, ended.output
        assert fetched(tmp_path) == FILES
        missing = fetch(alone, tmp_path / "keyless", plain.url, credentials(tmp_path / "none", ""), **variables)
        assert "the credential 'artifacts.aws' is missing; mend the credential on the host" in why(
            missing, tmp_path / "keyless"
        )
        # The registry is asked over plain HTTP, so that these would be for the store alone.
        proxied = {"HTTPS_PROXY": elsewhere.url, "https_proxy": elsewhere.url}
        ended = fetch(alone, tmp_path / "proxied", "https://127.0.0.1:9", given, **proxied)
        assert "connection refused" in why(ended, tmp_path / "proxied")
        assert elsewhere.seen == []
    assert not ran.exists()


KEYS = {
    "": "the credential 'artifacts.aws' is missing; mend the credential on the host",
    "AKIA hunter2": "the credential 'artifacts.aws' is not an AWS credentials file",
    "[other]\naws_access_key_id = hunter2": "has no aws_access_key_id or no aws_secret_access_key in its section",
    "[default]\naws_access_key_id = hunter2": "has no aws_access_key_id or no aws_secret_access_key in its section",
    "[default]\naws_access_key_id = a\naws_secret_access_key = hunter2 b": "has a key with a space",
    CREDENTIAL: "it does not accept the host's keys (SignatureDoesNotMatch, HTTP 403); put the right keys into",
    CREDENTIAL.replace("TEST", "OTHER"): "it does not know the host's keys (InvalidAccessKeyId, HTTP 403); put the",
}


@pytest.mark.parametrize("content", KEYS, ids=range(len(KEYS)))
def test_keys_that_do_not_fit_are_a_plain_reason(tmp_path: Path, run: Steps, plain: Buckets, content: str) -> None:
    """The sentence names the credential, and never shows it."""
    given = credentials(tmp_path / "credentials", content)
    assert KEYS[content] in why(fetch(run, tmp_path, plain.url, given), tmp_path)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", "this host does not know the server of its buckets; set fetch.s3_endpoint_url on the host, or log"),
        ("http://minio.example.org:9000", "would cross the network in plain text; use https, or set fetch.s3_plain_"),
        ("http://127.0.0.1:9", "s3://models at http://127.0.0.1:9: connection refused; it is tried again by itself"),
    ],
)
def test_a_server_that_the_settings_do_not_allow_is_not_asked(
    tmp_path: Path, run: Steps, url: str, expected: str
) -> None:
    """Without a server there is no guess, such as Amazon's; over plain HTTP only with the operator's yes."""
    assert expected in why(fetch(run, tmp_path, url, credentials(tmp_path / "credentials")), tmp_path)


def test_an_operator_may_allow_plain_http(tmp_path: Path, run: Steps) -> None:
    """Then the server is asked; this one has no such name."""
    given = credentials(tmp_path / "credentials")
    ended = fetch(run, tmp_path, "http://minio.example.org:9000", given, "--s3-plain-http")
    assert "its name is not known; it is tried again by itself" in why(ended, tmp_path)


def test_requests_are_signed_for_the_region_of_the_settings(tmp_path: Path, run: Steps) -> None:
    """Amazon's servers refuse others, and so do some that name their regions."""
    given = credentials(tmp_path / "credentials", CREDENTIAL + "aws_session_token = canary\n")
    for region, arguments in (("eu-central-1", ("--s3-region", "eu-central-1")), ("us-east-1", ())):
        with HostileBucket() as bucket:
            assert fetch(run, tmp_path / region, bucket.url, given, *arguments).code == 0
        assert len(bucket.seen) == 1 + len(FILES)
        assert all(f"/{region}/s3/aws4_request" in authorization for _, authorization in bucket.seen)
        assert fetched(tmp_path / region) == FILES


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_a_hostile_server_of_buckets_answers_is_a_sentence(tmp_path: Path, run: Steps, kind: str) -> None:
    """It says who can mend it. Nothing counts, nothing grows, and no other server is asked."""
    bend, expected = HOSTILE[kind]
    limits = ("--max-files", "20") if "20 files" in expected else ("--max-size", str(20 * 1024**3))
    quick = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "2" if kind == "silence" else "30", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    with HostileBucket(bend) as bucket:
        ended = fetch(run, tmp_path, bucket.url, credentials(tmp_path / "credentials"), *limits, **quick)
        assert all(path.startswith("/models") for path, _ in bucket.seen)
    assert expected in why(ended, tmp_path)
    assert "fetch.hosts" not in ended.status, "it was sent on and nearly went"
    written = sum(path.stat().st_size for path in (tmp_path / "release").rglob("*") if path.is_file())
    assert written < 32 * 1024 * 1024


def test_a_server_that_is_busy_for_a_moment_is_asked_again(tmp_path: Path, run: Steps) -> None:
    """Listing and file; the model need not come from the beginning."""
    busy = {"", "weights.bin"}

    def bend(handler: BaseHTTPRequestHandler, path: str) -> bool:
        if path not in busy:
            return False
        busy.remove(path)
        send(handler, failure("SlowDown"), 503)
        return True

    with HostileBucket(bend) as bucket:
        ended = fetch(run, tmp_path, bucket.url, credentials(tmp_path / "credentials"))
    assert ended.code == 0, ended.output
    assert not busy
    assert fetched(tmp_path) == FILES


def test_an_object_that_stands_for_a_directory_is_no_file(tmp_path: Path, run: Steps) -> None:
    """Some tools make one for each directory, the top one, too."""
    sizes = [("odd/", "0"), *((f"odd/{name}", str(len(content))) for name, content in FILES.items())]
    with HostileBucket(answering(listing(sizes))) as bucket:
        ended = fetch(run, tmp_path, bucket.url, credentials(tmp_path / "credentials"))
    assert ended.code == 0, ended.output
    assert fetched(tmp_path) == FILES


def test_files_of_a_bucket_come_several_at_a_time(tmp_path: Path, run: Steps) -> None:
    """Each is sent only when another is asked for: one after the other would wait for ever."""
    import threading

    together = threading.Barrier(2)

    def bend(handler: BaseHTTPRequestHandler, path: str) -> bool:  # noqa: ARG001 - a Bend's
        if path in ("MLmodel", "requirements.txt"):
            together.wait(PATIENCE)
        return False

    with HostileBucket(bend) as bucket:
        ended = fetch(run, tmp_path, bucket.url, credentials(tmp_path / "credentials"))
    assert ended.code == 0, ended.output
    assert not together.broken


ELSEWHERE_WHILE_LISTING = """
import socket, sys
from pathlib import Path
import requests
from reconciler.adapters.s3 import BucketServer, S3Artifacts
from reconciler.steps import download as downloads
from reconciler.steps.limits import Limits
registry, url, there, area, how = sys.argv[1:]
honest = S3Artifacts.entries
def entries(self, below=None):
    yield from honest(self, below)
    if how == "without a look-up":
        host, port = there.removeprefix("http://").split(":")
        socket.socket(socket.AF_INET, socket.SOCK_STREAM).connect((host, int(port)))
    else:
        requests.get(there, timeout=5)
S3Artifacts.entries = entries
limits = Limits(frozenset({"s3"}), frozenset({"s3://models", there}), 0, 100, 0)
order = downloads.FetchOrder("odd", 1, "models:/m-1", "model", registry, limits, buckets=BucketServer(url))
try:
    print("fetched", len(downloads.download(Path(area), order)))
except downloads.StepError as refused:
    print(refused)
"""


@pytest.mark.parametrize(
    ("where", "how"),
    [
        ("the registry", "by a request"),
        ("the registry", "without a look-up"),
        ("a server of fetch.hosts", "by a request"),
        ("the server itself", "by a request"),
    ],
)
def test_a_fetch_from_a_bucket_is_held_to_its_one_server(tmp_path: Path, where: str, how: str) -> None:
    """Whatever a library does then: even what a fetch from elsewhere may reach is out of reach."""
    with Store(location="s3://models/odd") as registry, Store() as other, HostileBucket() as bucket:
        there = {"the registry": registry.address, "the server itself": bucket.url}.get(where, other.address)
        given = credentials(tmp_path / "credentials")
        words = [registry.address, bucket.url, there, str(tmp_path / "incoming"), how]
        done = subprocess.run(
            [sys.executable, "-c", ELSEWHERE_WHILE_LISTING, *words],
            env=environment(tmp_path / "state", PYTHONPATH=str(ROOT), CREDENTIALS_DIRECTORY=given),
            stdout=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        asked = len(registry.seen)
        assert other.seen == []
    if where == "the server itself":
        assert done.stdout == f"fetched {len(FILES)}\n"
    else:
        assert f"it is sent on to {there.removeprefix('http://')}" in done.stdout
    assert asked <= 3


@pytest.mark.parametrize("how", ["presigned", "another server"])
def test_other_stores_with_an_authority_of_their_own_are_trusted_by_the_same_credential(
    tmp_path: Path, run: Steps, authority: Authority, how: str
) -> None:
    """Addresses that the MLflow server gives, and servers that fetch.hosts names."""
    with Store() as registry, Store() as other, TlsFront(other.address, authority.issue("front")) as front:
        if how == "presigned":
            registry.presigned = other.file.replace(other.address, front.uri)
        else:
            registry.location = f"{front.uri}/api/2.0/mlflow-artifacts/artifacts/odd"
        for trusted in (authority.pem.read_text(), ""):
            area = tmp_path / str(len(trusted))
            ended = run(
                area / "release",
                *registry.arguments("--host", front.uri, schemes="mlflow-artifacts,https"),
                MLFLOW_TRACKING_URI=registry.address,
                CREDENTIALS_DIRECTORY=credentials(area / "credentials", CREDENTIAL, trusted),
            )
            if trusted:
                assert ended.code == 0, ended.output
                assert fetched(area) == FILES
            else:
                assert "its certificate is not trusted" in why(ended, area)


@pytest.mark.parametrize(
    ("location", "extra"),
    [
        ("gs://models/odd", "--with gs"),
        ("wasbs://models@account.blob.core.windows.net/odd", "--with azure"),
        ("abfss://models@account.dfs.core.windows.net/odd", "--with azure"),
    ],
)
def test_a_kind_of_store_without_its_library_names_the_command_that_brings_it(
    tmp_path: Path, run: Steps, location: str, extra: str
) -> None:
    """Those that few hosts need are no part of every installation."""
    scheme, _, rest = location.partition("://")
    with Store(location=location) as store:
        arguments = store.arguments("--host", f"{scheme}://{rest.partition('/')[0]}", schemes=scheme)
        ended = run(tmp_path / "release", *arguments, MLFLOW_TRACKING_URI=store.address)
    assert "this host has no library for such a store" in why(ended, tmp_path)
    assert f"run ./dev install {extra} again on the host, or log the model through the MLflow server" in ended.status


def test_models_of_a_real_server_with_its_artifacts_in_a_bucket_are_fetched(
    tmp_path: Path, run: Steps, plain: Buckets
) -> None:
    """Registered with pipeline.py where clients write to the bucket themselves, and through the server."""
    import mlflow

    root = ("--default-artifact-root", "s3://models/direct", "--artifacts-destination", "s3://models/proxied")
    (plain.directory / "models").mkdir(exist_ok=True)
    for variable in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[variable]
    (tmp_path / "server").mkdir()
    with mlflow_server(tmp_path / "server", None, *root, environment=plain.environment) as address:
        done = subprocess.run(
            [
                *(sys.executable, str(ROOT / "pipeline.py"), "--allow-root", "--name", "pauses"),
                *("--model", f"{ROOT}/examples/pauses/pauses.py:Pauses", "--tracking-uri", address),
                *("--requirements", str(ROOT / "examples/pauses/requirements.txt")),
            ],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **plain.environment},
            capture_output=True,
            text=True,
            timeout=3 * PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        client = mlflow.MlflowClient(address)
        experiment = client.create_experiment("handed through", artifact_location="mlflow-artifacts:/7")
        model = tmp_path / "own"
        model.mkdir()
        for name, content in FILES.items():
            (model / name).write_bytes(content)
        through = log_directory(address, "through", model, experiment)
        given = credentials(tmp_path / "credentials", plain.credential)
        for version, hosts in ((newest(address, "pauses"), ("--host", "s3://models")), (through, ())):
            state = tmp_path / version.name / "release"
            ended = run(
                state,
                *version.arguments(schemes="mlflow-artifacts,s3"),
                *(*hosts, "--s3-endpoint-url", plain.url),
                MLFLOW_TRACKING_URI=address,
                CREDENTIALS_DIRECTORY=given,
            )
            assert ended.code == 0, ended.output
            below = plain.directory / "models" / ("proxied" if version is through else "direct")
            [kept] = [path for path in below.rglob("MLmodel") if "artifacts" in path.parts]
            manifest = manifests.read(state)
            ours = {name: record.sha256 for name, record in manifest.files.items()}
            theirs = {
                str(path.relative_to(kept.parent)): sha256_of(path) for path in kept.parent.rglob("*") if path.is_file()
            }
            assert ours == theirs
            assert len(ours) >= len(FILES)
    assert "s3://models/direct/" in json.dumps(log_of(tmp_path / "server"))


def log_of(directory: Path) -> list[str]:
    """Where MLflow's database says that models are."""
    import sqlite3

    with sqlite3.connect(directory / "mlflow.db") as database:
        return [str(row[0]) for row in database.execute("select artifact_location from logged_models")]
