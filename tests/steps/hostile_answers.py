"""What a hostile server of buckets answers, and the sentence that people must get of it."""

import itertools
from http.server import BaseHTTPRequestHandler

from tests.steps.hostile_bucket import Bend, failure, listing, send, without_end
from tests.steps.store import FILES


def listed(*keys: tuple[str, object]) -> Bend:
    """Bend the listing."""
    whole = [("odd/MLmodel", len(FILES["MLmodel"])), *keys]
    return answering(listing((key, str(size)) for key, size in whole))


def answering(body: bytes, status: int = 200, **headers: str) -> Bend:
    """Answer the listing with this."""

    def bend(handler: BaseHTTPRequestHandler, path: str) -> bool:
        if not path:
            send(handler, body, status, **headers)
        return not path

    return bend


def sending(body: bytes, status: int = 200, **headers: str) -> Bend:
    """Answer the large file with this."""

    def bend(handler: BaseHTTPRequestHandler, path: str) -> bool:
        if path == "weights.bin":
            send(handler, body, status, **headers)
        return path == "weights.bin"

    return bend


def pages_without_end(entries: int) -> Bend:
    """List page after page, each with another token and this many entries."""
    count = itertools.count()

    def bend(handler: BaseHTTPRequestHandler, path: str) -> bool:
        if path:
            return False
        numbers = [next(count) for _ in range(max(entries, 1))]
        send(handler, listing(((f"odd/f{number}", "1") for number in numbers[:entries]), more=str(numbers[0])))
        return True

    return bend


def the_same_page(handler: BaseHTTPRequestHandler, path: str) -> bool:
    """Say each time that the next page is the same one."""
    if not path:
        send(handler, listing([("odd/MLmodel", "1")], more="same"))
    return not path


def directories_without_end(handler: BaseHTTPRequestHandler, path: str) -> bool:
    """List in each directory another one."""
    from urllib.parse import parse_qs, urlsplit

    prefix = parse_qs(urlsplit(handler.path).query).get("prefix", [""])[0]
    if not path:
        send(handler, listing([], prefixes=[f"{prefix}{number}/" for number in range(3)]))
    return not path


def listing_without_end(handler: BaseHTTPRequestHandler, path: str) -> bool:
    """Send one page that never ends."""
    if not path:
        without_end(handler, b"<Contents><Key>odd/x</Key><Size>1</Size></Contents>" * 1000, b"<ListBucketResult>")
    return not path


def error_without_end(handler: BaseHTTPRequestHandler, path: str) -> bool:
    """Send an error in place of a file, which never ends."""
    if path == "weights.bin":
        handler.send_response_only(403)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        try:
            while True:
                handler.wfile.write(b"<Error>" * 10_000)
        except OSError:
            return True
    return False


def file_without_end(handler: BaseHTTPRequestHandler, path: str) -> bool:
    """Send a file that never ends."""
    if path == "weights.bin":
        without_end(handler, b"\0" * 65536)
    return path == "weights.bin"


def cut_off(handler: BaseHTTPRequestHandler, path: str) -> bool:
    """Announce a whole file and send a part."""
    if path == "weights.bin":
        handler.send_response(200)
        handler.send_header("Content-Length", "3000")
        handler.end_headers()
        handler.wfile.write(b"\0" * 100)
        handler.close_connection = True
    return path == "weights.bin"


def silent(handler: BaseHTTPRequestHandler, path: str) -> bool:
    """Answer nothing until the other side hangs up."""
    if not path:
        handler.rfile.read(1)
        handler.close_connection = True
    return not path


