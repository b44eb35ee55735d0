"""Reads the credentials that systemd hands to this process, and checks them; none ever gets into a message."""

import base64
import os
import ssl
from configparser import Error as NotAnIniFileError
from configparser import RawConfigParser
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.core.text.urls import is_readable_on_the_way

MAX_BYTES = 256 * 1024
ENCRYPTED = ".encrypted"
"""Ends the name of an encrypted credential: systemd 252 looks a name up as plain or as encrypted, not as both."""
SYSTEM_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
"""Those that this host trusts; not those that a Python package brings."""


class CredentialError(Exception):
    """A credential cannot be used, or must not be sent; the message names it and never quotes it."""


@dataclass(frozen=True)
class Login:
    """How this host shows the registry who it is, and how it knows the registry."""

    authorization: str = field(default="", repr=False)
    """The header that goes with each request to the registry; "" for none."""
    ca: Path | None = None
    certificate: Path | None = None


@dataclass(frozen=True)
class BucketKeys:
    """How this host shows the server of its buckets who it is."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


def registry_login() -> Login:
    """Read `registry.*`; raises CredentialError."""
    pair, token = user_and_password("registry"), read_line("registry.token")
    # Which of two the registry should see is not guessed.
    if pair and token:
        raise CredentialError("both 'registry.token' and 'registry.password' are given; remove one of the two")
    authorization = f"Bearer {token}" if token else ""
    if pair:
        authorization = f"Basic {base64.b64encode(':'.join(pair).encode()).decode()}"
    return Login(authorization, authorities("registry.ca"), certificate("registry.client-certificate"))


def check_the_way(registry: str, login: Login, *, plain_http: bool) -> None:
    """Raise CredentialError when others could read a secret on its way to the registry; `plain_http` permits that."""
    if login.authorization and is_readable_on_the_way(registry) and not plain_http:
        raise CredentialError("it would send the credentials in plain text; use https or set registry.plain_http")


def user_and_password(whose: str) -> tuple[str, str] | None:
    """Read `<whose>.username` and `<whose>.password`, of which there is neither or both; raises CredentialError."""
    user, password = read_line(f"{whose}.username"), read_line(f"{whose}.password")
    if user is None and password is None:
        return None
    if user is None or password is None:
        missing = "username" if user is None else "password"
        there = "password" if user is None else "username"
        raise CredentialError(f"the credential '{whose}.{missing}' is missing, though '{whose}.{there}' is given")
    # Basic authentication separates the two by the first colon.
    if ":" in user:
        raise CredentialError(f"the credential '{whose}.username' has a colon, which no user name may have")
    return user, password


def bucket_keys(whose: str = "artifacts") -> BucketKeys:
    """Read the section `default` of `<whose>.aws`, a credentials file as Amazon's tools have it.

    Of such a file only keys count: programs and addresses in it would be taken for this host's own settings. Raises
    CredentialError, also when there is no such credential.
    """
    name = f"{whose}.aws"
    path = file_of(name)
    if path is None:
        raise CredentialError(f"the credential '{name}' is missing")
    parser = RawConfigParser()
    try:
        parser.read_string(read_text(path, name))
    except NotAnIniFileError:
        # Its message would quote the line.
        raise CredentialError(f"the credential '{name}' is not an AWS credentials file") from None
    found = dict(parser["default"]) if "default" in parser else {}
    keys = [found.get(key, "") for key in ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")]
    if not all(key.isascii() and key.isprintable() and " " not in key for key in keys):
        raise CredentialError(f"the credential '{name}' has a key with a space or a character that no key has")
    access, secret, token = keys
    if not access or not secret:
        raise CredentialError(
            f"the credential '{name}' has no aws_access_key_id or no aws_secret_access_key in its section [default]"
        )
    return BucketKeys(access, secret, token or None)


def file_of(name: str) -> Path | None:
    """Find where systemd put a credential; None when it is not given. Raises CredentialError when it is given twice."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        return None
    places = (Path(directory, name), Path(directory, name + ENCRYPTED))
    found = [path for path in places if path.is_file()]
    if len(found) > 1:
        raise CredentialError(f"both '{name}' and '{name}{ENCRYPTED}' are given; remove one of the two")
    return found[0] if found else None


def read_text(path: Path, name: str) -> str:
    """Read a file that `file_of` found for a name. Raises CredentialError."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
        text = raw.decode()
    except UnicodeDecodeError:
        raise CredentialError(f"the credential '{name}' is not text") from None
    except OSError as error:
        raise CredentialError(f"the credential '{name}' cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise CredentialError(f"the credential '{name}' is too long")
    return text


def read_line(name: str) -> str | None:
    """Read a name or a secret: one line of printable characters."""
    path = file_of(name)
    if path is None:
        return None
    # Editors and `echo` end a file with a line break.
    text = read_text(path, name).removesuffix("\n").removesuffix("\r")
    if not text:
        raise CredentialError(f"the credential '{name}' is empty")
    if not text.isprintable():
        raise CredentialError(f"the credential '{name}' has a line break or another character that cannot be shown")
    is_token = name.endswith(".token")
    can_be_a_token = text.isascii() and " " not in text
    if is_token and not can_be_a_token:
        raise CredentialError(f"the credential '{name}' has a space or a letter outside ASCII, which no token has")
    return text


def authorities(name: str) -> Path | None:
    """Find a file of certificates and check its form: a client would only say that no server is trusted.

    None when there is none; raises CredentialError.
    """
    path = file_of(name)
    if path is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=read_text(path, name))
        except (ssl.SSLError, ValueError):
            raise CredentialError(f"the credential '{name}' is not a certificate in PEM form") from None
    return path


def certificate(name: str) -> Path | None:
    """Find a file with a key and its certificate, and check that they belong together."""
    path = file_of(name)
    if path is not None:
        read_text(path, name)
        try:
            # A password of its own, because OpenSSL would ask for that of an encrypted key on the terminal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(path, password=lambda: "none")
        except (ssl.SSLError, ValueError):
            raise CredentialError(
                f"the credential '{name}' is not a key without a passphrase and its certificate in PEM form"
            ) from None
    return path
