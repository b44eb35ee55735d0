"""What one server process counts of its requests, and the page `/metrics` that Prometheus reads of it.

Everything is written and read in the event loop, as plain numbers: counting takes no lock.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from modelserver.http import exposition
from modelserver.http.exposition import Kind, Labels, Sample
from modelserver.systemd.counters import Counters

MODEL_ROUTES = ("/predict", "/invocations")
CLIENT_LEFT = 499
"""As nginx has it: nobody was there to read an answer."""
OTHER_ROUTE = "other"
"""The route of whatever a client makes up: so that no client can make more series."""
OTHER_STATUS = "other"
"""The status of whatever a container makes up: likewise."""
_STATUSES = frozenset({*HTTPStatus, CLIENT_LEFT})
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Seconds: from a small table's model to the time limits of a body and its prediction together."""
_ALERTED = (200, 500, 503, 504)
_ALERTED_REFUSALS = (403, 421, 503)
# Imported before a model is loaded, a fraction of a second after the process began.
_STARTED_AT = time.time()


@dataclass(frozen=True)
class Identity:
    """What this process is; every figure carries the first two, and the process's id."""

    deployment: str
    release: str
    version: str
    software: Mapping[str, str]
    """Names and versions of what it runs on, for the one line that says what this process is."""

    @property
    def labels(self) -> Labels:
        """Several processes may answer at one address, old and new or replicas: these tell their figures apart."""
        return {"deployment": self.deployment, "release": self.release, "pid": str(os.getpid())}


class _Durations:
    """How long the requests to one route took."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


class Metrics:
    """The figures of this process since its start. For the event loop only."""

    def __init__(self, identity: Identity, counters: Counters, routes: tuple[str, ...] = ()) -> None:
        """`counters` are those of the status line. `routes`: the paths, beside the model's, that are told apart."""
        self._identity = identity
        self._counters = counters
        self._routes = frozenset((*MODEL_ROUTES, *routes))
        # What is alerted on begins at 0: a rate does not see a series that begins with its first event.
        self._answers = Counter({(route, str(status)): 0 for route in MODEL_ROUTES for status in _ALERTED})
        self._refused = Counter(dict.fromkeys(_ALERTED_REFUSALS, 0))
        self._durations = {route: _Durations() for route in MODEL_ROUTES}
        self.in_flight = dict.fromkeys(MODEL_ROUTES, 0)
        """Requests to the model whose heads have arrived and whose answers are not sent yet; Measured keeps it."""

    def route_of(self, path: str) -> str:
        """The route that a path belongs to."""
        return path if path in self._routes else OTHER_ROUTE

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request was answered `seconds` after its head had arrived."""
        self._answers[route, str(status) if status in _STATUSES else OTHER_STATUS] += 1
        durations = self._durations.get(route)
        # How long somebody sent who left then says nothing of this server.
        if durations is not None and status != CLIENT_LEFT:
            durations.add(seconds)

    def refused(self, status: int) -> None:
        """A connection was answered before anybody looked for its route."""
        self._refused[status] += 1

    def text(self) -> str:
        """The page, to be sent as exposition.CONTENT_TYPE."""
        own = self._identity.labels
        about = {"version": self._identity.version, **self._identity.software}
        answers = [({"route": route, "status": status}, n) for (route, status), n in sorted(self._answers.items())]
        refused = [({"status": str(status)}, n) for status, n in sorted(self._refused.items())]
        in_flight = [({"route": route}, n) for route, n in self.in_flight.items()]
        singles: tuple[tuple[str, Kind, str, Iterable[Sample]], ...] = (
            ("modelserver_info", "gauge", "What this process serves.", [(about, 1)]),
            ("process_start_time_seconds", "gauge", "When this process began, since 1970.", [({}, _STARTED_AT)]),
            (
                "modelserver_requests_total",
                "counter",
                "Answers, by route and status; 499: the client left before.",
                answers,
            ),
            (
                "modelserver_refused_requests_total",
                "counter",
                "Requests that were answered before their route was known: no HTTP, a foreign page or name, no room.",
                refused,
            ),
            (
                "modelserver_counted_requests_total",
                "counter",
                "Answers by which the release is judged, as in its status line.",
                [({}, self._counters.requests)],
            ),
            (
                "modelserver_counted_errors_total",
                "counter",
                "Those of modelserver_counted_requests_total for which the release is to blame.",
                [({}, self._counters.errors)],
            ),
            (
                "modelserver_requests_in_flight",
                "gauge",
                "Requests to the model whose answers are not sent yet.",
                in_flight,
            ),
        )
        pages = [
            exposition.family(name, kind, meaning, [({**own, **labels}, value) for labels, value in samples])
            for name, kind, meaning, samples in singles
        ]
        durations = exposition.histogram(
            "modelserver_request_duration_seconds",
            "From the end of a request's head to the beginning of its answer.",
            BOUNDS,
            [({**own, "route": route}, one.counts, one.seconds) for route, one in self._durations.items()],
        )
        return "".join(pages) + durations
