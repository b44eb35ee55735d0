"""The command line of the release steps, as the units of a deployment run it.

    python -I -m reconciler.steps fetch --name NAME --version V --source URI [--environment model|host]
                                          --schemes s3,https,... [--host https://HOST:PORT|s3://BUCKET]...
                                          [--max-size BYTES] [--max-files N] [--keep-free BYTES] [--plain-http]
                                          [--require-hashes] [--ignore-index-options] [--workspace NAME]
                                          [--s3-endpoint-url URL] [--s3-region REGION] [--s3-plain-http]
    python -I -m reconciler.steps build --release-dir DIR --digest DIGEST [--index-url URL] [--find-links PLACE]...
                                          [--offline] [--allow-source] [--keep-free BYTES] [--require-hashes]
                                          [--pythons system|managed] [--python-mirror PLACE] [--python-list FILE]
    python -I -m reconciler.steps verify --release-dir DIR --environment-dir DIR|host
                                           [--check=WORD]...
    python -I -m reconciler.steps keep --from FILE --of BYTES.UNIT

fetch works in $STATE_DIRECTORY (…/releases/<version>), with the registry in $MLFLOW_TRACKING_URI and its credentials,
if any, in $CREDENTIALS_DIRECTORY/registry.*, those of artifact stores in artifacts.*. build works in $STATE_DIRECTORY
(…/environments/<digest>), where uv's cache lasts as long as the build; the index's credentials are index.*. Empty
--index-url and --find-links mean none. docs/credentials.md has the names. keep copies into $CACHE_DIRECTORY.

When a step is done, all programs that it started have ended, and all that those left behind.
"""

import argparse
import errno
import os
import signal
import traceback
from pathlib import Path
from types import FrameType

from reconciler.core.text.urls import origin
from reconciler.core.units.names import HOST_ENVIRONMENT
from reconciler.steps import subprocesses
from reconciler.steps.check_files import read_pin
from reconciler.steps.step_report import StepError, fail, report_status

EX_TEMPFAIL = 75
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def main(arguments: list[str] | None = None) -> None:
    """Run one step. Exit codes: 0 done, 1 cannot (the status says why), 75 interrupted (the next start goes on)."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop_at_once)
    signal.signal(signal.SIGINT, _stop_at_once)
    # The kernel sends it while this process holds a lease, for a moment, on a file that somebody opens.
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    os.umask(0o022)  # the server reads the result as another user
    try:
        subprocesses.adopt()
        done = _STEPS[options.step](options)
        # The unit stays active when this process ends well, and processes in it would stay, too.
        subprocesses.end_all()
        report_status(done)
    except StepError as failed:
        fail(str(failed))
    except OSError as error:
        if error.errno in _NO_SPACE:
            fail(f"cannot {options.step}: no space left on this host's disk; make room on the host")
        where = f"{error.filename}: " if error.filename else ""
        fail(f"cannot {options.step}: {where}{error.strerror or error}; see this unit's journal")
    except Exception as error:  # noqa: BLE001 - a registry or a package can cause any error, and people get a sentence
        traceback.print_exc()
        fail(f"cannot {options.step}: {type(error).__name__}: {error}; see this unit's journal")


def _stop_at_once(number: int, _frame: FrameType | None) -> None:
    # Half-done work does not count, so there is nothing to tidy up, and threads of a download may end anywhere.
    # systemd sends SIGKILL to the rest of the unit, such as a running uv.
    report_status(f"stopped by {signal.Signals(number).name} before it was done; the next start goes on")
    os._exit(EX_TEMPFAIL)


def _fetch(options: argparse.Namespace) -> str:
    from reconciler.adapters.s3 import BucketServer
    from reconciler.steps.download import FetchOrder
    from reconciler.steps.fetch import fetch
    from reconciler.steps.limits import Limits

    registry = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not registry.startswith(("http://", "https://")):
        raise StepError("cannot fetch: MLFLOW_TRACKING_URI names no http(s) registry; start this step through its unit")
    order = FetchOrder(
        name=options.name,
        version=options.version,
        source=options.source,
        environment=options.environment,
        registry=registry,
        limits=Limits(
            schemes=frozenset(filter(None, options.schemes.split(","))),
            hosts=frozenset(filter(None, map(origin, options.host))),
            max_size=options.max_size,
            max_files=options.max_files,
            keep_free=options.keep_free,
        ),
        plain_http=options.plain_http,
        workspace=options.workspace,
        require_hashes=options.require_hashes,
        buckets=BucketServer(options.s3_endpoint_url, options.s3_region, options.s3_plain_http),
        ignore_index_options=options.ignore_index_options,
    )
    return fetch(_state_directory(), order, _pin(options.pin))


def _build(options: argparse.Namespace) -> str:
    from reconciler.steps.build import BuildOrder, build
    from reconciler.steps.python_list import PythonSettings
    from reconciler.steps.uv import Sources

    sources = Sources(
        index_url=options.index_url,
        find_links=tuple(filter(None, options.find_links)),
        offline=options.offline,
        allow_source=options.allow_source,
    )
    order = BuildOrder(
        digest=options.digest,
        sources=sources,
        keep_free=options.keep_free,
        pinned=_pin(options.pin),
        require_hashes=options.require_hashes,
        pythons=PythonSettings(
            managed=options.pythons == "managed",
            mirror=options.python_mirror,
            list=options.python_list,
            offline=options.offline,
        ),
        unpack=options.unpack,
        server_wheels=options.server_wheels or BuildOrder.server_wheels,
    )
    return build(_state_directory(), options.release_dir, order)


def _verify(options: argparse.Namespace) -> str:
    from reconciler.steps.verify import Check, Pins, verify

    environment = None if options.environment_dir == HOST_ENVIRONMENT else Path(options.environment_dir)
    pins = Pins(_pin(options.pin), _pin(options.environment_pin))
    return verify(options.release_dir, environment, pins, Check(tuple(options.check), options.check_deadline))


def _keep(options: argparse.Namespace) -> str:
    from reconciler.steps.keep import keep

    return keep(options.source, _directory_in("CACHE_DIRECTORY"), int(options.of.partition(".")[0]))


def _pin(path: str) -> str | None:
    """Read root's record, where there is one already."""
    return read_pin(path) if path else None


