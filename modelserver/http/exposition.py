"""Writes figures in the text format of Prometheus, version 0.0.4, which its parsers and OpenMetrics' read alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Kind = Literal["counter", "gauge"]
Labels = Mapping[str, str]
Sample = tuple[Labels, float]


def family(name: str, kind: Kind, meaning: str, samples: Iterable[Sample]) -> str:
    """One metric: what it means, and its value for each set of labels. `name` and the labels' names are plain."""
    return _head(name, kind, meaning) + "".join(_line(name, labels, value) for labels, value in samples)


def histogram(
    name: str, meaning: str, bounds: Sequence[float], samples: Iterable[tuple[Labels, Sequence[int], float]]
) -> str:
    """A histogram: for each set of labels how many values were at most each bound, one more for the rest, and the sum.

    The counts come as they are in each interval; they are added up here, as the format wants them.
    """
    text = _head(name, "histogram", meaning)
    limits = [*(f"{bound:g}" for bound in bounds), "+Inf"]
    for labels, counts, total in samples:
        sums = list(accumulate(counts))
        for limit, so_far in zip(limits, sums, strict=True):
            text += _line(f"{name}_bucket", {**labels, "le": limit}, so_far)
        text += _line(f"{name}_sum", labels, total) + _line(f"{name}_count", labels, sums[-1])
    return text


def _head(name: str, kind: str, meaning: str) -> str:
    escaped = meaning.replace("\\", "\\\\").replace("\n", "\\n")
    return f"# HELP {name} {escaped}\n# TYPE {name} {kind}\n"


def _line(name: str, labels: Labels, value: float) -> str:
    text = ",".join(f'{label}="{_escaped(said)}"' for label, said in labels.items())
    return f"{name}{{{text}}} {value!r}\n" if text else f"{name} {value!r}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
