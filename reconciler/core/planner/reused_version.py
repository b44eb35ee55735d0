"""A number that the registry gave to another model: refused while what serves has it, until a person says otherwise.

Both have one directory, so the one there has to go first, and with it what was written down of its files.
"""

from collections.abc import Iterator, Mapping

from reconciler.core.planner import actions as act
from reconciler.core.planner import unit_values
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.planner.removal import remove_at_once
from reconciler.core.state.ledger import Ledger
from reconciler.core.state.reason import Reason
from reconciler.core.state.release import Refused, Release
from reconciler.core.state.status import Outlook, State


def origin(release: Release) -> str:
    """What tells a version from another one with its number."""
    return f"{release.version}.{unit_values.source_of(release)}"


def is_taken(deployment: DeploymentView, release: Release) -> bool:
    """Whether the files of what serves would be overwritten by a version that has its number and other files."""
    needed = [
        one
        for one in (deployment.active_release, deployment.good_release)
        if one and not deployment.record.rejection(one)
    ]
    same = [one for one in needed if one.version == release.version and one != release.id]
    return any(deployment.facts(one).source not in (None, unit_values.source_of(release)) for one in same)


def why_taken(release: Release) -> str:
    """Say what a person can do about it."""
    return (
        f"cannot roll out version {release.version} of {release.name}: another model had that number and serves from "
        "the same directory; register the model once more, which gives it a number of its own, or have what serves "
        f"end and make way for it: reconciler rollout {release.name} --replace-files"
    )


def replace(deployment: DeploymentPlan, release: Release) -> Outlook | None:
    """Take everything out of service and away for a version that a person said it for; None when it is another one."""
    said = deployment.record.replacing
    if said is None or said.origin != origin(release):
        return None
    why = f"its files are replaced by those that the registry has under number {release.version} now, as {said.by} said"
    if deployment.files():
        remove_at_once(deployment)
        return deployment.outlook(State.REMOVING, release.version, Reason.REPLACING_FILES, why)
    deployment.before.append(act.Replaced(deployment.name, ""))
    return deployment.outlook(State.PREPARING, release.version, Reason.FETCHING, why)


def out_of_date(desired: Mapping[str, Release | Refused], ledger: Ledger) -> Iterator[act.Action]:
    """Forget what was said for a version that the registry does not select any more: another one needs another word."""
    for name, record in sorted(ledger.records.items()):
        release = desired.get(name)
        if record.replacing and not (isinstance(release, Release) and record.replacing.origin == origin(release)):
            yield act.KeepFiles(name, "")