def _state_directory() -> Path:
    return _directory_in("STATE_DIRECTORY")


def _directory_in(variable: str) -> Path:
    """Return the directory that systemd made for this step."""
    directory = os.environ.get(variable, "")
    if not directory.startswith("/") or ":" in directory:
        raise StepError(f"cannot work without ${variable}: this step is started through its unit; use systemctl start")
    return Path(directory)


_STEPS = {"fetch": _fetch, "build": _build, "verify": _verify, "keep": _keep}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="release-step", description="One step of making a release, run by its unit.")
    steps = parser.add_subparsers(dest="step", required=True)
    fetch = steps.add_parser("fetch", help="download a model version and record the digest of every file")
    fetch.add_argument("--name", required=True)
    fetch.add_argument("--version", required=True, type=int)
    fetch.add_argument("--source", required=True, help="the model version's source, as the registry has it")
    fetch.add_argument("--environment", choices=("model", HOST_ENVIRONMENT), default="model")
    fetch.add_argument("--schemes", required=True, help="address schemes to download from, separated by commas")
    fetch.add_argument("--host", action="append", default=[], help="a server or bucket to download from, if need be")
    fetch.add_argument("--max-size", type=int, default=0, help="bytes that one version may have; 0 is no limit")
    fetch.add_argument("--max-files", type=int, default=10_000, help="files that one version may have")
    fetch.add_argument("--plain-http", action="store_true", help="credentials may go to the registry in plain text")
    fetch.add_argument("--workspace", default="", help="the registry's workspace, where it has several")
    fetch.add_argument("--s3-endpoint-url", default="", help="the server of the buckets of s3://, if there is one")
    fetch.add_argument("--s3-region", default="", help="the region that requests to it are signed for")
    fetch.add_argument("--s3-plain-http", action="store_true", help="requests may go to it in plain text")
    fetch.add_argument("--keep-free", type=int, default=0, help="bytes that stay free on the file system")
    fetch.add_argument("--ignore-index-options", action="store_true", help="pass over indexes that a model names")
    build = steps.add_parser("build", help="make the Python environment of a fetched model")
    build.add_argument("--release-dir", required=True, type=Path)
    build.add_argument("--digest", required=True)
    build.add_argument("--index-url", default="")
    build.add_argument("--find-links", action="append", default=[])
    build.add_argument("--offline", action="store_true")
    build.add_argument("--allow-source", action="store_true")
    build.add_argument("--keep-free", type=int, default=0, help="bytes that stay free on the file system")
    build.add_argument("--pythons", choices=("system", "managed"), default="system", help="whose interpreters to use")
    build.add_argument("--python-mirror", default="", help="where uv downloads interpreters from")
    build.add_argument("--python-list", default="", help="a file that lists them, in place of uv's own list")
    build.add_argument("--unpack", type=Path, help="where an interpreter is unpacked before packages are installed")
    build.add_argument("--server-wheels", type=Path, help="in place of the product's own wheels for the server")
    verify = steps.add_parser("verify", help="compare a release with what was fetched")
    verify.add_argument("--release-dir", required=True, type=Path)
    verify.add_argument("--environment-dir", required=True)
    verify.add_argument("--check", action="append", default=[], help="a word of the command that must agree, if any")
    verify.add_argument("--check-deadline", type=float, default=300, help="seconds that it may take")
    keep = steps.add_parser("keep", help="keep what a server compiled before it was ready")
    keep.add_argument("--from", dest="source", required=True, type=Path, help="the file in which the server put it")
    keep.add_argument("--of", required=True, help="the server's temporary files, BYTES.UNIT: it has at most that size")
    for step in (fetch, build):
        step.add_argument("--require-hashes", action="store_true", help="every package must be listed with its hash")
    for step in (fetch, build, verify):
        step.add_argument("--pin", default="", help="root's file with the digest of what was first fetched, or built")
    verify.add_argument("--environment-pin", default="", help="the same of the environment")
    return parser


if __name__ == "__main__":
    main()
