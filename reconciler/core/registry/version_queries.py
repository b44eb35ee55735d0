"""Which versions a reading asks for beside those that the models come with, in few and short answers. Pure.

MLflow's list of models holds the latest version of each stage. A reading needs no more than a few of the others, and
what it asks for depends on what the selectors name, never on how many versions there are.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.core.registry.selection import BELOW_UNREADY, READY, Model, Version
from reconciler.core.state.snapshot import Choose
from reconciler.core.units.names import why_not_deployable

OTHERS = 20
"""Numbers below the latest of a stage among which others in that stage are looked for, to be told."""
MAX_ROWS = 2000
"""Versions that one answer may hold."""
MAX_NAMES = 4000
"""Characters of the names in one request: proxies refuse longer addresses."""
_QUOTES = 3
"""Characters around each name in a filter."""


@dataclass(frozen=True)
class Need:
    """Versions of one model, by their numbers."""

    name: str
    low: int
    high: int


@dataclass(frozen=True)
class Question:
    """One request: the versions of these models whose numbers are within these bounds."""

    names: tuple[str, ...]
    low: int
    high: int


def needs(
    models: Iterable[Model], listed: Iterable[Version], selectors: Sequence[str], choose: Choose = "first"
) -> tuple[Need, ...]:
    """Say which versions have to be asked for, after the models came with the `listed` ones."""
    known: dict[str, list[Version]] = {}
    for version in listed:
        known.setdefault(version.name, []).append(version)
    return tuple(
        need
        for model in models
        if not why_not_deployable(model.name)  # it is refused by its name alone
        for need in _of(model, known.get(model.name, []), selectors, choose)
    )


def _of(model: Model, listed: Sequence[Version], selectors: Sequence[str], choose: Choose) -> Iterator[Need]:
    for selector in selectors:
        kind, _, wanted = selector.partition(":")
        if kind == "stage":
            found = next((version for version in listed if version.stage == wanted), None)
            if found is not None:
                span = OTHERS if found.status == READY else BELOW_UNREADY
                yield Need(model.name, max(1, found.version - span), found.version)
        else:
            number = model.aliases.get(wanted)
            found = next((version for version in listed if version.version == number), None)
            if number is not None and found is None:
                yield Need(model.name, number, number)
        if found is not None and found.status == READY and choose == "first":
            return


def questions(needed: Iterable[Need], highest: Mapping[str, int]) -> tuple[Question, ...]:
    """Put what is needed into as few requests as keep to the limits; `highest`: each model's highest number."""
    asked: list[Question] = []
    for need in sorted(needed, key=lambda need: (need.high, need.low, need.name)):
        wider = _with(asked[-1], need) if asked else None
        if wider is not None and _rows(wider, highest) <= MAX_ROWS and _characters(wider) <= MAX_NAMES:
            asked[-1] = wider
        else:
            asked.append(Question((need.name,), need.low, need.high))
    return tuple(asked)


def _with(question: Question, need: Need) -> Question:
    names = question.names if need.name in question.names else (*question.names, need.name)
    return Question(names, min(question.low, need.low), max(question.high, need.high))


def _rows(question: Question, highest: Mapping[str, int]) -> int:
    """The most that the answer can hold, however many versions there are."""
    tops = (min(question.high, highest.get(name, question.high)) for name in question.names)
    return sum(max(0, top - question.low + 1) for top in tops)


def _characters(question: Question) -> int:
    return sum(len(name) + _QUOTES for name in question.names)


def agree(before: Version, after: Version) -> bool:
    """Tell whether two answers say the same of a version; tags may be set by others at any time."""
    return replace(before, tags={}) == replace(after, tags={})
