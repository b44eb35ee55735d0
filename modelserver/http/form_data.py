"""Reads a multipart/form-data body into its parts, keeping every byte, and notices a body that was cut short."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelserver.model.diagnosis import File

try:
    from python_multipart import MultipartParser
    from python_multipart.multipart import parse_options_header
except ImportError:  # python-multipart before 0.0.13
    from multipart import MultipartParser  # type: ignore[no-redef,import-untyped]  # its older name
    from multipart.multipart import parse_options_header  # type: ignore[no-redef,import-untyped]  # likewise

_MOST_PARTS = 1000
_MOST_HEADER_BYTES = 8 << 10  # of one part
_MOST_METADATA_BYTES = 1 << 20  # read as JSON it takes many times as much memory
_LONGEST_BOUNDARY = 70  # RFC 2046
_PIECE = 64 << 10


class MultipartError(Exception):
    """The body is not what was asked for; the message is a sentence for the client."""


@dataclass
class _Part:
    """A part as it arrives."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    header_name: bytes = b""
    header_value: bytes = b""
    header_bytes: int = 0
    content: bytearray = field(default_factory=bytearray)


class _Collector:
    """Receives the parser's events and gathers the parts."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.complete = False

    def on_part_begin(self) -> None:
        if len(self.parts) == _MOST_PARTS:
            raise MultipartError(f"cannot read the request: it has more than {_MOST_PARTS} parts")
        self.parts.append(_Part())

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].content += memoryview(data)[start:end]

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._grow(end - start)
        self.parts[-1].header_name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._grow(end - start)
        self.parts[-1].header_value += data[start:end]

    def on_header_end(self) -> None:
        part = self.parts[-1]
        part.headers[part.header_name.lower()] = part.header_value
        part.header_name = part.header_value = b""

    def on_end(self) -> None:
        self.complete = True

    def _grow(self, size: int) -> None:
        self.parts[-1].header_bytes += size
        if self.parts[-1].header_bytes > _MOST_HEADER_BYTES:
            raise MultipartError(
                f"cannot read the request: the headers of a part exceed {_MOST_HEADER_BYTES} bytes; shorten its names"
            )


def boundary(content_type: str) -> bytes:
    """The boundary that a Content-Type names. Raises MultipartError."""
    _, options = parse_options_header(content_type)
    named: bytes = options.get(b"boundary", b"")
    if not named:
        raise MultipartError("cannot read the request: its Content-Type names no boundary")
    if len(named) > _LONGEST_BOUNDARY:
        raise MultipartError(f"cannot read the request: its boundary is longer than {_LONGEST_BOUNDARY} bytes")
    return named


def parse(boundary: bytes, body: bytearray) -> tuple[bytes, dict[str, File]]:
    """The bytes of part `metadata` and the files by part name; empties `body`. Raises MultipartError."""
    collector = _Collector()
    events = {name: getattr(collector, name) for name in dir(collector) if name.startswith("on_")}
    try:
        parser = MultipartParser(boundary, events)  # type: ignore[arg-type]  # a plain dict of its callbacks
        # What follows the closing boundary means nothing.
        while body and not collector.complete:
            parser.write(bytes(body[:_PIECE]))
            del body[:_PIECE]
        parser.finalize()
    except ValueError as error:  # python-multipart's errors, and one of its own for a bad boundary
        raise MultipartError(f"cannot read the request: it is not valid multipart/form-data ({error})") from error
    if not collector.complete:
        raise MultipartError("cannot read the request: it ends before its closing boundary")
    return _sorted_out(collector.parts)


def _sorted_out(parts: list[_Part]) -> tuple[bytes, dict[str, File]]:
    """Tells the metadata from the files by their Content-Disposition."""
    metadata: bytes | None = None
    files: dict[str, File] = {}
    for part in parts:
        _, options = parse_options_header(part.headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode(errors="replace")
        if not name:
            raise MultipartError("cannot read the request: a part has no name")
        if not name.isprintable():
            raise MultipartError(f"cannot read the request: the name {name!r} of a part is not plain text")
        if name in files or (name == "metadata" and metadata is not None):
            raise MultipartError(f"cannot read the request: it has more than one part {name!r}")
        if name == "metadata":
            if len(part.content) > _MOST_METADATA_BYTES:
                raise MultipartError(
                    f"cannot read the request: part 'metadata' exceeds {_MOST_METADATA_BYTES} bytes; send data as files"
                )
            metadata = bytes(part.content)
        elif b"filename" in options:
            files[name] = File(_plain(name, options[b"filename"].decode(errors="replace")), part.content)
        else:
            raise MultipartError(
                f"cannot read the request: part {name!r} is not a file; only 'metadata' may come without a filename"
            )
    if metadata is None:
        raise MultipartError("cannot read the request: it has no part 'metadata'; send it as a JSON object")
    return metadata, files


def _plain(part: str, filename: str) -> str:
    """`filename`, if it is one: a model may write it to a log, or look for its ending, or worse, open it."""
    if not filename.isprintable() or "/" in filename or "\\" in filename:
        raise MultipartError(
            f"cannot read the request: the filename of part {part!r} is not a plain name; leave out directories and "
            "control characters"
        )
    return filename
