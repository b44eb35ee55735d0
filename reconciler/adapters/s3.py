"""Lists and downloads files of a bucket, with boto3, from the one server that the host's settings name.

boto3 signs the requests and reads the answers. What it would take from its surroundings, it is not given: keys,
addresses and proxies of the environment, files in a home, the metadata service of a cloud. What a server sends is
bounded before boto3 sees it (docs/adr/0025).
"""

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from reconciler.adapters.credentials import SYSTEM_AUTHORITIES, BucketKeys, authorities, bucket_keys
from reconciler.adapters.failure_words import describe_failure
from reconciler.core.text.quote import one_line
from reconciler.core.text.urls import is_readable_on_the_way
from reconciler.ports.artifacts import Entry, StoreError

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse

_MOST_TOLD = 8 * 1024 * 1024
"""Bytes of a listing or an error; a page of 1000 keys of the greatest length has half of it."""
_MOST_EMPTY_PAGES = 20
_LISTING = re.compile(rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]{0,200}\?>)?\s*<(ListBucketResult|Error)\b")
"""How the answer to a request for a listing begins: with no declarations that could let it grow."""
_PIECE = 1024 * 1024
_AGAIN = "it is tried again by itself"
_ELSEWHERE = "set fetch.s3_endpoint_url and fetch.s3_region on the host to those of the bucket"
_CREDENTIAL = "put the right keys into the credential 'artifacts.aws' of the host"
_AUTHORITY = "have its certificate mended, or put its authority into the credential 'artifacts.ca' of the host"
_NOT_S3 = "its answer is not S3's; set fetch.s3_endpoint_url on the host to the address for S3 clients"

_BY_CODE = {
    "AccessDenied": (
        "the host's keys do not permit it",
        "have them permitted to list the bucket and to get its objects",
    ),
    "InvalidAccessKeyId": ("it does not know the host's keys", _CREDENTIAL),
    "SignatureDoesNotMatch": ("it does not accept the host's keys", _CREDENTIAL),
    "ExpiredToken": ("the host's keys have expired", _CREDENTIAL),
    "InvalidToken": ("the host's keys are not valid any more", _CREDENTIAL),
    "RequestTimeTooSkewed": ("its clock and this host's differ", "set the clock of the host"),
    "NoSuchBucket": (
        "it has no such bucket",
        "set fetch.s3_endpoint_url on the host to the bucket's server, or register the version from another bucket",
    ),
    "NoSuchKey": ("a file went away after it was listed", _AGAIN),
    "AuthorizationHeaderMalformed": ("the bucket is in another region", _ELSEWHERE),
    "IllegalLocationConstraintException": ("the bucket is in another region", _ELSEWHERE),
}
"""By S3's own code for an error: why it is one, and what to do."""


@dataclass(frozen=True)
class BucketServer:
    """The server that has the buckets of `s3://`, as the host's settings name it."""

    url: str = ""
    """`https://host:port`; "" when the host has none."""
    region: str = ""
    """What requests are signed for; "" is what most servers take that are not Amazon's."""
    plain_http: bool = False
    """Whether requests may go to another host over plain HTTP."""


class S3Artifacts:
    """The files of one model version in a bucket; an `Artifacts`."""

    def __init__(self, address: str, server: BucketServer, timeout: int, retries: int) -> None:
        """Prepare to ask for what is at `s3://bucket/path`, without a request.

        The server may be silent for `timeout` seconds and is asked `retries` times again. Raises StoreError
        where the settings do not allow it, and CredentialError.
        """
        parts = urlsplit(address)
        self._bucket = parts.netloc
        path = parts.path.strip("/")
        self._base = f"{path}/" if path else ""
        self._place = f"s3://{self._bucket} at {server.url}"
        if not server.url:
            raise StoreError(
                f"s3://{self._bucket}: this host does not know the server of its buckets; "
                "set fetch.s3_endpoint_url on the host, or log the model through the MLflow server"
            )
        if is_readable_on_the_way(server.url) and not server.plain_http:
            raise StoreError(
                f"{self._place}: keys and files would cross the network in plain text; "
                "use https, or set fetch.s3_plain_http on the host"
            )
        self._client = make_client(server, bucket_keys(), Wire(authorities("artifacts.ca"), timeout), retries)

    def entries(self, below: str | None = None) -> Iterator[Entry]:
        """List one directory, the top one by default."""
        prefix = f"{self._base}{below}/" if below else self._base
        with self._explained():
            empty = 0
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, Delimiter="/"):
                found = [*self._found(page, prefix)]
                empty += not found
                if empty > _MOST_EMPTY_PAGES:
                    raise StoreError(f"{self._place}: it lists pages with nothing on them, without end; {_AGAIN}")
                yield from found

    def _found(self, page: dict[str, Any], prefix: str) -> Iterator[Entry]:
        listed: list[tuple[str, bool, int | None]]
        listed = [(str(group["Prefix"]).removesuffix("/"), True, None) for group in page.get("CommonPrefixes", ())]
        listed += [(str(thing["Key"]), False, int(thing["Size"])) for thing in page.get("Contents", ())]
        for key, is_directory, size in listed:
            if key == prefix:
                continue  # an object that stands for the directory itself
            if not key.startswith(prefix):
                raise StoreError(f"{self._place}: it lists {one_line(key, 100)!r}, which was not asked for; {_AGAIN}")
            yield Entry(key.removeprefix(self._base), is_directory, size)

    def download(self, path: str, local: Path) -> None:
        """Download one file to `local`."""
        with self._explained():
            answer = self._client.get_object(Bucket=self._bucket, Key=self._base + path)
            with local.open("wb") as file:
                for piece in answer["Body"].iter_chunks(_PIECE):
                    file.write(piece)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say in one sentence what went wrong, and who can mend it."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:
            raise StoreError(f"{self._place}: {why(error)}") from error


