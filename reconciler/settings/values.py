"""What one setting may be: selectors, addresses, schemes, each with the words that say what is wrong."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from reconciler.core.registry.tags import KEYS


def wrong(what: str) -> PydanticCustomError:
    """Make the error of a check; the sentence says what the value should be."""
    # The rejected value is never part of the message: it may be a password that someone put in the wrong place.
    return PydanticCustomError("setting", "{what}", {"what": what})


def _selector(value: str) -> str:
    kind, _, name = value.partition(":")
    if kind == "stage" and name in ("Production", "Staging", "Archived"):
        return value
    if kind == "alias" and re.fullmatch(r"[A-Za-z0-9_.-]{1,256}", name):
        return value
    raise wrong('should be a list of selectors such as "stage:Production" or "alias:champion"')


def _workspace(value: str) -> str:
    # MLflow's own rule for names of workspaces.
    if value and not re.fullmatch(r"(?!-)[a-z0-9-]{2,63}(?<!-)", value):
        raise wrong('should be the name of a workspace of the MLflow server, such as "ward", or "" for none')
    return value


def _address(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or not value.isprintable() or " " in value or parts.fragment:
        raise wrong("should be an http:// or https:// address")
    if "@" in parts.netloc:
        raise wrong("should be an address without user and password; credentials belong in systemd credentials")
    return value


def _address_or_directory(value: str) -> str:
    if value.startswith("/") and value.isprintable():
        return value
    try:
        return _address(value)
    except PydanticCustomError as error:
        message = error.message()
        raise wrong(
            message if "without" in message else "should be an absolute path or an http(s):// address"
        ) from None


def _scheme(value: str) -> str:
    if value in ("file", "models", "runs") or not re.fullmatch(r"[a-z][a-z0-9+.-]{0,31}", value):
        raise wrong(
            'should be a list of address schemes such as "s3"; "file" would let a model name this host\'s files'
        )
    return value


def _name_pattern(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_*][A-Za-z0-9_*-]{0,63}", value):
        raise wrong('should be a list of model names, or of patterns such as "spira-*"')
    return value


def _account(value: str) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}", value):
        raise wrong("should be the name of a user or a group")
    return value


def _mode(value: str) -> str:
    if not re.fullmatch(r"0?[0-7]{3}", value):
        raise wrong('should be a mode such as "0660"')
    return value


def _host(value: str) -> str:
    scheme, _, netloc = value.partition("://")
    if not re.fullmatch(r"[a-z][a-z0-9+.-]{0,31}", scheme) or not re.fullmatch(r"[A-Za-z0-9@._:\[\]-]{1,255}", netloc):
        raise wrong('should be a list of servers and buckets, such as "https://files.example.org" or "s3://models"')
    return value


def _command(value: tuple[str, ...]) -> tuple[str, ...]:
    if value and (not value[0].startswith("/") or not all(word and word.isprintable() for word in value)):
        raise wrong('should be a list of words, a program\'s absolute path first, such as ["/usr/local/bin/check"]')
    return value


def _tag_key(value: object) -> str:
    if isinstance(value, str) and value in KEYS:
        return value
    *others, last = map(repr, KEYS)
    raise wrong(f"should be {', '.join(others)} or {last}")


Selector = Annotated[str, AfterValidator(_selector)]
Workspace = Annotated[str, AfterValidator(_workspace)]
Address = Annotated[str, AfterValidator(_address)]
AddressOrDirectory = Annotated[str, AfterValidator(_address_or_directory)]
OptionalAddressOrDirectory = Annotated[str, AfterValidator(lambda value: value and _address_or_directory(value))]
Host = Annotated[str, AfterValidator(_host)]
Scheme = Annotated[str, AfterValidator(_scheme)]
Command = Annotated[tuple[str, ...], Field(max_length=64), AfterValidator(_command)]
NamePattern = Annotated[str, AfterValidator(_name_pattern)]
Account = Annotated[str, AfterValidator(_account)]
Mode = Annotated[str, AfterValidator(_mode)]
TagKey = Annotated[str, BeforeValidator(_tag_key)]
