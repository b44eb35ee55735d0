"""From a reading of the registry to the snapshot: what the selectors pick. No I/O, no clock, no environment."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

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

READY = "READY"
BELOW_UNREADY = 1000
"""Numbers below the latest of a stage among which one that is READY is looked for, when the latest is not."""
MAX_SELECTED = 10_000
MAX_SOURCE = 4096
MAX_SETTINGS = 100
MAX_SETTING = 200
"""Characters of a key or a value; no setting needs more, and a longer one is cut, marked, and thereby refused later."""
_MAX_NAME_SHOWN = 80
_MAX_OTHERS = 1000


class InconsistentReadingError(Exception):
    """The registry's answers contradict each other, so they are no snapshot; the next reading may be one."""


@dataclass(frozen=True)
class Model:
    """A registered model."""

    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)
    latest: tuple[int, ...] = ()
    """Versions that the registry names as the latest of a stage; among them is the newest."""


@dataclass(frozen=True)
class Version:
    """A model version."""

    name: str
    version: int
    stage: str = "None"
    status: str = READY
    source: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RegistryReading:
    """All models that the registry holds, and those versions of them that a choice can depend on."""

    models: tuple[Model, ...] = ()
    versions: tuple[Version, ...] = ()


@dataclass(frozen=True)
class _Pick:
    version: Version
    selector: str
    others: tuple[int, ...]


def select(reading: RegistryReading, source: Source, read_at: datetime) -> Snapshot:
    """Pick one version per model: the first selector that matches wins, or the newest version that any matches.

    Of a stage it is the highest version. Only versions that are READY match. Raises InconsistentReadingError when the
    reading contradicts itself.
    """
    versions = _checked(reading)
    models: list[SelectedVersion] = []
    refused: list[NotDeployable] = []
    known: list[str] = []
    for model in sorted(reading.models, key=lambda model: model.name):
        its = versions.get(model.name, {})
        if why := why_not_deployable(model.name):
            if _is_meant(model, its, source.selectors):
                refused.append(_refused(model, why))
            continue
        pick = _pick(model, its, source.selectors, source.choose)
        if pick is None:
            known.append(model.name)
        elif why := _why_not(pick.version):
            refused.append(_refused(model, why))
        else:
            models.append(_selected(model, pick))
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


def _checked(reading: RegistryReading) -> dict[str, dict[int, Version]]:
    """Index the versions by model and number, if the reading is one consistent whole."""
    if repeated := [name for name, count in Counter(model.name for model in reading.models).items() if count > 1]:
        raise InconsistentReadingError(f"it lists the model {_shown(repeated[0])} twice")
    index: dict[str, dict[int, Version]] = {model.name: {} for model in reading.models}
    for version in reading.versions:
        if version.name not in index:
            raise InconsistentReadingError(f"it lists a version of {_shown(version.name)} but not that model")
        if version.version in index[version.name]:
            raise InconsistentReadingError(f"it lists version {version.version} of {_shown(version.name)} twice")
        index[version.name][version.version] = version
    for model in reading.models:
        for number in model.latest:
            _version(model, index[model.name], number)
    return index


def _version(model: Model, versions: Mapping[int, Version], number: int) -> Version:
    if number not in versions:
        raise InconsistentReadingError(f"it names version {number} of {_shown(model.name)} but does not list it")
    return versions[number]


def _pick(model: Model, versions: Mapping[int, Version], selectors: Sequence[str], choose: Choose) -> _Pick | None:
    picks = (_matched(model, versions, selector) for selector in selectors)
    found = (pick for pick in picks if pick is not None)
    # Of equal ones max() takes the first, so that the earlier selector is told.
    return next(found, None) if choose == "first" else max(found, key=lambda pick: pick.version.version, default=None)


def _matched(model: Model, versions: Mapping[int, Version], selector: str) -> _Pick | None:
    """The highest READY version that a selector matches."""
    kind, _, wanted = selector.partition(":")
    if kind == "stage":
        matching = [version for version in versions.values() if version.stage == wanted]
    else:
        matching = [_version(model, versions, model.aliases[wanted])] if wanted in model.aliases else []
    ready = sorted((version.version for version in matching if version.status == READY), reverse=True)
    if not ready and kind == "stage" and max((version.version for version in matching), default=0) > 1 + BELOW_UNREADY:
        raise InconsistentReadingError(f"too many versions of {_shown(model.name)} are not READY to tell which one is")
    return _Pick(versions[ready[0]], selector, tuple(ready[1 : 1 + _MAX_OTHERS])) if ready else None


def _is_meant(model: Model, versions: Mapping[int, Version], selectors: Sequence[str]) -> bool:
    """Tell whether a selector matches a model whose name is refused anyway, so that its versions are not asked for."""
    aliases = {f"alias:{alias}" for alias in model.aliases}
    return (
        not aliases.isdisjoint(selectors) or _pick(replace(model, aliases={}), versions, selectors, "first") is not None
    )


def _refused(model: Model, why: str) -> NotDeployable:
    return NotDeployable(name=one_line(repr(model.name)[1:-1], _MAX_NAME_SHOWN), why=why)


def _why_not(version: Version) -> str | None:
    if not 1 <= version.version <= MAX_VERSION:
        return "its version is not a number that can be deployed"
    if not version.source or len(version.source) > MAX_SOURCE or not version.source.isprintable():
        return f"version {version.version} has no source that can be downloaded"
    return None


def _selected(model: Model, pick: _Pick) -> SelectedVersion:
    return SelectedVersion(
        name=model.name,
        version=pick.version.version,
        source=pick.version.source,
        selected_by=pick.selector,
        also_matching=pick.others,
        settings=_settings({**model.tags, **pick.version.tags}),
    )


def _settings(tags: Mapping[str, str]) -> dict[str, str]:
    wanted = {key.removeprefix(TAG_PREFIX): value for key, value in sorted(tags.items()) if key.startswith(TAG_PREFIX)}
    return {one_line(key, MAX_SETTING): one_line(value, MAX_SETTING) for key, value in [*wanted.items()][:MAX_SETTINGS]}


def _shown(name: str) -> str:
    return one_line(repr(name), _MAX_NAME_SHOWN)


Change = Literal["selected", "unselected"]


@dataclass(frozen=True)
class Changed:
    """One model whose selection differs between two snapshots, and the sentence that says how."""

    name: str
    version: int
    change: Change
    sentence: str


def changes(before: Snapshot | None, after: Snapshot) -> tuple[Changed, ...]:
    """List the models whose selected version differs, for the deployment's story."""
    old = {model.name: model for model in before.models} if before else {}
    new = {model.name: model for model in after.models}
    found = [
        Changed(
            name, model.version, "selected", f"version {model.version} of {name} is now selected by {model.selected_by}"
        )
        for name, model in new.items()
        if name not in old or old[name].version != model.version
    ]
    gone = [
        Changed(name, model.version, "unselected", f"{name} is no longer selected")
        for name, model in old.items()
        if name not in new
    ]
    return tuple(found + gone)
