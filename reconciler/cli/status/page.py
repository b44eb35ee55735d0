"""Collects all that is known of one deployment."""

import os
from datetime import datetime

from reconciler.cli.known import refuse_unknown
from reconciler.cli.status.document import current_status
from reconciler.cli.status.events import events_of
from reconciler.cli.status.units import facts, figures, units_of
from reconciler.core.state.advice import to_do, waits_for
from reconciler.core.state.page import DeploymentPage, PastRun
from reconciler.core.state.status import DeploymentStatus, Status
from reconciler.core.units import names
from reconciler.core.units.names import why_not_deployable

_BEFORE = 3
"""How many of the earlier releases are told."""


def deployment_page(name: str, now: datetime) -> DeploymentPage:
    """Return the page of a deployment; the command ends where there is none. Raises NoStatusError."""
    document = current_status(now)
    one = next((one for one in document.deployments if one.name == name), None)
    if one is None:
        refuse_unknown("show the status of", name, [one.name for one in document.deployments])
    return page_of(document, one)


def page_of(document: Status, one: DeploymentStatus) -> DeploymentPage:
    """Collect what is known of a deployment beside its status."""
    page = DeploymentPage(
        schema=1,
        host=document.host,
        registry=document.registry,
        trouble=document.trouble,
        deployment=one,
        waits_for=waits_for(one),
        to_do=to_do(one),
    )
    # Of a name that no unit can have there is nothing else, and it must not become an argument.
    if why_not_deployable(one.name):
        return page
    units = units_of(one.name)
    release = facts(names.socket_unit(one.name)).release if names.socket_unit(one.name) in units else None
    server = facts(names.server_unit(one.name, release)) if release else None
    return page.model_copy(
        update={
            "release": release,
            "opened": server.opened if server else None,
            "closed": server.closed if server else None,
            "units": tuple(figures(units)),
            "before": _before(one.name),
            "events": events_of(one.name),
        }
    )


def _before(name: str) -> tuple[PastRun, ...] | None:
    """Return the last releases that ended, the latest first; None where the history cannot be read."""
    if os.geteuid() != 0:
        return None
    from reconciler.files.history_file import UnusableHistoryError, read_history

    try:
        runs = read_history().of(name)
    except UnusableHistoryError:
        return None
    ended = [run for run in runs if not run.serves]
    return tuple(
        PastRun(version=run.version, release=run.release, began=run.began, ended=run.ended, why=run.why)
        for run in reversed(ended[-_BEFORE:])
    )
