"""The command line of the bridge, as the unit `nats-bridge@NAME.service` has it."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from reconciler.adapters.s3 import BucketServer
from reconciler.bridge.answering import Kinds, Limits


@dataclass(frozen=True)
class Options:
    """What one bridge is told."""

    name: str
    servers: tuple[str, ...]
    socket: Path
    jetstream: str
    result_subject: str
    plain_text: bool
    bucket: str
    store: BucketServer
    kinds: Kinds
    limits: Limits
    concurrency: int
    keep_results: float
    drain_limit: float
    patience: float
    beside: bool


def parse(arguments: list[str] | None = None) -> Options:
    """Read the command line; ends the process with 2 where it is wrong."""
    given = _parser().parse_args(arguments)
    return Options(
        name=given.name,
        servers=tuple(given.nats_url),
        socket=given.socket or Path(f"/run/models/{given.name}.sock"),
        jetstream=given.jetstream,
        result_subject=given.result_subject,
        plain_text=given.plain_text,
        bucket=given.bucket,
        store=BucketServer(given.s3_endpoint_url, given.s3_region, given.s3_plain_http),
        kinds=Kinds(tuple(given.kind), frozenset(given.optional_kind), given.extension),
        limits=Limits(given.deadline, given.attempts, given.max_message, given.max_recording),
        concurrency=given.concurrency,
        keep_results=given.keep_results,
        drain_limit=given.drain_limit,
        patience=given.patience,
        beside=given.beside,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nats-bridge", description=__doc__)
    add = parser.add_argument
    add("--name", required=True, help="the deployment")
    add("--nats-url", required=True, action="append", metavar="URL", help="a server of the broker; may be repeated")
    add("--socket", type=Path, help="the socket of the model's server (default: /run/models/NAME.sock)")
    add("--jetstream", choices=("auto", "require", "never"), default="auto")
    add("--result-subject", default="result_updates")
    add("--plain-text", action="store_true", help="a login may be sent to another host without TLS")
    add("--bucket", default="audio-files")
    add("--s3-endpoint-url", default="", metavar="URL")
    add("--s3-region", default="")
    add("--s3-plain-http", action="store_true", help="recordings may come from another host over plain HTTP")
    add("--kind", action="append", default=[], help="a recording of each request; may be repeated")
    add("--optional-kind", action="append", default=[], help="one of them that may be missing; may be repeated")
    add("--extension", default=".wav")
    add("--concurrency", type=int, default=4, help="requests answered at once")
    add("--deadline", type=float, default=600, help="seconds until a request is given up")
    add("--attempts", type=int, default=3, help="how often is tried what may have failed by chance")
    add("--max-message", type=int, default=1024**2, metavar="BYTES")
    add("--max-recording", type=int, default=32 * 1024**2, metavar="BYTES")
    add("--keep-results", type=float, default=86_400, metavar="SECONDS", help="how long JetStream keeps results")
    add("--drain-limit", type=float, default=60, metavar="SECONDS", help="for the requests under way at the end")
    add("--patience", type=float, default=30, metavar="SECONDS", help="for which a request is left to an older server")
    add("--beside", action="store_true", help="begin by leaving requests to an older server")
    return parser
