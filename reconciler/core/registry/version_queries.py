"""Which versions a reading asks for beside those that the models come with, in few and short answers.

MLflow's list of models holds the latest version of each stage. A reading needs no more than a few of the others. What
it asks for depends on what the selectors name, never on how many versions there are.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from reconciler.core.registry.reading import READY, Model, Version
from reconciler.core.registry.selection import BELOW_UNREADY
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
    """Say which versions have to be asked for, after the models came with the `listed` ones.

    With the answers, `selection.select` finds each version that it looks at. It looks at no version of a model whose
    name cannot be deployed.
    """
    # A version that is the latest of two stages is listed twice; that does no harm here.
    known: dict[str, list[Version]] = {}
    for version in listed:
        known.setdefault(version.name, []).append(version)
    found: list[Need] = []
    for model in models:
        is_refused_by_name = why_not_deployable(model.name) is not None
        if not is_refused_by_name:
            found += _needs_of(model, known.get(model.name, []), selectors, choose)
    return tuple(found)


def _needs_of(model: Model, listed: Sequence[Version], selectors: Sequence[str], choose: Choose) -> Iterator[Need]:
    """Yield what one model needs, selector by selector.

    With "first", the selectors behind one that matches are of no interest. A version that has yet to be asked for may
    turn out not to be READY, so that only a listed one is known to match.
    """
    for selector in selectors:
        found, need = _look_up(model, listed, selector)
        if need is not None:
            yield need
        matches_for_sure = found is not None and found.status == READY
        if matches_for_sure and choose == "first":
            return


class _LookedUp(NamedTuple):
    """What is known of the version that a selector names."""

    found: Version | None = None
    """The version, where it was listed with the models."""
    need: Need | None = None
    """What has to be asked for."""


def _look_up(model: Model, listed: Sequence[Version], selector: str) -> _LookedUp:
    """Find the version that a selector names among those that the model came with."""
    kind, _, wanted = selector.partition(":")
    if kind == "stage":
        # MLflow lists the latest version of each stage that has versions.
        of_stage = [version for version in listed if version.stage == wanted]
        if not of_stage:
            return _LookedUp()
        return _LookedUp(of_stage[0], _others_in_stage(of_stage[0]))
    number = model.aliases.get(wanted)
    if number is None:
        return _LookedUp()
    by_number = {version.version: version for version in listed}
    if number in by_number:
        return _LookedUp(by_number[number])
    # An alias may name any version, however old: the list of models has only its number.
    return _LookedUp(need=Need(model.name, number, number))


def _others_in_stage(latest: Version) -> Need:
    """Say where to look for other versions of a stage.

    If the latest is READY, it is picked, and a few others are for people to see. If it is not, the next one that is
    READY is picked, and it may be far below.
    """
    span = OTHERS if latest.status == READY else BELOW_UNREADY
    return Need(latest.name, max(1, latest.version - span), latest.version)


def questions(needed: Iterable[Need], highest: Mapping[str, int]) -> tuple[Question, ...]:
    """Put what is needed into few requests that keep to the limits; `highest`: each model's highest number.

    A question asks for one range of numbers of all its models. Models with ranges near to each other share one, so that
    the answer has few rows that nobody needs. A need that is beyond a limit by itself gets a question of its own.
    """
    asked: list[Question] = []
    # Sorted by their upper ends, so that a need has the nearest range right before it.
    for need in sorted(needed, key=lambda need: (need.high, need.low, need.name)):
        alone = Question((need.name,), need.low, need.high)
        wider = _with(asked[-1], need) if asked else alone
        is_short_enough = _rows(wider, highest) <= MAX_ROWS and _characters(wider) <= MAX_NAMES
        if asked and is_short_enough:
            asked[-1] = wider
        else:
            asked.append(alone)
    return tuple(asked)


def _with(question: Question, need: Need) -> Question:
    """Widen a question by one need: all that was asked for before is asked for still."""
    # A model can have several needs: the numbers of its stages, and those of its aliases.
    names = question.names
    if need.name not in names:
        names = (*names, need.name)
    return Question(names, min(question.low, need.low), max(question.high, need.high))


def _rows(question: Question, highest: Mapping[str, int]) -> int:
    """Count the most rows that the answer can have, however many versions there are.

    Numbers that a model has not reached have no rows, and every number below may have one.
    """
    rows = 0
    for name in question.names:
        top = min(question.high, highest.get(name, question.high))
        rows += max(0, top - question.low + 1)
    return rows


def _characters(question: Question) -> int:
    """Count what the names take in the request's address.

    Names of models that can be deployed have only characters that an address takes as they are.
    """
    return sum(len(name) + _QUOTES for name in question.names)


def agree(before: Version, after: Version) -> bool:
    """Tell whether two answers of one reading say the same of a version.

    If they do not, the registry has changed in between. Tags do not count: anybody may set one at any time.
    """
    return replace(before, tags={}) == replace(after, tags={})
