"""Tells requests that a web page from elsewhere had a browser send from those of everybody else.

A browser lets any page send a form with files to any address that it reaches, a model's too. It says so in headers that
the page cannot choose, and that no other client sends.
"""

from __future__ import annotations

from collections.abc import Iterable

from modelserver.http.host_header import is_own_name, split_port

# What browsers promise to change nothing by; a page from elsewhere cannot read the answers.
_SAFE_METHODS = (b"GET", b"HEAD", b"OPTIONS")
_PORTS = {b"http": 80, b"https": 443}
_OWN_SITES = (b"same-origin", b"none")
"""`none` is a person: the address bar, a bookmark."""


def is_from_foreign_page(method: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether another page than one of this server's own has a browser send this request.

    `headers` have lower-case names. Clients that are no browsers send neither of the two headers that decide.
    """
    if method in _SAFE_METHODS:
        return False
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        # Of several, the first one counts; a page can add none of these.
        if name in (b"sec-fetch-site", b"origin", b"host", b"x-forwarded-host"):
            found.setdefault(name, value.strip().lower())
    # Browsers say it over TLS and to loopback only, where nobody else's page can be at home under this server's name.
    site = found.get(b"sec-fetch-site")
    if site is not None:
        return site not in _OWN_SITES
    origin = found.get(b"origin")
    return origin is not None and not _is_at_home(origin, found)


def _is_at_home(origin: bytes, found: dict[bytes, bytes]) -> bool:
    """Whether a page of this origin came from here, and nobody else can give its name a meaning."""
    scheme, _, authority = origin.partition(b"://")
    if scheme not in _PORTS:  # `null`: a page without an origin, and whatever is none
        return False
    name, port = split_port(authority.decode("latin-1"), _PORTS[scheme])
    # A proxy that changes Host may say what it was. A page that sets this header itself would have to ask first.
    asked = found.get(b"x-forwarded-host", found.get(b"host", b"")).partition(b",")[0].strip()
    if split_port(asked.decode("latin-1"), _PORTS[scheme]) != (name, port):
        return False
    # Without TLS, whoever owns a name can have it mean this host's address after the page was loaded.
    return scheme == b"https" or is_own_name(name)
