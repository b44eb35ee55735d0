"""Where the releases that serve come from, for the audit log."""

from collections.abc import Callable

from reconciler.core.state.audit import Origin
from reconciler.core.state.audit_entries import OriginOf
from reconciler.core.state.ledger import Ledger
from reconciler.core.state.snapshot import Snapshot
from reconciler.core.text.quote import one_line
from reconciler.core.units import names
from reconciler.core.units.names import ReleaseId
from reconciler.core.units.observed import Observed
from reconciler.core.units.unit_facts import NO_FACTS

_MAX_WORDS = 2000


FilesOf = Callable[[str, ReleaseId], Origin]
"""Tells of a deployment's release which bytes it is made of."""


def origins(files_of: FilesOf, snapshot: Snapshot | None) -> OriginOf:
    """Tell of a release what is known of its files, and what the registry says.

    The registry tells only of the version that it selects: of one that a person went back to, less is known.
    """

    def origin(name: str, release: ReleaseId) -> Origin:
        selected = next((one for one in snapshot.models if one.name == name), None) if snapshot else None
        of_files = files_of(name, release)
        if snapshot is None or selected is None or selected.version != release.version:
            return of_files
        of_registry = {
            "registry": one_line(snapshot.registry, _MAX_WORDS),
            "source": one_line(selected.source, _MAX_WORDS),
            "selected_by": selected.selected_by,
            "registered_by": selected.registered_by,
            "registered_at": selected.registered_at,
            "changed_at": selected.changed_at,
            "promoted_by": selected.promoted_by,
        }
        return of_files.model_copy(update=of_registry)

    return origin


def files_on_host(seen: Observed, ledger: Ledger) -> FilesOf:
    """Tell what the unit of a release and the ledger's digests say."""

    def files(name: str, release: ReleaseId) -> Origin:
        file = seen.files.get(names.server_unit(name, release))
        facts = file.facts if file else NO_FACTS
        environment = one_line(facts.environment or "", _MAX_WORDS)
        return Origin(
            files=ledger.record(name).files.get(f"{release.version}.{facts.source}", ""),
            environment=environment,
            environment_files=ledger.environments.get(environment, ""),
        )

    return files
