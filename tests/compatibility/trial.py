"""One case on a site, by the whole path: registered, promoted, built, asked, restarted, with replicas, and removed."""

import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import httpx

from tests.compatibility.cases import Case
from tests.host.host import CHECKOUT, CHECKOUT_INSIDE, HostError
from tests.system.site import SCIENTIST, Site

ENVIRONMENTS = "/var/lib/mlflow-deploy/environments"
AT_ONCE = 50
"""Requests that are sent together."""
REPLICAS = 2
SERVING_SECONDS = 1200
AT_REST = {"serving", "failed", "degraded", "stalled", "not-deployable"}


class TrialError(Exception):
    """The sentence of the row: what failed, at which step."""


@dataclass(frozen=True)
class Measured:
    """What one trial found out; times in seconds, sizes in bytes."""

    version: str
    environment: int
    """Space that the environment takes on the disk."""
    cold: float
    """From the start of the first server to its first right answer, with nothing compiled."""
    warm: float
    """The same of the server that was started again."""
    memory: int
    """Most memory that a server's process had (resident), after all requests."""
    threads: int
    """Threads of that process, after all requests."""


def try_out(site: Site, case: Case) -> Measured:
    """Take a case through everything; raises TrialError where an answer is missing or wrong. Leaves nothing behind."""
    python = _scientist(site, case)
    version = site.host.output(
        [python, "-c", f"from importlib.metadata import version; print(version({case.packages[0]!r}))"]
    )
    _register(site, case, python)
    try:
        site.registry.promote(case.name, 1)
        _wait_until_served(site, case)
        environment = int(site.host.output(f"du --summarize --block-size=1 {ENVIRONMENTS} | cut -f1"))
        (unit,) = site.servers(case.name)
        cold = site.start_seconds(unit) + _ask(site, case, "the first answer")
        site.restart(unit, SERVING_SECONDS)
        warm = site.start_seconds(unit) + _ask(site, case, "the first answer after a restart")
        site.registry.set_tag(case.name, "deploy.replicas", str(REPLICAS), 1)
        site.host.wait_for(lambda: len(site.servers(case.name)) == REPLICAS, SERVING_SECONDS, "two servers")
        _wait_until_served(site, case)
        _ask_at_once(site, case)
        memory, threads = _size(site, case.name)
    finally:
        _remove(site, case)
    return Measured(version, environment, cold, warm, memory, threads)


def _scientist(site: Site, case: Case) -> str:
    try:
        return site.scientists_python(case.name, "mlflow", *case.packages, timeout=SERVING_SECONDS)
    except HostError as error:
        raise TrialError(f"cannot install it: {_last_line(error)}") from error


def _register(site: Site, case: Case, python: str) -> None:
    """Register the model with the request of the case as its example, which the host replays."""
    folder = PurePosixPath(f"/home/{SCIENTIST}/{case.name}-example")
    listed = {part: {"file": part, "filename": part} for part in case.parts}
    request = {"schema": 1, "metadata": case.metadata, "parts": listed}
    site.host.write(f"{folder}/request.json", json.dumps(request))
    for part, content in case.parts.items():
        path = site.host.root / str(folder / part).lstrip("/")
        path.write_bytes(content())
        path.chmod(0o644)
    model = CHECKOUT_INSIDE / case.file.relative_to(CHECKOUT)
    options = ("--model", f"{model}:{case.class_name}", "--example", f"{folder}/request.json")
    try:
        site.pipeline("--name", case.name, *options, python=python, timeout=SERVING_SECONDS)
    except HostError as error:
        raise TrialError(f"pipeline.py refuses it: {_last_line(error)}") from error
    for key, value in case.settings.items():
        site.registry.set_tag(case.name, f"deploy.{key}", value, 1)


def _wait_until_served(site: Site, case: Case) -> None:
    """Wait until the deployment serves, or fails for good."""

    def at_rest() -> dict[str, Any] | None:
        one = site.statuses().get(case.name, {"state": ""})
        return one if one["state"] in AT_REST else None

    status = site.host.wait_for(at_rest, SERVING_SECONDS, f"{case.name} to serve or to fail")
    if status["state"] != "serving":
        raise TrialError(f"{status['state']}: {status['message']}")


def _ask(site: Site, case: Case, which: str) -> float:
    """Ask once; gives the seconds until the answer was there."""
    began = time.monotonic()
    answer = site.predict(case.name, case.metadata, {part: content() for part, content in case.parts.items()})
    seconds = time.monotonic() - began
    _judge(case, answer, which)
    return seconds


def _ask_at_once(site: Site, case: Case) -> None:
    """Send AT_ONCE requests together, each over a connection of its own; every one is answered rightly."""
    parts = {part: content() for part, content in case.parts.items()}
    with ThreadPoolExecutor(AT_ONCE) as clients:
        asked = [clients.submit(site.predict, case.name, case.metadata, parts) for _ in range(AT_ONCE)]
        for number, one in enumerate(asked, 1):
            _judge(case, one.result(), f"answer {number} of {AT_ONCE} at once")


def _judge(case: Case, answer: httpx.Response, which: str) -> None:
    if answer.status_code != 200:
        raise TrialError(f"{which} is {answer.status_code}: {answer.text}")
    output = answer.json()["output"]
    numbers = [math.nan if number is None else float(number) for number in output]
    if not case.is_right(numbers):
        raise TrialError(f"{which} is {numbers}, and right is {case.right}")


def _size(site: Site, name: str) -> tuple[int, int]:
    """The most memory in bytes, and the most threads, of a server's process."""
    found = []
    for unit in site.servers(name):
        process = site.host.output(["systemctl", "show", "--value", "--property=MainPID", unit])
        lines = site.host.read(f"/proc/{process}/status").splitlines()
        values = dict(line.split(":", 1) for line in lines if ":" in line)
        found.append((int(values["VmHWM"].split()[0]) * 1024, int(values["Threads"])))
    return max(memory for memory, _ in found), max(threads for _, threads in found)


def _remove(site: Site, case: Case) -> None:
    """Take the model out of Production, and wait until nothing of it is left."""
    site.registry.promote(case.name, 1, "Archived")
    site.wait_until_gone(case.name)
    empty = f"test -z \"$(ls -A {ENVIRONMENTS} | grep -v '[.]lock$')\""
    site.host.wait_for(lambda: site.host.run(empty, check=False).returncode == 0 or None, 120, "no environment")
    site.host.run(["rm", "-rf", f"/home/{SCIENTIST}/{case.name}"], timeout=120)


def _last_line(error: HostError) -> str:
    """The last line that a command printed: programs of this project say there what is wrong."""
    return str(error).rstrip().rpartition("\n")[2]
