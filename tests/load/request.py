"""Writes the one request that a load repeats."""

from __future__ import annotations

from pathlib import Path

_BOUNDARY = b"0f5e3a9b7c1d4e6fa8b2"


def predict_request(host: str, metadata: str, part: tuple[str, Path] | None) -> bytes:
    """A POST of /predict with a part `metadata`, and with the content of a file as another part if one is given."""
    parts = [b'name="metadata"\r\nContent-Type: application/json\r\n\r\n' + metadata.encode()]
    if part:
        name, file = part
        head = f'name="{name}"; filename="{file.name}"\r\nContent-Type: application/octet-stream\r\n\r\n'
        parts.append(head.encode() + file.read_bytes())
    body = b"".join(b"--" + _BOUNDARY + b"\r\nContent-Disposition: form-data; " + one + b"\r\n" for one in parts)
    body += b"--" + _BOUNDARY + b"--\r\n"
    return b"\r\n".join(
        [
            b"POST /predict HTTP/1.1",
            b"Host: " + host.encode(),
            b"Content-Type: multipart/form-data; boundary=" + _BOUNDARY,
            b"Content-Length: " + str(len(body)).encode(),
            b"",
            body,
        ]
    )
