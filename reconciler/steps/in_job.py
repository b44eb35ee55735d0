"""Runs one step in a pod, which has no systemd: what the step tells it on a host becomes the container's last words.

    python -I -m reconciler.steps.in_job fetch|build|verify ARGS...
    python -I -m reconciler.steps.in_job network --otherwise SENTENCE

The arguments are those of the step, without what the files themselves tell: the environment that a model needs is in
the manifest of its files. $PINNED is the digest of the files that the reconciler recorded; empty for none. `network`
ends well when this pod can reach nobody.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from reconciler.core.units import paths
from reconciler.core.units.names import HOST_ENVIRONMENT
from reconciler.steps import manifest as manifests

EX_CONFIG = 78
"""With it the reconciler gives a release up at once: another try in the same cluster helps as little."""
TERMINATION_LOG = Path("/dev/termination-log")
_ENVIRONMENTS = f"{paths.DEPLOY_HOME}/environments"
_PATIENCE = 30.0
"""Seconds that a network plugin may take until it holds a new pod to its policy."""
_ANSWER = 3.0
"""Seconds within which a server that can be reached answers; what a policy drops does not answer at all."""
_ENOUGH = 2
"""Questions without an answer, one after the other, that are no chance."""


def main(arguments: list[str] | None = None) -> int:
    """Run a step and write its last line where the cluster keeps it; return the step's exit status."""
    step, *options = sys.argv[1:] if arguments is None else arguments
    if step == "network":
        return _check_network(options[-1])
    os.umask(0o022)
    if step == "fetch":
        Path(os.environ["STATE_DIRECTORY"]).mkdir(parents=True, exist_ok=True)
    else:
        release_dir = Path(options[options.index("--release-dir") + 1])
        environment = manifests.read(release_dir).environment.digest
        directory = Path(_ENVIRONMENTS, environment)
        if step == "build" and environment == HOST_ENVIRONMENT:
            return _end("it runs in the product's own environment, so nothing is built", 0)
        if step == "build":
            directory.mkdir(parents=True, exist_ok=True)
            os.environ["STATE_DIRECTORY"] = str(directory)
            options += ["--digest", environment]
        else:
            options += ["--environment-dir", HOST_ENVIRONMENT if environment == HOST_ENVIRONMENT else str(directory)]
    pinned = os.environ.get("PINNED", "")
    if pinned and step != "build":
        pin = Path(tempfile.gettempdir(), "pinned")
        pin.write_text(f"{pinned}\n")
        options += ["--pin", str(pin)]
    return _run([sys.executable, "-I", "-m", "reconciler.steps", step, *options])


def _run(command: list[str]) -> int:
    """Run a step as systemd would: with a socket for its status, and with the signals that this process gets."""
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        address = str(Path(directory, "notify"))
        notices.bind(address)
        step = subprocess.Popen(command, env={**os.environ, "NOTIFY_SOCKET": address})  # noqa: S603 - ours
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _frame: step.send_signal(received))
        last = ""
        notices.settimeout(0.2)
        while step.poll() is None:
            last = _status(notices) or last
        notices.setblocking(False)
        while said := _status(notices):
            last = said
    return _end(last, step.returncode)


def _status(notices: socket.socket) -> str:
    """Read one notice; "" where there is none just now. One without a status changes nothing."""
    try:
        notice = notices.recv(2**16).decode(errors="replace")
    except (TimeoutError, BlockingIOError):
        return ""
    lines = [line.removeprefix("STATUS=") for line in notice.splitlines() if line.startswith("STATUS=")]
    return lines[-1] if lines else ""


def _check_network(otherwise: str) -> int:
    """See whether the cluster's own API server can be reached, which every pod can that no policy holds.

    A refusal is an answer of somebody: of a plugin that refuses what a policy forbids, or of a cluster whose API server
    starts anew. Only where it lasts it is the former.
    """
    address = (os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"]))
    began, refused_since, unanswered = time.monotonic(), None, 0
    while True:
        now = time.monotonic()
        try:
            socket.create_connection(address, timeout=_ANSWER).close()
            refused_since, unanswered = None, 0
            if now - began > _PATIENCE:
                mend = "use a network plugin that does, or set kubernetes.require_network_policy = false on the host"
                return _end(f"{otherwise}; {mend}", EX_CONFIG)
        except TimeoutError:
            unanswered += 1
        except OSError:
            refused_since, unanswered = refused_since or now, 0
        is_refused_for_long = refused_since is not None and now - refused_since > _PATIENCE
        if unanswered >= _ENOUGH or is_refused_for_long:
            return _end("this pod reaches nobody", 0)
        time.sleep(1)


def _end(line: str, status: int) -> int:
    if status and not line:
        line = f"cannot tell why it ended with exit status {status}; see kubectl logs"
    sys.stdout.write(f"{line}\n")
    TERMINATION_LOG.write_text(f"{line}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
