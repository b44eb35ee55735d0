"""Files to ask models with, written byte by byte: what is in them is known without any library of the models."""

import math
import struct
import wave
import zlib
from io import BytesIO

RATE = 16_000
"""Samples per second of every recording."""
PITCH, AMPLITUDE = 440, 0.5
"""Of `tone`: whole periods fill its second, so that sums over it are exact."""
IMAGE_WIDTH, IMAGE_HEIGHT = 64, 48
SQUARES = ((4, 4, 8), (30, 10, 10), (50, 30, 6))
"""Left, top and side of each bright square of `image`; all coordinates are even."""


def tone() -> bytes:
    """Give one second of a sine as 16-bit mono WAV."""
    return wav([AMPLITUDE * math.sin(2 * math.pi * PITCH * n / RATE) for n in range(RATE)])


def speech_like(loud: float, quiet: float, times: int) -> bytes:
    """Give a tone of `loud` seconds and silence of `quiet` seconds, `times` times, and the tone once more."""
    voice = [AMPLITUDE * math.sin(2 * math.pi * PITCH * n / RATE) for n in range(round(loud * RATE))]
    return wav((voice + [0.0] * round(quiet * RATE)) * times + voice)


def wav(samples: list[float]) -> bytes:
    """Give samples between -1 and 1 as 16-bit mono WAV."""
    file = BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(struct.pack(f"<{len(samples)}h", *(round(32767 * sample) for sample in samples)))
    return file.getvalue()


def image() -> bytes:
    """Give white squares on black as an 8-bit grey PNG."""
    rows = [bytearray(IMAGE_WIDTH) for _ in range(IMAGE_HEIGHT)]
    for left, top, side in SQUARES:
        for row in rows[top : top + side]:
            row[left : left + side] = b"\xff" * side
    head = struct.pack(">IIBBBBB", IMAGE_WIDTH, IMAGE_HEIGHT, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def dicom_slice() -> bytes:
    """Give a CT slice of 4 rows and 6 columns, pixels 0 to 23, slope 2, intercept -10; explicit VR, little endian."""
    meta = b"".join(
        (
            _element(0x0002, 0x0001, b"OB", b"\0\1"),
            _element(0x0002, 0x0002, b"UI", b"1.2.840.10008.5.1.4.1.1.2\0"),
            _element(0x0002, 0x0003, b"UI", b"1.2.3.4\0"),
            _element(0x0002, 0x0010, b"UI", b"1.2.840.10008.1.2.1\0"),
        )
    )
    short = struct.Struct("<H").pack
    body = (
        (0x0008, 0x0016, b"UI", b"1.2.840.10008.5.1.4.1.1.2\0"),
        (0x0008, 0x0060, b"CS", b"CT"),
        (0x0028, 0x0002, b"US", short(1)),
        (0x0028, 0x0004, b"CS", b"MONOCHROME2 "),
        (0x0028, 0x0010, b"US", short(4)),
        (0x0028, 0x0011, b"US", short(6)),
        (0x0028, 0x0100, b"US", short(16)),
        (0x0028, 0x0101, b"US", short(16)),
        (0x0028, 0x0102, b"US", short(15)),
        (0x0028, 0x0103, b"US", short(0)),
        (0x0028, 0x1052, b"DS", b"-10 "),
        (0x0028, 0x1053, b"DS", b"2 "),
        (0x7FE0, 0x0010, b"OW", struct.pack("<24H", *range(24))),
    )
    length = _element(0x0002, 0x0000, b"UL", struct.pack("<I", len(meta)))
    return bytes(128) + b"DICM" + length + meta + b"".join(_element(*one) for one in body)


def _element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
    # Kinds that may be long have two bytes for nothing and a longer length.
    length = struct.pack("<HI", 0, len(value)) if kind in (b"OB", b"OW") else struct.pack("<H", len(value))
    return struct.pack("<HH", group, number) + kind + length + value


def nifti_volume() -> bytes:
    """Give a NIfTI-1 volume of 3 x 4 x 5 voxels of 1 x 2 x 4 mm; the first 30 are 0, the others 6."""
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, 3, 3, 4, 5, 1, 1, 1, 1)
    struct.pack_into("<hh", head, 70, 16, 32)  # 32-bit floats
    struct.pack_into("<8f", head, 76, 1, 1, 2, 4, 0, 0, 0, 0)
    struct.pack_into("<f", head, 108, 352)  # where the voxels begin
    struct.pack_into("<h", head, 254, 1)  # the three lines below say where a voxel is
    struct.pack_into("<12f", head, 280, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 4, 0)
    head[344:348] = b"n+1\0"
    return bytes(head) + struct.pack("<60f", *([0.0] * 30 + [6.0] * 30))


def table() -> bytes:
    """Give a CSV table with the columns a and b, of which b has two values."""
    return b"a,b\n0,0\n5,1\n9,0\n10,1\n19,0\n"
