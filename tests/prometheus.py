"""Reads Prometheus' text format as strictly as node_exporter does, and stricter where a reader would be misled."""

import re
from typing import NamedTuple

_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
_SAMPLE = re.compile(rf"([a-z_:][a-z0-9_:]*)(?:\{{((?:{_LABEL})(?:,{_LABEL})*)\}})? (-?[0-9]+(?:\.[0-9]+)?)")
_PAIR = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
_KINDS = ("counter", "gauge")


class Sample(NamedTuple):
    """One line of numbers."""

    metric: str
    labels: dict[str, str]
    value: float


def parse(text: str) -> list[Sample]:
    """Read all samples. Raises ValueError where a scraper would refuse the text.

    Each metric has its help and its type, in this order, once, right before all of its samples; no sample is twice;
    counters end with `_total`.
    """
    if not text.endswith("\n"):
        raise ValueError("the last line has no end")
    samples: list[Sample] = []
    kinds: dict[str, str] = {}
    helped = metric = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            helped = line.split(" ", 3)[2]
            if helped in kinds:
                raise ValueError(f"{helped} comes twice")
        elif line.startswith("# TYPE "):
            _, _, metric, kind = line.split(" ")
            if metric != helped or kind not in _KINDS or (kind == "counter") != metric.endswith("_total"):
                raise ValueError(f"a type that is none: {line}")
            kinds[metric] = kind
        else:
            samples.append(_sample(line, metric))
    seen = [(one.metric, *sorted(one.labels.items())) for one in samples]
    if len(seen) != len(set(seen)):
        raise ValueError("a sample comes twice")
    return samples


def _sample(line: str, metric: str) -> Sample:
    match = _SAMPLE.fullmatch(line)
    if match is None or match[1] != metric:
        raise ValueError(f"a line that is none, or is not below its type: {line}")
    unescape = {r"\\": "\\", r"\"": '"', r"\n": "\n"}
    labels = {
        key: re.sub(r"\\.", lambda escape: unescape[escape[0]], value) for key, value in _PAIR.findall(match[2] or "")
    }
    return Sample(match[1], labels, float(match[3]))
