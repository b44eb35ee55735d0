"""Reads MLflow's answers to searches, and refuses others: many a document would be taken for an empty registry.

A newer server may say more: unknown fields, states and stages are no reason to refuse an answer. The fields that this
product relies on must be there, in MLflow's form.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from reconciler.adapters.registry_http import AnswerError
from reconciler.core.registry.reading import Model, Version

ODD = "its answer is not MLflow's"
MAX_PARTS = 500_000
"""Brackets and commas of an answer; 2,000 versions with 100 tags each have not as many. More would fill the memory."""
_YEAR_9999 = 253_370_764_800_000
_Name = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True)
class Page:
    """One page of what was searched for."""

    models: tuple[Model, ...] = ()
    versions: tuple[Version, ...] = ()
    """The versions that were searched for, or those that came with the models."""
    token: str = ""
    """What the next page is asked for with; "" for the last one."""


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", hide_input_in_errors=True)


class _Tag(_Entry):
    key: _Name
    value: str = ""
    """MLflow leaves it out where it is empty."""


class _Alias(_Entry):
    alias: _Name
    version: _Name


class _Version(_Entry):
    name: _Name
    version: _Name
    status: _Name
    current_stage: str | None = None
    source: str | None = None
    # Only told to auditors: a form that is not MLflow's own is no reason to refuse the answer.
    user_id: object = None
    creation_timestamp: object = None
    last_updated_timestamp: object = None
    tags: list[_Tag] = []


class _Model(_Entry):
    name: _Name
    latest_versions: list[_Version] = []
    aliases: list[_Alias] = []
    tags: list[_Tag] = []


@dataclass(frozen=True)
class Experiment:
    """An experiment without its runs."""

    id: str
    is_deleted: bool
    tags: Mapping[str, str]


class _Experiment(_Entry):
    experiment_id: _Name
    lifecycle_stage: str = "active"
    tags: list[_Tag] = []


class _ExperimentAnswer(_Entry):
    experiment: _Experiment


class _Search(_Entry, extra="allow"):
    next_page_token: str | None = None

    @model_validator(mode="after")
    def _is_an_answer(self) -> Self:
        """Refuse an error, and a document that has no list but anything else: its list may have another name by now."""
        others = self.model_extra or {}
        has_list = bool(self.model_fields_set & type(self).model_fields.keys() - {"next_page_token"})
        # MLflow leaves an empty list out.
        if "error_code" in others or (others and not has_list):
            raise ValueError(ODD)
        return self


class _Models(_Search):
    registered_models: list[_Model] = []


class _Versions(_Search):
    model_versions: list[_Version] = []


def models_page(body: bytes) -> Page:
    """Read an answer to `registered-models/search`; raises AnswerError."""
    try:
        found = _Models.model_validate_json(_of_bounded_size(body))
    except ValidationError:
        raise AnswerError(ODD) from None
    models = tuple(map(_model, found.registered_models))
    versions = tuple(_version(version) for model in found.registered_models for version in model.latest_versions)
    return Page(models, versions, found.next_page_token or "")


def versions_page(body: bytes) -> Page:
    """Read an answer to `model-versions/search`; raises AnswerError."""
    try:
        found = _Versions.model_validate_json(_of_bounded_size(body))
    except ValidationError:
        raise AnswerError(ODD) from None
    return Page(versions=tuple(map(_version, found.model_versions)), token=found.next_page_token or "")


def experiment(body: bytes) -> Experiment:
    """Read an answer to `experiments/get-by-name`; raises AnswerError."""
    try:
        found = _ExperimentAnswer.model_validate_json(_of_bounded_size(body)).experiment
    except ValidationError:
        raise AnswerError(ODD) from None
    is_deleted = found.lifecycle_stage != "active"
    return Experiment(found.experiment_id, is_deleted, {tag.key: tag.value for tag in found.tags})


def _of_bounded_size(body: bytes) -> bytes:
    if sum(map(body.count, (b"{", b"[", b","))) > MAX_PARTS:
        raise AnswerError("its answer is too long")
    return body


def _model(found: _Model) -> Model:
    return Model(
        name=found.name,
        tags={tag.key: tag.value for tag in found.tags},
        aliases={alias.alias: _number(alias.version) for alias in found.aliases},
        latest=tuple(_number(latest.version) for latest in found.latest_versions),
    )


def _version(found: _Version) -> Version:
    return Version(
        name=found.name,
        version=_number(found.version),
        stage=found.current_stage or "",
        status=found.status,
        source=found.source or "",
        registered_by=found.user_id if isinstance(found.user_id, str) else "",
        registered_at=_moment(found.creation_timestamp),
        changed_at=_moment(found.last_updated_timestamp),
        tags={tag.key: tag.value for tag in found.tags},
    )


def _moment(milliseconds: object) -> datetime | None:
    """Read milliseconds since the epoch; None when they are none, or of no year that people write."""
    if not isinstance(milliseconds, int) or not 0 < milliseconds < _YEAR_9999:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _number(text: str) -> int:
    is_number = text.isascii() and text.isdecimal()
    if not is_number or len(text) > 10:
        raise AnswerError("it names a version that is not a number")
    return int(text)
