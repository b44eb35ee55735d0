"""Sizes and shares as people write and read them: 512M, 4G, 150%, 1.5 MiB."""

import re
from typing import Annotated

from pydantic import BeforeValidator

_SIZE = re.compile(r"([0-9]{1,12})([KMGT]?)")
_FACTOR = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_UNITS = ("KiB", "MiB", "GiB", "TiB")
_QUOTA = re.compile(r"([0-9]{1,6})%")


def parse_size(value: object) -> object:
    """Turn `64M` into bytes (K, M, G, T are binary); an empty text is 0, no limit.

    `64MB`, `64MiB` and `64m` are the same. Raises ValueError. Anything but a text is returned as it is: pydantic checks
    it afterwards.
    """
    if not isinstance(value, str):
        return value
    if not value:
        return 0
    # With the i and without it, since nobody means 1000 by the K of a limit of memory.
    text = value.strip().upper().removesuffix("B").removesuffix("I")
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("should be a size such as 512M or 4G")
    number, unit = match.groups()
    return int(number) * _FACTOR[unit]


def parse_quota(value: object) -> object:
    """Turn `150%` into 150 (percent of one CPU); an empty text is 0, no limit.

    Raises ValueError. Anything but a text is returned as it is, as in `parse_size`.
    """
    if not isinstance(value, str):
        return value
    if not value:
        return 0
    match = _QUOTA.fullmatch(value.strip())
    # "0%" would be no processor time at all, and is meant by nobody: no limit is "".
    if match is None or int(match[1]) == 0:
        raise ValueError("should be a percentage such as 150%")
    return int(match[1])


def human_size(count: int) -> str:
    """Write a number of bytes as people read it, such as `1.5 MiB`; below 1024 as they are, such as `17 B`."""
    if count < 1024:
        return f"{count} B"
    size = float(count)
    for unit in _UNITS:
        size /= 1024
        if size < 1024:
            return f"{size:.1f} {unit}"
    return f"{size:.1f} {_UNITS[-1]}"


Size = Annotated[int, BeforeValidator(parse_size)]
CpuQuota = Annotated[int, BeforeValidator(parse_quota)]
