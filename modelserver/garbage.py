"""Spares Python's garbage collector what stays for as long as the process.

It looks through all objects again and again while their number grows. Importing MLflow and its libraries makes some
300,000: a fifth of the time until a server is ready went into looking, and a request had to wait for some looks.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def imports_stay() -> Iterator[None]:
    """Does not look for garbage within the block, nor ever among what it makes. For imports: a model may need looks."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def keep_what_is_loaded() -> None:
    """Looks once more, and never again among what is there now."""
    gc.collect()
    gc.freeze()
