"""Rewrites JSON as Python writes it to JSON as everybody reads it: without NaN and Infinity."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def without_nan(text: str) -> str:
    """`text`, JSON as Python writes it, with NaN and ±Infinity as null."""
    # Parsed again only when one of the words is in it: answers may be large, and such numbers are rare.
    if "NaN" not in text and "Infinity" not in text:
        return text
    to_null: Callable[[str], None] = lambda _: None  # noqa: E731 - a name for json's callback, nothing more
    return json.dumps(json.loads(text, parse_constant=to_null, object_pairs_hook=_Pairs))


class _Pairs(dict[str, Any]):
    """An object of JSON with all of its pairs: of a model's keys 1 and "1" json writes the same name twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self._pairs = pairs

    def items(self) -> Any:
        """Every pair, in their order; what json writes of a dictionary that is not its own."""
        return self._pairs
