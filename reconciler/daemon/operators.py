"""The reconciler's dealings with people: carries out what they ask, and remembers for them what ran."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from reconciler.core.operators.context import RequestContext
from reconciler.core.operators.requests import Verb
from reconciler.core.operators.suspension import expire
from reconciler.core.state.history import Sighting, observed
from reconciler.core.state.ledger import Ledger
from reconciler.core.state.status import Outlook, State
from reconciler.core.units.names import ReleaseId
from reconciler.daemon.publish import StatusPublisher
from reconciler.files.history_file import HistoryFile
from reconciler.files.ledger_file import LedgerFile
from reconciler.files.request_inbox import Requests


@dataclass
class OperatorDesk:
    """What they ask and what is kept for them, on disk."""

    requests: Requests
    history: HistoryFile

    def listen(
        self, ledger: LedgerFile, facts: Callable[[Ledger], RequestContext], publisher: StatusPublisher, now: datetime
    ) -> Collection[str]:
        """Carry out what was asked, and end suspensions whose time is over; gives the names to try again at once."""
        expired, resumed = expire(ledger.ledger, now)
        if resumed:
            ledger.write(expired)
            publisher.tell_resumed(resumed)
        retried = []
        for done in self.requests.serve(ledger, facts, now):
            publisher.tell_request(done.request.name, done.message)
            if done.ok and done.request.verb in (Verb.RETRY, Verb.REPLACE) and done.request.name:
                retried.append(done.request.name)
        return retried

    def remember(
        self, serving: Mapping[str, ReleaseId | None], outlooks: Collection[Outlook], ledger: Ledger, now: datetime
    ) -> None:
        """Take note of what runs now and of what was rejected.

        Also of deployments that are only remembered: a release of theirs may be rejected.
        """
        removals = {outlook.name: outlook.message for outlook in outlooks if outlook.state is State.REMOVING}
        sightings = {}
        for name in (*ledger.records, *serving, *removals):
            rejected = {rejection.release: rejection.message for rejection in ledger.record(name).rejected}
            sightings[name] = Sighting(serving.get(name), removals.get(name, ""), rejected)
        self.history.write(observed(self.history.history, sightings, now))
