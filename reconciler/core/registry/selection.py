"""From a reading of the registry to the snapshot: which version of each model the selectors pick.

A reading is trusted as a whole or not at all: where its answers contradict each other, there is no snapshot, and the
hosts keep to the one before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from reconciler.core.registry.elsewhere import reports
from reconciler.core.registry.reading import READY, Model, RegistryReading, Version
from reconciler.core.state.snapshot import (
    MAX_KNOWN,
    TAG_PREFIX,
    Choose,
    NotDeployable,
    SelectedVersion,
    Snapshot,
    Source,
)
from reconciler.core.text.quote import one_line
from reconciler.core.units.names import MAX_VERSION, why_not_deployable

BELOW_UNREADY = 1000
"""Numbers below the latest of a stage among which one that is READY is looked for, when the latest is not."""
MAX_SELECTED = 10_000
RENAME = "register the model under another name, of letters, digits, '_' and '-'"
MAX_SOURCE = 4096
MAX_SETTINGS = 100
MAX_SETTING = 200
"""Characters of a key or a value; no setting needs more, and a longer one is cut, marked, and thereby refused later."""
PROMOTED_BY = "promoted_by"
"""A tag of a version in which who promotes it may write a name: MLflow itself keeps none."""
_MAX_PERSON = 200
_MAX_NAME_SHOWN = 80
_MAX_OTHERS = 1000


class InconsistentReadingError(Exception):
    """The registry's answers contradict each other, so they are no snapshot; the next reading may be one."""


@dataclass(frozen=True)
class _Pick:
    """A version that a selector picks."""

    version: Version
    selector: str
    others: tuple[int, ...]
    """The other versions that the selector matches, the highest first."""


class Refusal(NamedTuple):
    """A selected version that no host can deploy."""

    name: str
    """As the registry has it; it may be any text."""
    version: int
    why: str
    """A sentence with what to do."""


def select(reading: RegistryReading, source: Source, read_at: datetime, hosts: Sequence[str] = ()) -> Snapshot:
    """Pick one version per model: the first selector that matches wins, or the newest version that any matches.

    Of a stage it is the highest version. Only versions that are READY match. What `hosts` say of a picked version is
    taken along. Raises InconsistentReadingError when the reading contradicts itself.
    """
    # Before anything is picked: half of a reading is no basis for taking a model down.
    versions = _index(reading)
    models: list[SelectedVersion] = []
    refused: list[NotDeployable] = []
    known: list[str] = []
    # Sorted by name, so that the same content of the registry is the same snapshot in every reading.
    for model in sorted(reading.models, key=lambda model: model.name):
        match _choose(model, versions[model.name], source):
            case SelectedVersion() as selected:
                tags = versions[model.name][selected.version].tags
                models.append(selected.model_copy(update={"reports": reports(tags, hosts)}))
            case Refusal() as refusal:
                refused.append(_not_deployable(refusal))
            case None if not why_not_deployable(model.name):
                known.append(model.name)
    if len(models) > MAX_SELECTED or len(refused) > MAX_SELECTED:
        raise InconsistentReadingError(f"it selects more than {MAX_SELECTED} models")
    return Snapshot(
        schema=1,
        **source.model_dump(),
        read_at=read_at,
        models=tuple(models),
        not_deployable=tuple(refused),
        known=tuple(known[:MAX_KNOWN]),
    )


def refusals(reading: RegistryReading, source: Source) -> tuple[Refusal, ...]:
    """Find the selected versions that no host can deploy; raises InconsistentReadingError as `select` does."""
    versions = _index(reading)
    chosen = (_choose(model, versions[model.name], source) for model in reading.models)
    return tuple(choice for choice in chosen if isinstance(choice, Refusal))


def _choose(model: Model, versions: Mapping[int, Version], source: Source) -> SelectedVersion | Refusal | None:
    """Pick a model's version, or say why it cannot be deployed; None when no selector matches.

    A model that no selector means is not reported, however wrong its name is: it is nobody's business here.
    """
    wrong_name = why_not_deployable(model.name)
    if wrong_name:
        meant = _meant(model, versions, source.selectors)
        return Refusal(model.name, meant, f"{wrong_name}; {RENAME}") if meant else None
    pick = _pick(model, versions, source.selectors, source.choose)
    if pick is None:
        return None
    wrong_version = _why_not(pick.version)
    if wrong_version:
        return Refusal(model.name, pick.version.version, f"{wrong_version}; register a new version")
    return _selected(model, pick)


def _index(reading: RegistryReading) -> dict[str, dict[int, Version]]:
    """Index the versions by model and number.

    Every model of the reading has an entry. Raises InconsistentReadingError where the reading is not one consistent
    whole: its answers came one after the other, and the registry may have changed between them.
    """
    index: dict[str, dict[int, Version]] = {}
    for model in reading.models:
        if model.name in index:
            raise InconsistentReadingError(f"it lists the model {_shown(model.name)} twice")
        index[model.name] = {}
    for version in reading.versions:
        if version.name not in index:
            raise InconsistentReadingError(f"it lists a version of {_shown(version.name)} but not that model")
        if version.version in index[version.name]:
            raise InconsistentReadingError(f"it lists version {version.version} of {_shown(version.name)} twice")
        index[version.name][version.version] = version
    # A "latest" version that is missing means that the list of versions is older than the list of models.
    for model in reading.models:
        for number in model.latest:
            _version(model, index[model.name], number)
    return index


