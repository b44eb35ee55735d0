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
    """List the models whose selected version differs, for the journal; first those that are selected now.

    `before`: None for the first snapshot, in which every model is new.
    """
    old = {model.name: model for model in before.models} if before else {}
    new = {model.name: model for model in after.models}
    found: list[Changed] = []
    for name, model in new.items():
        is_new = name not in old or old[name].version != model.version
        if is_new:
            sentence = f"version {model.version} of {name} is now selected by {model.selected_by}"
            found.append(Changed(name, model.version, "selected", sentence))
    for name, model in old.items():
        if name not in new:
            found.append(Changed(name, model.version, "unselected", f"{name} is no longer selected"))
    return tuple(found)
