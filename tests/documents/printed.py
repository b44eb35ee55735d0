"""Compares what a page shows with what was printed, without what differs from one run to the next."""

import re

ANYTHING = "…"
# Programs embolden what they print on a terminal.
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
# Each is told apart from words only: a version, a time, a size, a digest and a process id count as the same.
_DIGEST = re.compile(r"\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{7,}\b")
_FIGURE = re.compile(r"\d+(\.\d+)?")
_UNIT = re.compile(r"0 (s|min|h|d|[KMG]iB|B)\b")
_SHARE = re.compile(r"0 of 0\b")
_NONE = re.compile(r"(?<!\S)-(?!\S)")


def is_like(shown: str, printed: str) -> bool:
    """Whether a page may show this for that: `…` stands for any text; figures, digests and line ends do not count."""
    parts = [re.escape(_without_figures(part)) for part in shown.split(ANYTHING)]
    pattern = r"\s?.*?\s?".join(parts)
    return re.fullmatch(pattern, _without_figures(printed), re.DOTALL) is not None


def _without_figures(text: str) -> str:
    words = " ".join(_STYLE.sub("", text).split())
    figures = _UNIT.sub("0", _FIGURE.sub("0", _DIGEST.sub("0", words)))
    # A cell without a figure, such as the memory on a host that does not count it.
    return _NONE.sub("0", _SHARE.sub("0", figures))