def _version(model: Model, versions: Mapping[int, Version], number: int) -> Version:
    """Find a version that the registry has named. Raises InconsistentReadingError where it was not listed."""
    if number not in versions:
        raise InconsistentReadingError(f"it names version {number} of {_shown(model.name)} but does not list it")
    return versions[number]


def _pick(model: Model, versions: Mapping[int, Version], selectors: Sequence[str], choose: Choose) -> _Pick | None:
    """Pick a version by the selectors; None when none of them matches.

    With "first", the selectors behind the one that matches are not looked at: the agent did not ask the registry for
    the versions that they need (see `version_queries`).
    """
    picks: list[_Pick] = []
    for selector in selectors:
        pick = _matched(model, versions, selector)
        if pick is None:
            continue
        if choose == "first":
            return pick
        picks.append(pick)
    # Of equal ones max() takes the first, so that the earlier selector is told.
    return max(picks, key=lambda pick: pick.version.version, default=None)


def _matched(model: Model, versions: Mapping[int, Version], selector: str) -> _Pick | None:
    """Find the highest READY version that a selector matches; None when there is none.

    Several versions may be in one stage. An alias names one version at most.
    """
    kind, _, wanted = selector.partition(":")
    if kind == "stage":
        matching = [version for version in versions.values() if version.stage == wanted]
        _refuse_too_many_unready(model, matching)
    elif wanted in model.aliases:
        matching = [_version(model, versions, model.aliases[wanted])]
    else:
        matching = []
    ready = [version.version for version in matching if version.status == READY]
    if not ready:
        return None
    highest, *others = sorted(ready, reverse=True)
    return _Pick(versions[highest], selector, tuple(others[:_MAX_OTHERS]))


def _refuse_too_many_unready(model: Model, of_stage: Sequence[Version]) -> None:
    """Raise InconsistentReadingError where a READY version of the stage may be missing from the reading.

    The reading looks BELOW_UNREADY numbers below the latest version of a stage for one that is READY. If there are more
    numbers than that below it, a READY one may have been out of sight, and "none" would be a guess.
    """
    numbers = [version.version for version in of_stage]
    ready = [version for version in of_stage if version.status == READY]
    latest = max(numbers, default=0)
    if not ready and latest > 1 + BELOW_UNREADY:
        raise InconsistentReadingError(f"too many versions of {_shown(model.name)} are not READY to tell which one is")


def _meant(model: Model, versions: Mapping[int, Version], selectors: Sequence[str]) -> int | None:
    """Find the version that a selector means of a model whose name is refused anyway; None when none does.

    The agent asks for no version of such a model, so that its aliases match without theirs.
    """
    for selector in selectors:
        kind, _, wanted = selector.partition(":")
        if kind == "alias":
            number = model.aliases.get(wanted)
        else:
            pick = _matched(model, versions, selector)
            number = pick.version.version if pick else None
        if number:
            return number
    return None


def _not_deployable(refusal: Refusal) -> NotDeployable:
    """Report a model that no host can deploy."""
    # The name may be anything, so it is shown as a Python literal without its quotes.
    shown = one_line(repr(refusal.name)[1:-1], _MAX_NAME_SHOWN)
    return NotDeployable(name=shown, why=refusal.why)


def _why_not(version: Version) -> str | None:
    """Say why a version cannot be deployed on any host; None when it can.

    The limits are those of the snapshot's fields: one such version must not make the whole snapshot invalid.
    """
    if not 1 <= version.version <= MAX_VERSION:
        return "its version is not a number that can be deployed"
    has_usable_source = 0 < len(version.source) <= MAX_SOURCE and version.source.isprintable()
    if not has_usable_source:
        return f"version {version.version} has no source that can be downloaded"
    return None


def _selected(model: Model, pick: _Pick) -> SelectedVersion:
    """Put a picked version into the form of the snapshot, with the tags that say how it is run."""
    return SelectedVersion(
        name=model.name,
        version=pick.version.version,
        source=pick.version.source,
        selected_by=pick.selector,
        also_matching=pick.others,
        # A tag of the version wins over the same tag of the model.
        settings=_settings({**model.tags, **pick.version.tags}),
        registered_by=one_line(pick.version.registered_by, _MAX_PERSON),
        registered_at=pick.version.registered_at,
        changed_at=pick.version.changed_at,
        promoted_by=one_line(pick.version.tags.get(PROMOTED_BY, ""), _MAX_PERSON),
    )


def _settings(tags: Mapping[str, str]) -> dict[str, str]:
    """Take the `deploy.` tags out of all tags, without the prefix: by key, and no more and no longer than they may be.

    What is cut off here is no setting of ours; `tags.read_tags` refuses what is left of it.
    """
    settings: dict[str, str] = {}
    wanted = [key for key in sorted(tags) if key.startswith(TAG_PREFIX)]
    for key in wanted[:MAX_SETTINGS]:
        short = one_line(key.removeprefix(TAG_PREFIX), MAX_SETTING)
        settings[short] = one_line(tags[key], MAX_SETTING)
    return settings


def _shown(name: str) -> str:
    """Quote a name for a sentence of the agent's; a model of the registry may have any name."""
    return one_line(repr(name), _MAX_NAME_SHOWN)
