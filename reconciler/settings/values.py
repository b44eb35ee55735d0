"""What one setting may be: selectors, addresses, schemes, each with the words that say what is wrong.

The kinds of values that tags have, too, are in core/state/setting_kinds.py.
"""

import re
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from reconciler.core.registry.tags import KEYS


def wrong(what: str) -> PydanticCustomError:
    """Make the error of a check; the sentence says what the value should be."""
    # The rejected value is never part of the message: it may be a password that someone put in the wrong place.
    return PydanticCustomError("setting", "{what}", {"what": what})


def _matching(pattern: str, what: str) -> AfterValidator:
    """Make the check of a text that is right when all of it matches; `what`: the sentence for any other."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise wrong(what)
        return value

    return AfterValidator(check)


def _address(value: str) -> str:
    """Check the address of a server."""
    return _checked_address(value, "should be an http:// or https:// address")


def _address_or_directory(value: str) -> str:
    """Check a place of packages. A relative path would depend on where a program was started."""
    is_directory = value.startswith("/") and value.isprintable()
    if is_directory:
        return value
    return _checked_address(value, "should be an absolute path or an http(s):// address")


def _optional_address_or_directory(value: str) -> str:
    """Check a place of packages, or "" for none."""
    if not value:
        return value
    return _address_or_directory(value)


def _optional_server(value: str) -> str:
    """Check the address of a server alone, or "" for none: what is below it is asked for by rules of its own."""
    if not value:
        return value
    what = 'should be an http:// or https:// address without a path, such as "https://minio.example.org:9000"'
    parts = urlsplit(_checked_address(value, what))
    if parts.path not in ("", "/") or parts.query:
        raise wrong(what)
    return value.rstrip("/")


def _public_url(value: str) -> str:
    """Check the address of all deployments for clients elsewhere, or "" for none: each needs one of its own."""
    if not value:
        return value
    what = 'should be an http(s):// address with {name} or {port}, such as "https://inference1.example.org/{name}"'
    plain = value.replace("{name}", "name").replace("{port}", "1")
    if plain == value or "{" in plain or "}" in plain:
        raise wrong(what)
    _checked_address(plain, what)
    return value


def _checked_address(value: str, what: str) -> str:
    """Check an address; `what`: the sentence for a text that is none.

    An address with a user and a password gets a sentence of its own: it would work, but it is in the wrong place.
    """
    parts = _split(value)
    is_one_word = value.isprintable() and " " not in value
    if parts is None or not is_one_word:
        raise wrong(what)
    if "@" in parts.netloc:
        # Everybody on the host may read the settings.
        raise wrong("should be an address without user and password; credentials belong in systemd credentials")
    return value


def _split(address: str) -> SplitResult | None:
    """Take the http(s) address of a server apart; None when it is none."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        # A port that is no number, or no IPv6 address between the brackets.
        return None
    names_a_server = bool(parts.hostname) and port != 0
    # A fragment never reaches a server, so that the address of one has none.
    is_http = parts.scheme in ("http", "https") and not parts.fragment
    return parts if is_http and names_a_server else None


def _command(value: tuple[str, ...]) -> tuple[str, ...]:
    """Check a program and its arguments. They are handed over as they are, without a shell."""
    if not value:
        # No check.
        return value
    are_words = all(word and word.isprintable() for word in value)
    begins_with_a_path = value[0].startswith("/")
    if not are_words or not begins_with_a_path:
        raise wrong('should be a list of words, a program\'s absolute path first, such as ["/usr/local/bin/check"]')
    return value


def _tag_key(value: object) -> str:
    """Check a key of `policy.tags`. Which there are is declared in core/state/release.py.

    Before pydantic checks the type, so that another type gets the same sentence.
    """
    if isinstance(value, str) and value in KEYS:
        return value
    *others, last = map(repr, KEYS)
    raise wrong(f"should be {', '.join(others)} or {last}")