class Wire:
    """Sends boto3's requests: no proxy, no redirect, and of an answer only what may be wanted of it."""

    def __init__(self, trusted: Path | None, timeout: int) -> None:
        """Trust the given authorities, or else the host's own."""
        from botocore.httpsession import URLLib3Session

        system = SYSTEM_AUTHORITIES if Path(SYSTEM_AUTHORITIES).exists() else True
        self._session = URLLib3Session(verify=str(trusted) if trusted else system, proxies={}, timeout=timeout)

    def send(self, request: "AWSPreparedRequest", event_name: str, **_: object) -> "AWSResponse":
        """Answer a request in place of boto3's own sending; its event `before-send` lets a handler do so."""
        from botocore.awsrequest import AWSResponse
        from urllib3 import HTTPResponse

        request.stream_output = True  # or all of the answer would be read at once
        answer = self._session.send(request)
        if 300 <= answer.status_code < 400:
            raise _SentOnError(answer.status_code)  # or boto3 would look for the server that is meant
        is_file = event_name.endswith(".GetObject") and answer.status_code == 200
        if is_file:
            return answer  # whoever writes it to the disk bounds it
        body = bytearray()
        for piece in answer.raw.stream(65536):
            body += piece
            if len(body) > _MOST_TOLD:
                answer.raw.close()
                raise _TooMuchError
        if answer.status_code < 300 and not _LISTING.match(body):
            raise _NotS3Error  # boto3 would take a page for browsers for a failure, or for an empty listing
        whole = HTTPResponse(io.BytesIO(body), preload_content=False)
        return AWSResponse(answer.url, answer.status_code, answer.headers, whole)


class _SentOnError(Exception):
    """An answer names another server; the argument is its HTTP status."""


class _NotS3Error(Exception):
    """An answer is no listing."""


class _TooMuchError(Exception):
    """An answer is longer than any of its kind."""


def make_client(server: BucketServer, keys: BucketKeys, wire: Wire, retries: int) -> Any:
    """Make boto3's client, which takes nothing from environment, home or metadata service."""
    import boto3
    import botocore.loaders
    import botocore.session
    from botocore.config import Config

    for variable in [name for name in os.environ if name.startswith(("AWS_", "BOTO"))]:
        del os.environ[variable]
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    session = botocore.session.Session()
    for variable in ("config_file", "credentials_file"):
        session.set_config_variable(variable, os.devnull)
    loader = botocore.loaders.Loader([botocore.loaders.Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    session.register_component("data_loader", loader)
    client = boto3.Session(botocore_session=session).client(
        "s3",
        endpoint_url=server.url,
        region_name=server.region or "us-east-1",
        aws_access_key_id=keys.access_key_id,
        aws_secret_access_key=keys.secret_access_key,
        aws_session_token=keys.session_token,
        config=Config(
            # A bucket in the host's name would be another server for each bucket, with a certificate of its own.
            s3={"addressing_style": "path"},
            signature_version="s3v4",
            proxies={},
            retries={"total_max_attempts": retries + 1, "mode": "standard"},
        ),
    )
    client.meta.events.register("before-send.s3", wire.send)
    return client


def why(error: Exception) -> str:
    """Describe a failure of boto3: why, and what to do. Nothing of an answer is repeated but codes."""
    from botocore.exceptions import ClientError, FlexibleChecksumError, HTTPClientError, PaginationError, SSLError
    from botocore.parsers import ResponseParserError

    if isinstance(error, ClientError):
        return _why_refused(error.response)
    if isinstance(error, _SentOnError):
        return f"it sends on to another server (HTTP {error.args[0]}); {_ELSEWHERE}"
    if isinstance(error, _TooMuchError):
        return f"its answer is longer than any of S3's; {_AGAIN}"
    if isinstance(error, FlexibleChecksumError):
        return f"a file does not have the checksum that the store has of it; {_AGAIN}, or log the model again"
    if isinstance(error, SSLError):
        return f"{describe_failure(error)}; {_AUTHORITY}"
    if isinstance(error, HTTPClientError | OSError):
        return f"{describe_failure(error)}; {_AGAIN}"
    # The last five are boto3's own way to stumble over documents that are too odd for it.
    misread = (_NotS3Error, ResponseParserError, PaginationError)
    stumbled = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
    return _NOT_S3 if isinstance(error, misread + stumbled) else f"{describe_failure(error)}; {_AGAIN}"


def _why_refused(answer: dict[str, Any]) -> str:
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = str(answer.get("Error", {}).get("Code", ""))
    shown = f"{code}, HTTP {status}" if re.fullmatch(r"[A-Za-z]{1,50}", code) else f"HTTP {status}"
    if code in _BY_CODE:
        why, remedy = _BY_CODE[code]
    elif status in (401, 403):
        why, remedy = "it does not permit it", _CREDENTIAL
    elif status == 404:
        why, remedy = "there is no such thing", "set fetch.s3_endpoint_url on the host to the bucket's server"
    else:
        why, remedy = "it failed", _AGAIN
    return f"{why} ({shown}); {remedy}"
