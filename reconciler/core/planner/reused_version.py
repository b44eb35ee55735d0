"""A number that the registry gave to another model: refused while the release that has it serves.

Both would have one directory on this host. So the old files have to go before the new ones come, and with them what
was written down of them; and that takes an operator's word.
"""

from collections.abc import Iterator, Mapping

from reconciler.core.planner import actions as act
from reconciler.core.planner import unit_values
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.planner.removal import remove_at_once
from reconciler.core.state.ledger import Ledger, Replacement
from reconciler.core.state.reason import Reason
from reconciler.core.state.release import Refused, Release
from reconciler.core.state.status import Outlook, State
from reconciler.core.units.names import ReleaseId


def origin(release: Release) -> str:
    """Return what tells a version from another one with its number: `<version>.<digest of its source>`.

    The ledger remembers it with an operator's word (`Replacement.origin`).
    """
    return f"{release.version}.{unit_values.source_of(release)}"


def is_taken(deployment: DeploymentView, release: Release) -> bool:
    """Whether the desired release has the number of a release that is needed here, and other files.

    The active and the good release are needed, unless they are rejected. Any other one makes way without a word.
    """
    for needed in (deployment.active_release, deployment.good_release):
        if needed is None or deployment.record.rejection(needed):
            continue
        if _has_number_and_other_files(deployment, needed, release):
            return True
    return False


def _has_number_and_other_files(deployment: DeploymentView, here: ReleaseId, release: Release) -> bool:
    """Whether a release on this host has the number of the desired one, and comes from another source.

    The same number with other parameters is fine: these two releases share their files.
    """
    if here == release.id or here.version != release.version:
        return False
    source = deployment.facts(here).source
    # An older version of this product did not write the source down: then it is taken for the same.
    return source is not None and source != unit_values.source_of(release)


def why_taken(release: Release) -> str:
    """Say that the number is taken, and what an operator can do about it."""
    return (
        f"cannot roll out version {release.version} of {release.name}: another model had that number and serves from "
        "the same directory; register the model once more, which gives it a number of its own, or have what serves "
        f"end and make way for it: reconciler rollout {release.name} --replace-files"
    )


def replacement(deployment: DeploymentView, release: Release) -> Replacement | None:
    """Return what an operator said about the replacement of files by this very version; None when nobody did.

    A word for another version, or for another source of the same one, does not count.
    """
    said = deployment.record.replacing
    # The registry may have got yet another model under the number since.
    is_for_this = said is not None and said.origin == origin(release)
    return said if is_for_this else None


def replace(deployment: DeploymentPlan, release: Release, said: Replacement) -> Outlook:
    """Plan that a deployment is removed to make way for a version, and return its status.

    Once nothing of it is left, the ledger forgets the old files and what was said. The next pass rolls the version out
    as the first one of a new deployment.
    """
    why = f"its files are replaced by those that the registry has under number {release.version} now, as {said.by} said"
    if deployment.files():
        remove_at_once(deployment)
        return deployment.outlook(State.REMOVING, release.version, Reason.REPLACING_FILES, why)
    deployment.before.append(act.Replaced(deployment.name, ""))
    return deployment.outlook(State.PREPARING, release.version, Reason.FETCHING, why)


def out_of_date(desired: Mapping[str, Release | Refused], ledger: Ledger) -> Iterator[act.Action]:
    """Yield the notes that forget what was said for versions that the registry does not select any more.

    Another version needs another word, even if the former one is selected again later.
    """
    for name, record in sorted(ledger.records.items()):
        said, release = record.replacing, desired.get(name)
        if said is None:
            continue
        # What a refused version is made from is not known, so the word cannot be for it.
        is_selected = isinstance(release, Release) and said.origin == origin(release)
        if not is_selected:
            yield act.KeepFiles(name, "")
