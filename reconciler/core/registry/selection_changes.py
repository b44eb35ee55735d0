"""What changed from one selection to the next, in sentences for the journal of the agent."""

from dataclasses import dataclass
from typing import Literal

from reconciler.core.state.snapshot import Snapshot

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
    old_versions = {model.name: model.version for model in old}
    new_names = {model.name for model in after.models}
    found: list[Changed] = []
    for model in after.models:
        # A model that was not selected before has no version here, and differs for that reason.
        if old_versions.get(model.name) != model.version:
            sentence = f"version {model.version} of {model.name} is now selected by {model.selected_by}"
            found.append(Changed(model.name, model.version, "selected", sentence))
    for model in old:
        if model.name not in new_names:
            sentence = f"{model.name} is no longer selected"
            found.append(Changed(model.name, model.version, "unselected", sentence))
    return tuple(found)
