"""What changed from one selection to the next, in sentences for the journal of the agent."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from reconciler.core.state.snapshot import SelectedVersion, Snapshot

Change = Literal["selected", "unselected"]


@dataclass(frozen=True)
class Changed:
    """One model whose selection differs between two snapshots, and the sentence that says how."""

    name: str
    version: int
    change: Change
    sentence: str


def changes(before: Snapshot | None, after: Snapshot) -> tuple[Changed, ...]:
    """List the models whose selected version differs; first those that are selected now, then those that are not.

    `before`: None for the first snapshot, in which every model is new. Changed tags are not told: the reconciler tells
    of the other release that they make.
    """
    old = before.models if before else ()
    return (*_selected(old, after.models), *_unselected(old, after.models))


def _selected(old: Sequence[SelectedVersion], new: Sequence[SelectedVersion]) -> Iterator[Changed]:
    """Yield the models of which a version is selected now that was not selected before.

    The order is that of the new snapshot.
    """
    old_versions = {model.name: model.version for model in old}
    for model in new:
        # A model that was not selected before has no version here, and differs for that reason.
        is_same = old_versions.get(model.name) == model.version
        if not is_same:
            sentence = f"version {model.version} of {model.name} is now selected by {model.selected_by}"
            yield Changed(model.name, model.version, "selected", sentence)


def _unselected(old: Sequence[SelectedVersion], new: Sequence[SelectedVersion]) -> Iterator[Changed]:
    """Yield the models of which no version is selected any more, each with the version that was.

    The order is that of the former snapshot.
    """
    new_names = {model.name for model in new}
    for model in old:
        is_selected = model.name in new_names
        if not is_selected:
            sentence = f"{model.name} is no longer selected"
            yield Changed(model.name, model.version, "unselected", sentence)
