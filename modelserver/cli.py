"""The command line: `modelserver serve` loads, proves, serves and stops, in that order."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import platform
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

from modelserver import options as command_line
from modelserver.answer import HttpAnswer
from modelserver.errors import CannotServeError, one_line
from modelserver.garbage import keep_what_is_loaded
from modelserver.http import api_description, sockets, uvicorn_check
from modelserver.http.app import ServedRelease, make_application
from modelserver.http.body_memory import BodyMemory, Upload
from modelserver.http.connection import ConnectionSettings
from modelserver.http.connection_limit import ConnectionLimit
from modelserver.http.listener import raise_descriptor_limit
from modelserver.http.metrics import Identity, Metrics
from modelserver.http.web import pages
from modelserver.http.web.pages import Pages
from modelserver.http.workers import Together, Workers
from modelserver.model import joined
from modelserver.model.compiled import CompileCache
from modelserver.model.diagnosis import DiagnosisModel
from modelserver.model.error_log import ModelErrorLog
from modelserver.model.invocations import ScoringModel
from modelserver.model.loading import load_model
from modelserver.model.progress import RequestProgress
from modelserver.model.replay import replay
from modelserver.model.request_form import request_form
from modelserver.model.tracing import Tracing
from modelserver.server import Server, ServerParts
from modelserver.systemd import journal, network_check
from modelserver.systemd.counters import Counters
from modelserver.systemd.idle import IdleTimer
from modelserver.systemd.notify import Notifier
from modelserver.systemd.process_environment import prepare_process_environment
from modelserver.systemd.standby import Standby
from modelserver.systemd.status_line import StatusLine
from modelserver.systemd.watchdog import Watchdog

EX_CONFIG = 78  # sysexits.h; the unit has RestartPreventExitStatus=78
_WORKER = "predict"
_THREADS = min(32, (os.cpu_count() or 1) + 4)
_LAST_MOMENT_SECONDS = 0.5
_log = logging.getLogger("modelserver")


def main(standby: Standby, arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit status; `standby` catches its signals already."""
    # Some of it is taken out below, and the model's code may change it.
    environment = dict(os.environ)
    options = command_line.parse(arguments)
    journal.log_to_standard_error()
    journal.leave_out_advice()
    notifier = Notifier.from_environment()
    watchdog = Watchdog.from_environment(notifier)
    try:
        return _serve(options, standby, notifier, watchdog, environment)
    except CannotServeError as error:
        sentence = one_line(str(error))
        notifier.status(sentence)
        _log.error("%s", sentence, exc_info=error.__cause__)
        print(sentence, file=sys.stderr, flush=True)  # noqa: T201 - the sentence alone, last
        return EX_CONFIG


def _serve(
    options: argparse.Namespace,
    standby: Standby,
    notifier: Notifier,
    watchdog: Watchdog,
    environment: Mapping[str, str],
) -> int:
    """Serves until told to stop; the exit status. Raises CannotServeError."""
    uvicorn_check.check_internals()
    listening = _listening_sockets(options)
    # Before the model's code runs for the first time, which is when it is loaded.
    if options.network:
        network_check.check_network_is_closed(options.network)
    prepare_process_environment(offline=not options.network)
    tracing = Tracing.from_environment()
    threads = ThreadPoolExecutor(_THREADS, thread_name_prefix=_WORKER)
    compiled = CompileCache(options.compiled, options.kept, options.keep)
    compiled.restore()
    try:
        served, proof = _load_and_prove(options, notifier, tracing, threads)
    except CannotServeError as failure:
        if compiled.was_restored and not options.bind:
            _log.warning("%s; trying again without what was compiled at an earlier start", one_line(str(failure)))
            compiled.clear()
            _start_over(standby, listening, environment)
        raise
    compiled.offer()
    counters = Counters()
    metrics = Metrics(served.identity, counters, (*api_description.PATHS, *pages.PATHS))
    parts = ServerParts(
        application=make_application(served, counters, metrics),
        sockets=listening,
        peers=options.peers,
        connections=ConnectionSettings(
            release=served.release,
            header_timeout=options.header_timeout,
            send_timeout=options.request_timeout,
            limit=ConnectionLimit(_allowed_connections(options.max_connections)),
            on_refused=metrics.refused,
        ),
        standby=standby,
        status_line=StatusLine(
            notifier, counters, served.release, proof, options.soak, last_error=lambda: served.error_log.last
        ),
        watchdog=watchdog,
        idle_timer=IdleTimer(options.idle_timeout, options.soak),
        drain_grace=options.drain_grace,
        drain_limit=options.drain_limit,
    )
    keep_what_is_loaded()
    asyncio.run(Server(parts).serve())
    _end_threads(threads)
    return 0


