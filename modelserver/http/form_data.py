"""Reads a multipart/form-data body into its parts, keeping every byte, and notices a body that was cut short."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelserver.model.diagnosis import UploadedFile

try:
    from python_multipart import MultipartParser
    from python_multipart.multipart import parse_options_header
except ImportError:  # python-multipart before 0.0.13
    from multipart import MultipartParser  # type: ignore[no-redef,import-untyped]  # its older name
    from multipart.multipart import parse_options_header  # type: ignore[no-redef,import-untyped]  # likewise

_METADATA = "metadata"
_MAX_PARTS = 1000
_MAX_HEADER_BYTES = 8 << 10  # of one part
_MAX_METADATA_BYTES = 1 << 20  # read as JSON it takes many times as much memory
_MAX_BOUNDARY_BYTES = 70  # RFC 2046
_PARSED_AT_ONCE = 64 << 10


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


class _PartCollector:
    """Gathers the parts; its `on_…` methods are called by the parser, under these names."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.complete = False

    def on_part_begin(self) -> None:
        if len(self.parts) == _MAX_PARTS:
            raise MultipartError(f"cannot read the request: it has more than {_MAX_PARTS} parts")
        self.parts.append(_Part())

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].content += memoryview(data)[start:end]

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._count_header_bytes(end - start)
        self.parts[-1].header_name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header_bytes(end - start)
        self.parts[-1].header_value += data[start:end]

    def on_header_end(self) -> None:
        part = self.parts[-1]
        part.headers[part.header_name.lower()] = part.header_value
        part.header_name = part.header_value = b""

    def on_end(self) -> None:
        self.complete = True

    def _count_header_bytes(self, size: int) -> None:
        # As they arrive: gathered piece by piece, a header without an end would cost the square of its length.
        self.parts[-1].header_bytes += size
        if self.parts[-1].header_bytes > _MAX_HEADER_BYTES:
            raise MultipartError(
                f"cannot read the request: the headers of a part exceed {_MAX_HEADER_BYTES} bytes; shorten its names"
            )


def parse_boundary(content_type: str) -> bytes:
    """The boundary that a Content-Type names. Raises MultipartError."""
    _, options = parse_options_header(content_type)
    boundary: bytes = options.get(b"boundary", b"")
    if not boundary:
        raise MultipartError("cannot read the request: its Content-Type names no boundary")
    if len(boundary) > _MAX_BOUNDARY_BYTES:
        raise MultipartError(f"cannot read the request: its boundary is longer than {_MAX_BOUNDARY_BYTES} bytes")
    return boundary


def parse_form(boundary: bytes, body: bytearray) -> tuple[bytes, dict[str, UploadedFile]]:
    """The bytes of part `metadata` and the files by part name; empties `body`. Raises MultipartError."""
    collector = _PartCollector()
    callbacks = {name: getattr(collector, name) for name in dir(collector) if name.startswith("on_")}
    try:
        parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]  # a plain dict of its callbacks
        # What follows the closing boundary means nothing. What was parsed goes at once: the parts have it by then.
        while body and not collector.complete:
            parser.write(bytes(body[:_PARSED_AT_ONCE]))
            del body[:_PARSED_AT_ONCE]
        parser.finalize()
    except ValueError as error:  # python-multipart's errors, and one of its own for a bad boundary
        raise MultipartError(f"cannot read the request: it is not valid multipart/form-data ({error})") from error
    # The parser is content with a body that was cut short.
    if not collector.complete:
        raise MultipartError("cannot read the request: it ends before its closing boundary")
    return _metadata_and_files(collector.parts)


def _metadata_and_files(parts: list[_Part]) -> tuple[bytes, dict[str, UploadedFile]]:
    """Tells the metadata from the files by their Content-Disposition."""
    metadata: bytes | None = None
    files: dict[str, UploadedFile] = {}
    for part in parts:
        _, options = parse_options_header(part.headers.get(b"content-disposition", b""))
        name = _part_name(options.get(b"name", b""))
        is_metadata = name == _METADATA
        is_repeated = name in files or (is_metadata and metadata is not None)
        if is_repeated:
            raise MultipartError(f"cannot read the request: it has more than one part {name!r}")
        if is_metadata:
            metadata = _metadata_of(part)
        elif b"filename" in options:
            files[name] = UploadedFile(_plain_filename(name, options[b"filename"]), part.content)
        else:
            raise MultipartError(
                f"cannot read the request: part {name!r} is not a file; only 'metadata' may come without a filename"
            )
    if metadata is None:
        raise MultipartError("cannot read the request: it has no part 'metadata'; send it as a JSON object")
    return metadata, files


def _part_name(sent: bytes) -> str:
    name = sent.decode(errors="replace")
    if not name:
        raise MultipartError("cannot read the request: a part has no name")
    if not name.isprintable():
        raise MultipartError(f"cannot read the request: the name {name!r} of a part is not plain text")
    return name


def _metadata_of(part: _Part) -> bytes:
    if len(part.content) > _MAX_METADATA_BYTES:
        raise MultipartError(
            f"cannot read the request: part 'metadata' exceeds {_MAX_METADATA_BYTES} bytes; send data as files"
        )
    return bytes(part.content)


def _plain_filename(part: str, sent: bytes) -> str:
    """The filename, if it is one: a model may write it to a log, or look for its ending, or worse, open it."""
    filename = sent.decode(errors="replace")
    if not filename.isprintable() or "/" in filename or "\\" in filename:
        raise MultipartError(
            f"cannot read the request: the filename of part {part!r} is not a plain name; leave out directories and "
            "control characters"
        )
    return filename