Selector = Annotated[
    str,
    _matching(
        r"stage:(Production|Staging|Archived)|alias:[A-Za-z0-9_.-]{1,256}",
        'should be a list of selectors such as "stage:Production" or "alias:champion"',
    ),
]
Ring = Annotated[
    str, _matching(r"[A-Za-z0-9_.-]{1,256}", 'should be the name of an alias in the registry, such as "canary"')
]
HostName = Annotated[
    str,
    _matching(
        r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", 'should be a list of hosts, as reconciler status names them: ["ward-1"]'
    ),
]
Workspace = Annotated[
    str,
    # MLflow's own rule for names of workspaces, and none.
    _matching(
        r"((?!-)[a-z0-9-]{2,63}(?<!-))?",
        'should be the name of a workspace of the MLflow server, such as "ward", or "" for none',
    ),
]
Address = Annotated[str, AfterValidator(_address)]
AddressOrDirectory = Annotated[str, AfterValidator(_address_or_directory)]
OptionalAddressOrDirectory = Annotated[str, AfterValidator(_optional_address_or_directory)]
OptionalFile = Annotated[
    str, _matching(r"(/[^\x00-\x1f\x7f]+)?", 'should be the absolute path of a file, or "" for none')
]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
MetricsFile = Annotated[
    str,
    _matching(r"(/[^\x00-\x1f\x7f]*[^/\x00-\x1f\x7f]\.prom)?", 'should be the absolute path of a file *.prom, or ""'),
]
OptionalServer = Annotated[str, AfterValidator(_optional_server)]
Region = Annotated[
    str, _matching(r"([a-z0-9][a-z0-9-]{0,62})?", 'should be the name of a region such as "eu-central-1", or ""')
]
Bucket = Annotated[str, _matching(r"[a-z0-9][a-z0-9.-]{1,62}", 'should be the name of a bucket such as "audio-files"')]
Subject = Annotated[
    str,
    # No wildcard: results go to one place.
    _matching(
        r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", 'should be a subject of NATS without wildcards, such as "result_updates"'
    ),
    Field(max_length=128),
]
RecordingKind = Annotated[
    str, _matching(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}", 'should be a list of kinds of recordings such as "aceite"')
]
Extension = Annotated[str, _matching(r"(\.[A-Za-z0-9]{1,16})?", 'should be an extension such as ".wav", or ""')]
Host = Annotated[
    str,
    _matching(
        r"[a-z][a-z0-9+.-]{0,31}://[A-Za-z0-9@._:\[\]-]{1,255}",
        'should be a list of servers and buckets, such as "https://files.example.org" or "s3://models"',
    ),
]
Scheme = Annotated[
    str,
    # "models" and "runs" are MLflow's names for places that it looks up itself: what it finds has a scheme of its own.
    _matching(
        r"(?!(file|models|runs)\Z)[a-z][a-z0-9+.-]{0,31}",
        'should be a list of address schemes such as "s3"; "file" would let a model name this host\'s files',
    ),
]
Image = Annotated[
    str,
    # A name alone could be another image tomorrow.
    _matching(
        r"(([A-Za-z0-9][A-Za-z0-9._:/-]{0,254}@)?sha256:[0-9a-f]{64})?",
        'should be an image by its digest, such as "registry.example.org/server@sha256:…" or "sha256:…", or ""',
    ),
]
Namespace = Annotated[
    str,
    _matching(
        r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        'should be the name of a namespace there, such as "mlflow-models"',
    ),
]
StorageClass = Annotated[
    str, _matching(r"([a-z0-9][a-z0-9.-]{0,252})?", 'should be the name of a storage class, or "" for the usual one')
]
NumericUser = Annotated[
    str,
    _matching(
        r"[1-9][0-9]{0,8}:[1-9][0-9]{0,8}",
        'should be the numbers of a user and a group that are not root\'s, such as "65532:65532"',
    ),
]
Word = Annotated[str, _matching(r"[^\x00-\x1f\x7f]{1,4096}", "should be a list of words of printable characters")]
Command = Annotated[tuple[str, ...], Field(max_length=64), AfterValidator(_command)]
NamePattern = Annotated[
    str,
    _matching(
        r"[A-Za-z0-9_*][A-Za-z0-9_*-]{0,63}", 'should be a list of model names, or of patterns such as "spira-*"'
    ),
]
Account = Annotated[str, _matching(r"[a-z_][a-z0-9_-]{0,30}", "should be the name of a user or a group")]
Mode = Annotated[str, _matching(r"0?[0-7]{3}", 'should be a mode such as "0660"')]
TagKey = Annotated[str, BeforeValidator(_tag_key)]
