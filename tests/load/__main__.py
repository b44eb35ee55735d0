"""Asks until its stdin ends; prints its totals as lines of JSON all the time, the final ones last."""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, process_time

from tests.load.client import Target
from tests.load.judge import Judge
from tests.load.loop import Loop, Mix
from tests.load.request import predict_request


def main() -> None:
    """Run the load that the arguments describe."""
    given = _arguments().parse_args()
    part = (given.part[0], Path(given.part[1])) if given.part else None
    targets = [
        (target, predict_request(host, given.metadata, part)) for host, target in _targets(given.tcp, given.unix)
    ]
    judge = Judge(json.loads(given.expected))
    kept = given.connections // 2 if given.kept is None else given.kept
    loop = Loop(targets, Mix(given.connections, kept, given.rate, given.timeout), judge)

    def report() -> None:
        judge.totals.at = monotonic()
        judge.totals.cpu_seconds = process_time()
        sys.stdout.write(judge.totals.to_json() + "\n")
        sys.stdout.flush()

    try:
        loop.run(_stopping(given.seconds), report)
        report()
    except BrokenPipeError:  # nobody is there any more
        os._exit(1)


def _stopping(seconds: float | None) -> Callable[[], bool]:
    """Whether to ask no more: at the end of stdin, after a signal, or after so many seconds."""
    told: list[int] = []
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda number, _: told.append(number))
    end = monotonic() + seconds if seconds is not None else None

    def stopping() -> bool:
        stdin = sys.stdin.fileno()
        ended = bool(select.select([stdin], [], [], 0)[0]) and not os.read(stdin, 4096)
        return bool(told) or ended or (end is not None and monotonic() >= end)

    return stopping


def _targets(tcp: str | None, unix: str | None) -> list[tuple[str, Target]]:
    """Each with what to say in the header Host."""
    found: list[tuple[str, Target]] = []
    if tcp:
        name, _, port = tcp.rpartition(":")
        address = socket.gethostbyname(name)
        found.append((tcp, Target(socket.AF_INET, (address, int(port)))))
    if unix:
        found.append(("localhost", Target(socket.AF_UNIX, unix)))
    if not found:
        sys.exit("cannot ask: neither --tcp nor --unix says whom; give one of them, or both")
    return found


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--tcp", metavar="HOST:PORT")
    parser.add_argument("--unix", metavar="PATH")
    parser.add_argument("--expected", required=True, metavar="JSON", help="{release or version: body}")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--kept", type=int, help="how many of them are kept alive (half)")
    parser.add_argument("--metadata", default="{}", metavar="JSON")
    parser.add_argument("--part", nargs=2, metavar=("NAME", "FILE"))
    parser.add_argument("--rate", type=float, help="requests per second of all connections together (no limit)")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds that a request may take")
    parser.add_argument("--seconds", type=float, help="ask no more after that; what is under way still has --timeout")
    return parser


if __name__ == "__main__":
    main()
