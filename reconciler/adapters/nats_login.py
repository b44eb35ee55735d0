"""How the bridge shows a NATS broker who it is: the credentials `nats.*`, as options of nats-py."""

import re
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from reconciler.adapters.credentials import CredentialError, authorities, certificate, file_of, read_line
from reconciler.core.text.urls import is_loopback

_LOGINS = ("nats.password", "nats.token", "nats.nkey", "nats.creds")
_SEED = re.compile(r"SU[A-Z2-7]{56}")
_SEED_IN_FILE = re.compile(r"BEGIN USER NKEY SEED-+\s+(\S+)\s")


def login(servers: tuple[str, ...], *, plain_text: bool) -> dict[str, Any]:
    """Return the options that nats-py is given beside the addresses of the servers.

    `plain_text`: whether a login may be sent to another host without TLS. Raises CredentialError, also where it would
    be sent so and may not be.
    """
    given = [name for name in _LOGINS if file_of(name) is not None]
    if len(given) > 1:
        raise CredentialError(f"more than one login is given: {', '.join(map(repr, given))}; keep one of them")
    tls = _tls()
    is_encrypted = all(urlsplit(server).scheme == "tls" for server in servers) or tls is not None
    elsewhere = [server for server in servers if not is_loopback(urlsplit(server).hostname or "")]
    # The seed of an nkey, and that in a file of credentials, never leave this host: they sign what the broker says.
    is_secret_on_the_way = given and given[0] in ("nats.password", "nats.token")
    if is_secret_on_the_way and elsewhere and not is_encrypted and not plain_text:
        raise CredentialError(
            f"the credential {given[0]!r} would cross the network in plain text to {elsewhere[0]}; "
            "use tls:// or set nats.plain_text on the host"
        )
    options: dict[str, Any] = {"tls": tls} if tls else {}
    return options | (_of_kind(given[0]) if given else {})


def _of_kind(name: str) -> dict[str, Any]:
    if name == "nats.password":
        user = read_line("nats.username")
        if user is None:
            raise CredentialError("the credential 'nats.username' is missing, though 'nats.password' is given")
        return {"user": user, "password": read_line(name)}
    if name == "nats.token":
        return {"token": read_line(name)}
    if name == "nats.nkey":
        seed = read_line(name) or ""
        if not _is_seed(seed):
            raise CredentialError("the credential 'nats.nkey' is not the seed of a user's nkey, which begins with SU")
        return {"nkeys_seed_str": seed}
    return {"user_credentials": _creds(file_of(name))}


def _is_seed(text: str) -> bool:
    """Whether a text is a seed: nats-py would end by one that is not."""
    import nkeys

    if _SEED.fullmatch(text) is None:
        return False
    try:
        nkeys.from_seed(text.encode())
    except (nkeys.NkeysError, ValueError):
        return False
    return True


def _creds(path: Path | None) -> str:
    text = path.read_text(errors="replace") if path else ""
    seed = _SEED_IN_FILE.search(text)
    if "BEGIN NATS USER JWT" not in text or seed is None or not _is_seed(seed[1]):
        raise CredentialError("the credential 'nats.creds' is not a file of credentials as `nsc` writes it")
    return str(path)


def _tls() -> ssl.SSLContext | None:
    """Return what TLS is spoken with; None where no credential says anything of it."""
    trusted, own = authorities("nats.ca"), certificate("nats.client-certificate")
    if trusted is None and own is None:
        return None
    context = ssl.create_default_context(cafile=str(trusted) if trusted else None)
    if own is not None:
        context.load_cert_chain(own)
    return context