def _start_over(standby: Standby, listening: list[socket.socket], environment: Mapping[str, str]) -> NoReturn:
    """Becomes a server that does not use what was compiled at an earlier start: that may be why the model fails."""
    standby.ignore_signals()  # until the new program catches them
    sockets.hand_on(listening)
    logging.shutdown()
    arguments = list(sys.orig_argv[1:])
    at = arguments.index("--kept")
    del arguments[at : at + 2]
    os.execve(sys.executable, [sys.executable, *arguments], environment)  # noqa: S606 - this program, without a shell


def _listening_sockets(options: argparse.Namespace) -> list[socket.socket]:
    listening = sockets.bind(options.bind) if options.bind else sockets.inherited()
    if len(listening) < options.sockets:
        # systemd loses those of a socket unit whose file is changed or gone while it reads the files again.
        raise CannotServeError(
            f"cannot listen: {len(listening)} of {options.sockets} sockets were passed; "
            "restart its .socket unit, or use --bind"
        )
    return listening


def _load_and_prove(
    options: argparse.Namespace, notifier: Notifier, tracing: Tracing, threads: ThreadPoolExecutor
) -> tuple[ServedRelease, str]:
    """The loaded release, and how it was proved that it answers. Raises CannotServeError."""
    release = f"{options.name}@{options.release}"
    began = time.monotonic()
    notifier.status(f"loading {release}")
    model = load_model(options.model_dir, tracing)
    error_log = ModelErrorLog()
    scoring, diagnosis = ScoringModel(model, error_log), DiagnosisModel(model, error_log)
    notifier.status(f"replaying the logged example of {release}")
    # In a thread of those that will answer: some libraries work in the main thread only, and that is to be found now.
    proved = threads.submit(replay, options.model_dir, scoring, diagnosis).result()
    journal.silence_mlflow()
    tracing.enforce()  # again: its first request may have set up what is set up once
    mlflow_version = sys.modules["mlflow"].__version__
    software = {"mlflow": mlflow_version, "python": platform.python_version()}
    identity = Identity(options.name, options.release, options.version, software)
    form = request_form(options.model_dir, model.metadata, scoring.example_information, diagnosis.takes_files)
    served = ServedRelease(
        identity=identity,
        mlflow_version=mlflow_version,
        scoring=scoring,
        diagnosis=diagnosis,
        error_log=error_log,
        pages=Pages(identity, form, diagnosis.takes_files, options.max_body, is_tried=options.try_page),
        workers=Workers(threads, _THREADS, options.max_waiting, _together(scoring) if options.batch else None),
        body_memory=BodyMemory(max(options.max_buffered or 4 * options.max_body, options.max_body)),
        max_body=options.max_body,
        timeout=options.request_timeout,
    )
    return served, f"loaded in {time.monotonic() - began:.1f} s, {proved}"


def _together(scoring: ScoringModel) -> Together | None:
    """How several requests are answered with one prediction; None when the model has none of that kind."""
    if not scoring.answers_tables:
        _log.warning("cannot answer requests together: the signature is not one of plain columns; each by itself")
        return None

    def together(requests: Sequence[tuple[Upload, RequestProgress]]) -> Sequence[HttpAnswer | None]:
        return joined.answer_together(scoring, [(bytes(upload.body), progress) for upload, progress in requests])

    return together


def _allowed_connections(asked_for: int) -> int:
    """How many of the connections that are asked for the host allows."""
    allowed = raise_descriptor_limit(asked_for)
    if allowed < asked_for:
        _log.warning("only %d connections at once, not %d: raise LimitNOFILE= of the unit", allowed, asked_for)
    return allowed


def _end_threads(threads: ThreadPoolExecutor) -> None:
    """Ends the process although a prediction may still run past the limit: a thread cannot be cancelled."""
    threads.shutdown(wait=False, cancel_futures=True)
    for thread in threading.enumerate():
        if thread.name.startswith(_WORKER):
            thread.join(timeout=_LAST_MOMENT_SECONDS)
            if thread.is_alive():
                _log.warning("a prediction was still running at the limit and is given up")
                logging.shutdown()
                os._exit(0)  # Python would wait for the thread at its own exit
