"""Finds the proxy that the environment names for an address, by the rules of Python's HTTP clients."""

import base64
import os
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from reconciler.core.text.urls import bracketed


class ProxyError(Exception):
    """The environment names a proxy that cannot be used; the message never quotes it, for it may hold a password."""


@dataclass(frozen=True)
class Proxy:
    """A proxy, and what it is shown."""

    address: str
    """Without user and password."""
    authorization: str = field(default="", repr=False)


def proxy_for(address: str) -> Proxy | None:
    """Find the proxy in `http_proxy`, `https_proxy` or `all_proxy`, also in capitals; None where there is none.

    `no_proxy` lists ends of names, addresses and IPv4 networks that are reached without one, or `*`. Raises ProxyError.
    """
    parts = urlsplit(address)
    proxies = getproxies()
    kind = next((kind for kind in (parts.scheme, "all") if proxies.get(kind)), "")
    if not kind or _is_reached_without(parts):
        return None
    found = proxies[kind]
    return _proxy(found if "://" in found else f"http://{found}", f"{kind}_proxy")


def _proxy(text: str, variable: str) -> Proxy:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ProxyError(f"the environment variable {variable} has no address of a proxy; correct it") from None
    if not host or parts.scheme not in ("http", "https"):
        raise ProxyError(f"the environment variable {variable} should be an http:// or https:// address")
    authorization = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
    end = f":{port}" if port else ""
    return Proxy(f"{parts.scheme}://{bracketed(host)}{end}", authorization)


def _is_reached_without(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    entries = [entry for entry in listed.replace(" ", "").split(",") if entry]
    own = _ipv4(host)
    if own is not None:
        is_listed = any(entry == host or _holds(entry, own) for entry in entries)
    else:
        with_port = f"{host}:{parts.port}" if parts.port else host
        is_listed = any(host.endswith(entry) or with_port.endswith(entry) for entry in entries)
    # The rules of Python itself know `*` and names that begin with a dot.
    return is_listed or bool(proxy_bypass(host))


def _ipv4(host: str) -> IPv4Address | None:
    try:
        return IPv4Address(host)
    except ValueError:
        return None


def _holds(entry: str, own: IPv4Address) -> bool:
    try:
        return "/" in entry and own in IPv4Network(entry, strict=False)
    except ValueError:
        return False
