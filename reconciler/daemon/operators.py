"""What the reconciler does for people: it carries out their requests, and records for them what ran."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from reconciler.core.operators.context import RequestContext
from reconciler.core.operators.suspension import expire
from reconciler.core.operators.verbs import Verb
from reconciler.core.state.audit import Asked, Event, Happened
from reconciler.core.state.audit_entries import OriginOf, noted, what_happened
from reconciler.core.state.history import Sighting, observed
from reconciler.core.state.ledger import Ledger
from reconciler.core.state.plan_document import ShownPlan
from reconciler.core.state.status import Outlook, State
from reconciler.core.text.quote import one_line
from reconciler.core.units.names import ReleaseId
from reconciler.daemon.publish import StatusPublisher
from reconciler.files.history_file import HistoryFile
from reconciler.files.ledger_file import LedgerFile
from reconciler.files.plan_file import PLAN_FILE, write_plan
from reconciler.files.request_inbox import MAX_ANSWER, AnsweredRequest, RequestInbox

_ASKS_FOR_A_RETRY = (Verb.RETRY, Verb.REPLACE)


@dataclass
class OperatorDesk:
    """The requests of operators, and the history that is kept for them, both on disk."""

    requests: RequestInbox
    history: HistoryFile
    plan_file: Path = PLAN_FILE

    def serve_requests(
        self,
        ledger: LedgerFile,
        context: Callable[[Ledger], RequestContext],
        plan: Callable[[], ShownPlan],
        publisher: StatusPublisher,
        now: datetime,
    ) -> Collection[str]:
        """End suspensions whose time is over, then carry out what was asked, which changes `ledger`.

        `context` tells what a request depends on, as of a ledger; `plan` makes the plan that people asked to see.
        Returns the deployments to try again at once.
        """
        # Before the requests: one of them may be about a deployment whose suspension has just ended.
        expired, resumed = expire(ledger.ledger, now)
        if resumed:
            ledger.write(expired)
            publisher.log_resumed(resumed)
        retried = []

        def note(answered: AnsweredRequest) -> None:
            request = answered.request
            publisher.log_request(request.name, answered.message)
            self.history.write(noted(self.history.history, [_asked(answered, now)], self.history.host))
            # A request that was refused changes nothing, not even when something is tried next.
            if answered.ok and request.verb in _ASKS_FOR_A_RETRY and request.name:
                retried.append(request.name)

        self.requests.serve(ledger, context, now, lambda: write_plan(plan(), self.plan_file), note)
        return retried

    def record_history(
        self,
        serving: Mapping[str, ReleaseId | None],
        outlooks: Collection[Outlook],
        ledger: Ledger,
        origin_of: OriginOf,
        now: datetime,
    ) -> None:
        """Record in the history what runs now and what was rejected. `serving`: by deployment, None where nothing.

        Also of deployments that only the ledger knows: a release of theirs may be rejected.
        """
        removals = {outlook.name: outlook.message for outlook in outlooks if outlook.state is State.REMOVING}
        sightings = {}
        for name in (*ledger.records, *serving, *removals):
            rejected = {rejection.release: rejection.message for rejection in ledger.record(name).rejected}
            sightings[name] = Sighting(serving.get(name), removals.get(name, ""), rejected)
        before = self.history.history
        after = observed(before, sightings, now)
        happened = what_happened(before, after, origin_of, now)
        self.history.write(noted(after, happened, self.history.host))


def _asked(answered: AnsweredRequest, now: datetime) -> Happened:
    """Make an entry of what a person asked."""
    request = answered.request
    asked = Asked(
        verb=request.verb,
        by=request.by,
        why=request.why,
        version=request.version,
        until=request.until,
        done=answered.ok,
        answer=one_line(answered.message, MAX_ANSWER),
    )
    return Happened(now, Event.ASKED, {"name": request.name, "asked": asked})
