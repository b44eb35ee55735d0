"""TLS for tests: an authority with certificates made on the spot, and a server that speaks TLS in front of another."""

import select
import socket
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, directory: Path, name: str = "test authority") -> None:
        """Make its key and certificate; `pem` is what those who trust it are given."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory, self._key = directory, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._builder(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self._certificate = certificate.sign(self._key, hashes.SHA256())
        self.pem = directory / "ca.pem"
        self.pem.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str, *addresses: str, organization: str = "") -> Path:
        """Issue a certificate for addresses and names of hosts; gives a file with it and its key.

        Without any it is for 127.0.0.1. `organization`: in the subject; Kubernetes takes it for the group of a user.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
        if organization:
            attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
        subject = x509.Name(attributes)
        names = x509.SubjectAlternativeName([_general_name(one) for one in addresses or ("127.0.0.1",)])
        certificate = self._builder(subject, key).add_extension(names, critical=False).sign(self._key, hashes.SHA256())
        path = self._directory / f"{name}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        return path

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=2))
        )


def _general_name(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(address))
    except ValueError:
        return x509.DNSName(address)


class TlsFront:
    """Speaks TLS at an address of its own and hands what it reads to a plain server."""

    def __init__(self, behind: str, certificate: Path, clients: Path | None = None, address: str = "127.0.0.1") -> None:
        """Listen; with `clients`, only those come in whose certificate this authority has issued."""
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        if clients is not None:
            self._context.load_verify_locations(clients)
            self._context.verify_mode = ssl.CERT_REQUIRED
        parts = urlsplit(behind)
        self._behind = (parts.hostname or "", parts.port or 80)
        self._listener = socket.create_server((address, 0))
        self.uri = f"https://{address}:{self._listener.getsockname()[1]}"
        self.handshakes = 0
        """Connections that came through the handshake."""
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        """It listens already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[plain], daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with suppress(OSError), plain:
            plain.settimeout(60)
            with self._context.wrap_socket(plain, server_side=True) as front:
                self.handshakes += 1
                with socket.create_connection(self._behind) as back:
                    _exchange(front, back)


def _exchange(front: ssl.SSLSocket, back: socket.socket) -> None:
    """Carry what either says to the other until one ends.

    One thread does both directions: before Python 3.13, two that read and write one TLS connection at once break it.
    """
    while True:
        # What OpenSSL has decrypted already is no longer seen by select.
        readable = [front] if front.pending() else select.select([front, back], [], [])[0]
        for source in readable:
            piece = source.recv(65536)
            if not piece:
                return
            (back if source is front else front).sendall(piece)
