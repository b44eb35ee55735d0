"""Figures as people read them."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def human_size(count: int) -> str:
    """Write a number of bytes as people read it, such as `1.5 MiB`."""
    size = float(count)
    for unit in _UNITS[:-1]:
        if size < 1024:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} {_UNITS[-1]}"
