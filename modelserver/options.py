"""The options of the command line: what each is called, what it may be, and what it is when it is not given."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from modelserver.http import peers

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of `modelserver serve`; ends the process with status 2 when they are wrong, as argparse does."""
    parser = argparse.ArgumentParser(prog="modelserver", description="Serves one release of an MLflow model.")
    serve = parser.add_subparsers(required=True).add_parser(
        "serve", help="load a model, prove that it answers, serve it", allow_abbrev=False
    )
    _add_release(serve)
    _add_sockets(serve)
    _add_limits(serve)
    _add_pages(serve)
    _add_life_span(serve)
    _add_compile_cache(serve)
    return parser.parse_args(arguments)


def size(text: str) -> int:
    """Bytes of a size such as `64M` (K, M, G and T are binary, as in systemd). Raises ValueError."""
    # Its name is text for people: argparse says "invalid size value".
    factor = _UNITS.get(text[-1:].upper(), 1)
    number = text if factor == 1 else text[:-1]
    return int(number) * factor


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _add_release(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--model-dir", type=Path, required=True, help="directory with the MLmodel file")
    serve.add_argument("--name", required=True, help="name of the registered model")
    serve.add_argument("--version", required=True, help="version of the model")
    serve.add_argument("--release", required=True, help="release; answers carry <name>@<release>")


def _add_sockets(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--sockets", type=int, default=1, metavar="COUNT", help="how many must be inherited")
    serve.add_argument(
        "--network",
        action="append",
        default=[],
        metavar="CIDR",
        help="the only places that the model may reach",
    )
    serve.add_argument("--bind", metavar="ADDRESS", help="listen at HOST:PORT or unix:PATH, not on inherited sockets")
    serve.add_argument(
        "--peers",
        type=peers.network,
        action="append",
        default=[],
        metavar="CIDR",
        help="take TCP connections from here only; repeatable",
    )


def _add_limits(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--max-body", type=size, default="64M", metavar="BYTES", help="largest request, e.g. 64M")
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
        help="how long the head of a request may take, the rest of a body that was not wanted, and a client that reads "
        "nothing of its answer",
    )
    serve.add_argument(
        "--max-connections",
        type=_positive,
        default=1000,
        metavar="COUNT",
        help="connections at once; beyond it idle ones are closed",
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
        "--batch",
        action="store_true",
        help="answer tables that wait for the model with one prediction; only for models whose answer for a row does "
        "not depend on the rows beside it",
    )


def _add_pages(serve: argparse.ArgumentParser) -> None:
    serve.add_argument(
        "--no-try-page", action="store_false", dest="try_page", help="no page at / on which people try the model"
    )


def _add_life_span(serve: argparse.ArgumentParser) -> None:
    serve.add_argument(
        "--soak",
        type=int,
        default=0,
        metavar="SECONDS",
        help="how long after the start the status line tells every error at once",
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


def _add_compile_cache(serve: argparse.ArgumentParser) -> None:
    serve.add_argument("--compiled", type=Path, metavar="DIRECTORY", help="where libraries put what they compile")
    serve.add_argument("--kept", type=Path, metavar="FILE", help="what was kept of an earlier start; may be missing")
    serve.add_argument("--keep", type=Path, metavar="FILE", help="where to put what is to be kept for later starts")
