"""Reads recordings out of a bucket, with the credentials `recordings.*`."""

import time
from enum import Enum, auto

from reconciler.adapters.credentials import authorities, bucket_keys
from reconciler.adapters.s3 import BucketServer, Wire, make_client, why
from reconciler.core.text.urls import is_readable_on_the_way
from reconciler.ports.artifacts import StoreError

_PATIENCE = 10
"""Seconds of silence of the server."""
_PIECE = 256 * 1024


class Trouble(Enum):
    """Why a recording cannot be had."""

    MISSING = auto()
    TOO_LARGE = auto()
    REFUSED = auto()
    """The server does not take the host's keys, or has no such bucket: people have to mend that."""
    AWAY = auto()
    """The server does not answer, or fails."""


class RecordingError(Exception):
    """A recording cannot be had; the message begins with `cannot` and says what to do."""

    def __init__(self, trouble: Trouble, sentence: str) -> None:
        """`trouble`: which kind of reason it is."""
        super().__init__(sentence)
        self.trouble = trouble


class Recordings:
    """The recordings in one bucket. Several threads may read at a time."""

    def __init__(self, bucket: str, server: BucketServer) -> None:
        """Prepare to read, without a request. Raises StoreError and CredentialError."""
        self.place = f"the bucket {bucket} at {server.url}"
        if not server.url:
            raise StoreError("cannot read recordings: nobody said where they are; set nats.s3_endpoint_url on the host")
        if is_readable_on_the_way(server.url) and not server.plain_http:
            raise StoreError(
                f"cannot read recordings from {self.place}: they would cross the network in plain text; "
                "use https, or set nats.s3_plain_http on the host"
            )
        self._bucket = bucket
        wire = Wire(authorities("recordings.ca"), _PATIENCE)
        # Whoever asks for a recording tries again by himself.
        self._client = make_client(server, bucket_keys("recordings"), wire, retries=0)

    def read(self, key: str, largest: int, ends: float) -> bytes:
        """Read a recording of at most `largest` bytes; `ends`: when to give up, on the monotonic clock.

        Raises RecordingError.
        """
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
            content = bytearray()
            for piece in answer["Body"].iter_chunks(_PIECE):
                content += piece
                if len(content) > largest:
                    answer["Body"].close()
                    raise _too_large(key, largest)
                if time.monotonic() > ends:
                    answer["Body"].close()
                    raise RecordingError(
                        Trouble.AWAY, f"cannot read {key} from {self.place} in time; it is tried again"
                    )
        except RecordingError:
            raise
        except Exception as error:  # boto3's own, and whatever odd answers make it stumble over
            raise RecordingError(_trouble(error), f"cannot read {key} from {self.place}: {_words(error)}") from error
        return bytes(content)


def _too_large(key: str, largest: int) -> RecordingError:
    return RecordingError(
        Trouble.TOO_LARGE,
        f"cannot read {key}: it has more than {largest} bytes; raise nats.max_recording on the host, or store less",
    )


def _trouble(error: Exception) -> Trouble:
    from botocore.exceptions import ClientError

    if not isinstance(error, ClientError):
        return Trouble.AWAY
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code == "NoSuchKey" or (status == 404 and code != "NoSuchBucket"):
        return Trouble.MISSING
    is_away = status >= 500 or status in (408, 429) or code == "SlowDown"
    return Trouble.AWAY if is_away else Trouble.REFUSED


def _words(error: Exception) -> str:
    """Say why and what to do, with the names that settings and credentials of recordings have."""
    if _trouble(error) is Trouble.MISSING:
        return "there is no such recording; store it before the request is published"
    return why(error).replace("fetch.s3_", "nats.s3_").replace("'artifacts.", "'recordings.")
