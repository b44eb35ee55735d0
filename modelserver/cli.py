"""The command line: `modelserver serve` loads, proves, serves and stops, in that order."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from modelserver.errors import CannotServeError, one_line
from modelserver.http import peers, sockets
from modelserver.http.app import Served, application
from modelserver.http.body import size
from modelserver.http.body_memory import Buffers
from modelserver.http.connection import Rules
from modelserver.http.connection_limit import Crowd
from modelserver.http.listener import descriptors
from modelserver.http.workers import Workers
from modelserver.model.diagnosis import Diagnosis
from modelserver.model.error_log import Complaints
from modelserver.model.invocations import Scoring
from modelserver.model.loading import load
from modelserver.model.replay import replay
from modelserver.model.tracing import Tracing
from modelserver.server import Server
from modelserver.systemd import journal, network_check, process_environment
from modelserver.systemd.counters import Counters
from modelserver.systemd.idle import Idleness
from modelserver.systemd.notify import Notifier
from modelserver.systemd.standby import Standby
from modelserver.systemd.status_line import Reports
from modelserver.systemd.watchdog import Watchdog

EX_CONFIG = 78  # sysexits.h; the unit has RestartPreventExitStatus=78
_WORKER = "predict"
_THREADS = min(32, (os.cpu_count() or 1) + 4)
_log = logging.getLogger("modelserver")


def main(standby: Standby, arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit status; `standby` catches its signals already."""
    options = _parser().parse_args(arguments)
    journal.log_to_standard_error()
    notifier = Notifier.from_environment()
    watchdog = Watchdog.from_environment(notifier)
    try:
        return _serve(options, standby, notifier, watchdog)
    except CannotServeError as error:
        sentence = one_line(str(error))
        notifier.status(sentence)
        _log.error("%s", sentence, exc_info=error.__cause__)
        print(sentence, file=sys.stderr, flush=True)  # noqa: T201 - the sentence alone, last
        return EX_CONFIG


def _serve(options: argparse.Namespace, standby: Standby, notifier: Notifier, watchdog: Watchdog) -> int:
    listeners = sockets.bound(options.bind) if options.bind else sockets.inherited()
    if len(listeners) < options.sockets:
        # systemd loses those of a socket unit whose file is changed or gone while it reads the files again.
        raise CannotServeError(
            f"cannot listen: {len(listeners)} of {options.sockets} sockets were passed; "
            "restart its .socket unit, or use --bind"
        )
    if options.network:
        network_check.prove_closed(options.network)
    process_environment.prepare(offline=not options.network)
    tracing = Tracing.from_environment()
    release = f"{options.name}@{options.release}"
    began = time.monotonic()
    notifier.status(f"loading {release}")
    model = load(options.model_dir, tracing)
    workers = ThreadPoolExecutor(_THREADS, thread_name_prefix=_WORKER)
    complaints = Complaints()
    scoring, diagnosis = Scoring(model, complaints), Diagnosis(model, complaints)
    notifier.status(f"replaying the logged example of {release}")
    proved = workers.submit(replay, options.model_dir, scoring, diagnosis).result()
    journal.mlflow_is_ready()
    tracing.settle()  # again: its first request may have set up what is set up once
    proof = f"loaded in {time.monotonic() - began:.1f} s, {proved}"
    counters = Counters()
    served = Served(
        release=release,
        mlflow_version=sys.modules["mlflow"].__version__,
        scoring=scoring,
        diagnosis=diagnosis,
        complaints=complaints,
        workers=Workers(workers, _THREADS, options.max_waiting),
        buffers=Buffers(max(options.max_buffered or 4 * options.max_body, options.max_body)),
        max_body=options.max_body,
        timeout=options.request_timeout,
    )
    server = Server(
        application(served, counters),
        listeners,
        standby=standby,
        reports=Reports(notifier, counters, release, proof, options.soak),
        watchdog=watchdog,
        idleness=Idleness(options.idle_timeout, options.soak),
        rules=Rules(release, options.header_timeout, options.request_timeout, Crowd(_room(options.max_connections))),
        peers=options.peers,
        grace=options.drain_grace,
        limit=options.drain_limit,
    )
    asyncio.run(server.serve())
    _leave(workers)
    return 0


def _room(wanted: int) -> int:
    """How many of `wanted` connections the host allows."""
    room = descriptors(wanted)
    if room < wanted:
        _log.warning("only %d connections at once, not %d: raise LimitNOFILE= of the unit", room, wanted)
    return room


def _leave(workers: ThreadPoolExecutor) -> None:
    """Ends the process although a prediction may still run past the limit: a thread cannot be cancelled."""
    workers.shutdown(wait=False, cancel_futures=True)
    for thread in threading.enumerate():
        if thread.name.startswith(_WORKER):
            thread.join(timeout=0.5)
            if thread.is_alive():
                _log.warning("a prediction was still running at the limit and is given up")
                logging.shutdown()
                os._exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="modelserver", description="Serves one release of an MLflow model.")
    serve = parser.add_subparsers(required=True).add_parser(
        "serve", help="load a model, prove that it answers, serve it", allow_abbrev=False
    )
    serve.add_argument("--model-dir", type=Path, required=True, help="directory with the MLmodel file")
    serve.add_argument("--name", required=True, help="name of the registered model")
    serve.add_argument("--version", required=True, help="version of the model")
    serve.add_argument("--release", required=True, help="release; answers carry <name>@<release>")
    serve.add_argument("--max-body", type=size, default="64M", metavar="BYTES", help="largest request, e.g. 64M")
    serve.add_argument("--sockets", type=int, default=1, metavar="COUNT", help="how many must be inherited")
    serve.add_argument(
        "--network",
        action="append",
        default=[],
        metavar="CIDR",
        help="the only places that the model may reach",
    )
    serve.add_argument("--bind", metavar="HOST:PORT", help="listen here instead of on inherited sockets")
    serve.add_argument(
        "--request-timeout",
        type=float,
        default=os.environ.get("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "60"),
        metavar="SECONDS",
        help="how long one request may take (MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT, 60)",
    )
    serve.add_argument(
        "--header-timeout",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="how long the head of a request may take, and a client that does not read its answer",
    )
    serve.add_argument(
        "--max-connections", type=_positive, default=1000, metavar="COUNT", help="then idle ones make room"
    )
    serve.add_argument(
        "--max-buffered",
        type=size,
        default=0,
        metavar="BYTES",
        help="bodies of all requests together (4 x max-body)",
    )
    serve.add_argument(
        "--max-waiting", type=int, default=100, metavar="COUNT", help="requests that wait for a thread of the model"
    )
    serve.add_argument(
        "--peers",
        type=peers.network,
        action="append",
        default=[],
        metavar="CIDR",
        help="take TCP connections from here only; repeatable",
    )
    serve.add_argument(
        "--soak", type=int, default=0, metavar="SECONDS", help="how long after the start its counters are told often"
    )
    serve.add_argument(
        "--idle-timeout",
        type=int,
        default=0,
        metavar="SECONDS",
        help="leave when idle for so long (after the soak)",
    )
    serve.add_argument(
        "--drain-grace", type=float, default=1.0, metavar="SECONDS", help="how long idle connections are kept on stop"
    )
    serve.add_argument(
        "--drain-limit", type=int, default=20, metavar="SECONDS", help="how long requests under way may take on stop"
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number
