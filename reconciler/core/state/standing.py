"""Since when a deployment stands as it does: what a pass saw is compared with what was told before it."""

from datetime import datetime, timedelta

from reconciler.core.state.status import DeploymentStatus, Outlook, State

AT_REST = (State.SERVING, State.IDLE)
"""States in which the active version is the wanted one."""
_UNDER_WAY = (State.PREPARING, State.ROLLING_OUT)
_SAME_MOMENT = timedelta(seconds=5)
"""A moment is computed anew from two clocks in each pass: one that is as near as this to the former is the same."""


def standing(
    outlook: Outlook, before: DeploymentStatus | None, tries: int, next_try: datetime | None, now: datetime
) -> DeploymentStatus:
    """Return the status of a deployment: its outlook, its tries, and since when.

    `before` is the status of the last pass; the same object is returned when nothing changed, as in most passes.
    """
    next_try = _steady(next_try, before)
    if before is not None:
        kept = {"since": before.since, "active_since": before.active_since}
        if vars(before) == {**vars(outlook), **kept, "tries": tries, "next_try": next_try}:
            return before
    active_since = _active_since(outlook, before, now)
    since = _since(outlook, before, tries, active_since, now)
    return DeploymentStatus(
        **outlook.model_dump(), since=since, active_since=active_since, tries=tries, next_try=next_try
    )


def _since(
    outlook: Outlook, before: DeploymentStatus | None, tries: int, active_since: datetime | None, now: datetime
) -> datetime:
    """Return since when the deployment is in its state.

    Of one that serves what it should, that is when its version began to serve, whatever happened to it in between. Of
    one that is tried again and again, it is the first failure. Reason and message do not count: they change often.
    """
    if outlook.state in AT_REST and active_since is not None:
        return active_since
    if before is None or _versions(before) != _versions(outlook):
        return now
    goes_on_failing = before.tries > 0 and tries > 0 and before.state not in AT_REST
    if goes_on_failing:
        return before.since
    got_over_it = before.tries > 0 and outlook.state in _UNDER_WAY
    if before.state is not outlook.state or got_over_it:
        return now
    return before.since


def _active_since(outlook: Outlook, before: DeploymentStatus | None, now: datetime) -> datetime | None:
    """Return when the version began to serve that serves now; None when none does."""
    if outlook.active_version is None:
        return None
    if before is None or before.active_version != outlook.active_version:
        return now
    # An earlier version of this product did not tell it.
    return before.active_since or before.since


def _steady(next_try: datetime | None, before: DeploymentStatus | None) -> datetime | None:
    if next_try is None or before is None or before.next_try is None:
        return next_try
    is_same = abs(next_try - before.next_try) < _SAME_MOMENT
    return before.next_try if is_same else next_try


def _versions(outlook: Outlook) -> tuple[str | None, str | None]:
    return outlook.desired_version, outlook.active_version
