"""A number that the registry gave to another model: refused while what serves has it, until a person says otherwise.

Both have one directory, so the one there has to go first, and with it what was written down of its files.
"""

from collections.abc import Iterator, Mapping

from reconciler.core.planner import actions as act
from reconciler.core.planner import unit_values
from reconciler.core.planner.cleanup import remove_at_once
from reconciler.core.planner.deployment_plan import Draft
from reconciler.core.state.ledger import Ledger
from reconciler.core.state.reason import Reason
from reconciler.core.state.release import Refused, Release
from reconciler.core.state.status import Outlook, State


def origin(want: Release) -> str:
    """What tells a version from another one with its number."""
    return f"{want.version}.{unit_values.source_of(want)}"


def is_taken(draft: Draft, want: Release) -> bool:
    """Whether the files of what serves would be overwritten by a version that has its number and other files."""
    needed = [one for one in (draft.active_release, draft.good_release) if one and not draft.record.rejection(one)]
    same = [one for one in needed if one.version == want.version and one != want.id]
    return any(draft.facts(one).source not in (None, unit_values.source_of(want)) for one in same)


def why_taken(want: Release) -> str:
    """Say what a person can do about it."""
    return (
        f"cannot roll out version {want.version} of {want.name}: another model had that number and serves from the "
        "same directory; register the model once more, which gives it a number of its own, or have what serves end and "
        f"make way for it: reconciler rollout {want.name} --replace-files"
    )


def replace(draft: Draft, want: Release) -> Outlook | None:
    """Take everything out of service and away for a version that a person said it for; None when it is another one."""
    said = draft.record.replacing
    if said is None or said.origin != origin(want):
        return None
    why = f"its files are replaced by those that the registry has under number {want.version} now, as {said.by} said"
    if draft.files():
        remove_at_once(draft)
        return draft.outlook(State.REMOVING, want.version, Reason.REPLACING_FILES, why)
    draft.before.append(act.Replaced(draft.name, ""))
    return draft.outlook(State.PREPARING, want.version, Reason.FETCHING, why)


def out_of_date(wanted: Mapping[str, Release | Refused], ledger: Ledger) -> Iterator[act.Action]:
    """Forget what was said for a version that the registry does not select any more: another one needs another word."""
    for name, record in sorted(ledger.records.items()):
        want = wanted.get(name)
        if record.replacing and not (isinstance(want, Release) and record.replacing.origin == origin(want)):
            yield act.KeepFiles(name, "")
