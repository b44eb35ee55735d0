"""Minor versions of Python, such as `3.11`: which of them can serve, and how they are ordered."""

LEAST = "3.10"
"""The oldest minor version of Python that the model server runs on (modelserver/__init__.py)."""


def can_serve(minor: str) -> bool:
    """Tell whether the model server runs on this minor version."""
    return number(minor) >= number(LEAST)


def number(minor: str) -> tuple[int, ...]:
    """Return a minor version as numbers, to sort by."""
    return tuple(map(int, minor.split(".")))