BOMB = (
    b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa">'
    + b"".join(b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 50 if n else b"&a;" * 50) for n in range(8))
    + b"]><ListBucketResult><Name>&a7;</Name></ListBucketResult>"
)
ELSEWHERE = "set fetch.s3_endpoint_url and fetch.s3_region on the host to those of the bucket"
KEY = "put the right keys into the credential 'artifacts.aws' of the host"
AGAIN = "it is tried again by itself"
LATER = {"Location": "http://127.0.0.1:1/models/odd/"}
HOSTILE: dict[str, tuple[Bend, str]] = {
    # The release's fault, or at least nothing that this host could mend.
    "a key above": (listed(("odd/../../x", 7)), "'../../x': it leads out of the model's directory; log the model"),
    "a key that is absolute": (listed(("odd//etc/passwd", 7)), "it leads out of the model's directory; log the model"),
    "a key that hides": (listed(("odd/a‮b", 7)), "it has characters that cannot be shown; log the model"),
    "a file that is a directory": (listed(("odd/MLmodel/x", 7)), "is listed as a file and as a directory; log the"),
    "a listing that breaks off": (
        answering(listing([("odd/MLmodel", "7")])[:-9]),
        f"it failed (HTTP 500); {AGAIN}",
    ),
    "nothing": (answering(listing([])), "the artifact store has no files for it; log the model again"),
    "no MLmodel": (answering(listing([("odd/x", "7")])), "it has no file MLmodel; log it with MLflow's log_model"),
    # The store's, for a while.
    "a key of another version": (listed(("other/x", 7)), f"it lists 'other/x', which was not asked for; {AGAIN}"),
    "a key of another host": (listed(("http://evil/x", 7)), "it lists 'http://evil/x', which was not asked for"),
    "a negative size": (listed(("odd/x", -(10**12))), "it is listed with a negative size; have the artifact store"),
    "a size that is none": (listed(("odd/x", "x")), "its answer is not S3's; set fetch.s3_endpoint_url on the host"),
    "a size beyond all": (listed(("odd/x", 10**30)), "this host takes 20.0 GiB at most; log a smaller model"),
    "less than listed": (sending(b"\0" * 100), "came out another size than listed"),
    "more than listed": (sending(b"\0" * 4000), "came out another size than listed"),
    "a part": (cut_off, f"it broke off its answer; {AGAIN}"),
    "a file without end": (file_without_end, f"the artifact store sends more than it listed; {AGAIN}"),
    "pages without end": (pages_without_end(3), "it has more than 20 files; log it as fewer"),
    "empty pages without end": (pages_without_end(0), f"it lists pages with nothing on them, without end; {AGAIN}"),
    "the same page without end": (the_same_page, "its answer is not S3's"),
    "directories without end": (directories_without_end, "it has more than 20 files; log it as fewer"),
    "a page without end": (listing_without_end, f"its answer is longer than any of S3's; {AGAIN}"),
    "an error without end": (error_without_end, f"its answer is longer than any of S3's; {AGAIN}"),
    "silence": (silent, f"no answer in time; {AGAIN}"),
    "a file that went away": (sending(failure("NoSuchKey"), 404), f"(NoSuchKey, HTTP 404); {AGAIN}"),
    "a failure": (answering(failure("InternalError"), 500), f"it failed (InternalError, HTTP 500); {AGAIN}"),
    "too busy": (answering(failure("SlowDown"), 503), f"it failed (SlowDown, HTTP 503); {AGAIN}"),
    "another checksum": (
        sending(b"\0" * 3000, x_amz_checksum_crc32="AAAAAA=="),
        f"does not have the checksum that the store has of it; {AGAIN}, or log the model again",
    ),
    # The host's settings or credentials.
    "no document": (answering(b"<html><p>log in"), "its answer is not S3's; set fetch.s3_endpoint_url on the"),
    "another document": (answering(b"<html></html>"), "its answer is not S3's; set fetch.s3_endpoint_url on the"),
    "an error of many levels": (
        answering(b"<Error>" + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</Error>", 403),
        "its answer is not S3's",
    ),
    "a code of two levels": (
        answering(b"<Error><Code><Code>x</Code></Code></Error>", 403),
        "its answer is not S3's",
    ),
    "a part with status 206": (sending(b"\0" * 3000, 206), "its answer is not S3's"),
    "a bomb": (answering(BOMB), "its answer is not S3's"),
    "no bucket": (answering(failure("NoSuchBucket"), 404), "it has no such bucket (NoSuchBucket, HTTP 404); set fetch"),
    "keys that have expired": (
        answering(failure("ExpiredToken"), 400),
        f"keys have expired (ExpiredToken, HTTP 400); {KEY}",
    ),
    "keys that may not": (
        answering(failure("AccessDenied"), 403),
        "keys do not permit it (AccessDenied, HTTP 403); have",
    ),
    "keys that may not get": (sending(failure("AccessDenied"), 403), "keys do not permit it (AccessDenied, HTTP 403)"),
    "no word": (answering(b"", 403), f"it does not permit it (HTTP 403); {KEY}"),
    "another clock": (
        answering(failure("RequestTimeTooSkewed"), 403),
        "differ (RequestTimeTooSkewed, HTTP 403); set the",
    ),
    "another region": (
        answering(failure("AuthorizationHeaderMalformed", "<Region>eu-west-3</Region>"), 400),
        f"the bucket is in another region (AuthorizationHeaderMalformed, HTTP 400); {ELSEWHERE}",
    ),
    "another region's server": (
        answering(failure("PermanentRedirect", "<Endpoint>evil.example.org</Endpoint>"), 301, **LATER),
        f"it sends on to another server (HTTP 301); {ELSEWHERE}",
    ),
    "a redirect": (answering(b"", 307, **LATER), f"it sends on to another server (HTTP 307); {ELSEWHERE}"),
    "a redirect of a file": (
        sending(b"\0" * 3000, 302, **LATER),
        f"it sends on to another server (HTTP 302); {ELSEWHERE}",
    ),
    "a region of somebody's": (
        answering(failure("PermanentRedirect"), 301, x_amz_bucket_region="evil.example.org/"),
        ELSEWHERE,
    ),
    "a code of somebody's": (answering(failure("\x1b[31m\n" * 100), 400), "it failed (HTTP 400)"),
}
