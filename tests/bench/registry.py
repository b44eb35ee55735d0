"""What hosts cost their registry, and what the agent costs its host."""

import os
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from reconciler.adapters.registry_mlflow import MODELS, MlflowRegistry
from tests.agent.front import Front
from tests.agent.many_models import FIRST, fill
from tests.agent.process import AgentProcess
from tests.bench.figures import OURS, Figure, Goal
from tests.mlflow_server import mlflow_server, wait_until

HOSTS, MODELS_OF_ALL, POLLS_AN_HOUR = 100, 1000, 360
NAIVE = "each model asked for"
ONE_LIST = "one list of all models"
SERVER = "hours of processor time of the MLflow server per hour, 100 hosts, 1,000 models"
MEMORY = "memory of the idle agent, 100 models"
PROCESSOR = "processor time of the agent at the default interval, 100 models"
REQUESTS, BYTES = "requests of an idle poll, 1,000 models", "bytes of the answers to an idle poll, 1,000 models"
BYTES_BEHIND_A_CACHE = "bytes of the answers to an idle poll, 1,000 models, behind a cache that sends ETags"
SELECTORS = ("alias:champion", "stage:Production")
_SAMPLE = 20
"""Models that are asked for one by one, for all of them would take minutes."""
_POLLS = 10
GOALS = (
    Goal(SERVER, 0.05, is_lowest=False, peer=NAIVE),
    Goal(MEMORY, 45.0, is_lowest=False),
    Goal(PROCESSOR, 0.1, is_lowest=False),
    Goal(REQUESTS, 2, is_lowest=False),
    Goal(BYTES, 1_024_000, is_lowest=False),
    Goal(BYTES_BEHIND_A_CACHE, 0, is_lowest=False),
)


def figures(rounds: int) -> list[Figure]:
    """Measure a real MLflow server over SQLite, and a real agent; some ten seconds for each round."""
    with registry(MODELS_OF_ALL) as uri:
        reader = MlflowRegistry(uri, 60)
        reader.read(SELECTORS)
        ours = [_hours(_server_time(lambda: reader.read(SELECTORS), 3)) for _ in range(rounds)]
        lists = [_hours(_server_time(lambda: _get(uri, MODELS, max_results=1000), 3)) for _ in range(rounds)]
        each = [_hours(_server_time(lambda: _ask_for_one(uri), _SAMPLE) * MODELS_OF_ALL) for _ in range(rounds)]
        naive = [one + other for one, other in zip(lists, each, strict=True)]
        found = [
            Figure(SERVER, OURS, "h", tuple(ours), "in front of SQLite, one worker"),
            Figure(SERVER, NAIVE, "h", tuple(naive), f"computed from {_SAMPLE} models"),
            Figure(SERVER, ONE_LIST, "h", tuple(lists), "without other versions of a stage, or those of aliases"),
            *_counted(uri),
        ]
    with registry(100) as uri:
        memory, processor = zip(*[_agent(uri) for _ in range(rounds)], strict=True)
    return [
        *found,
        Figure(MEMORY, OURS, "MB", tuple(memory), "PSS"),
        Figure(PROCESSOR, OURS, "% of a core", tuple(processor)),
    ]


def _counted(uri: str) -> Iterator[Figure]:
    for names, row in ((False, BYTES), (True, BYTES_BEHIND_A_CACHE)):
        with Front(uri, names=names) as front:
            reader = MlflowRegistry(front.uri, 60)
            reader.read(SELECTORS)
            front.seen.clear()
            reader.read(SELECTORS)
            yield Figure(row, OURS, "bytes", (front.bytes_sent(),))
            if not names:
                yield Figure(REQUESTS, OURS, "requests", (len(front.seen),))


def _agent(uri: str) -> tuple[float, float]:
    """Run an agent; return its PSS in MB, and its share of a core in percent at the default interval."""
    with tempfile.TemporaryDirectory() as directory:
        settings = f'[registry]\nuri = "{uri}"\npoll_interval = 1\nreport = false\n'
        with AgentProcess(Path(directory, "agent"), settings) as agent:
            agent.wait_for_status("read 100 models")
            process = Path(f"/proc/{agent.process.pid}")

            def poll() -> int:
                former = agent.registry_file.stat().st_mtime_ns
                return wait_until(lambda: (now := agent.registry_file.stat().st_mtime_ns) != former and now, "a poll")

            poll()
            before = _ticks(process)
            for _ in range(_POLLS):
                poll()
            used = (_ticks(process) - before) / _POLLS
            rollup = (process / "smaps_rollup").read_text().splitlines()
            pss = next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    # In MB of 1024 * 1024 bytes; a poll each ten seconds.
    return pss / 1024, 100 * used / 10


def _hours(seconds_a_poll: float) -> float:
    return seconds_a_poll * HOSTS * POLLS_AN_HOUR / 3600


def _get(uri: str, path: str, **query: object) -> bytes:
    with urllib.request.urlopen(f"{uri}{path}?{urlencode(query)}", timeout=60) as answer:  # noqa: S310 - our own server
        body: bytes = answer.read()
        return body


def _ask_for_one(uri: str) -> bytes:
    return _get(uri, "/api/2.0/mlflow/registered-models/get", name=FIRST)


def _server_time(poll: Callable[[], object], times: int) -> float:
    """Return the processor seconds that one poll takes of the server, the only child of this process by then."""
    poll()
    before = running_seconds()
    for _ in range(times):
        poll()
    return (running_seconds() - before) / times


def running_seconds() -> float:
    """Add up the processor seconds of all processes that this one has started and that run."""
    parents = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(directory.name)] = int((directory / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
    return sum(_ticks(Path(f"/proc/{one}")) for one in parents if _descends(one, parents))


def _descends(process: int, parents: dict[int, int]) -> bool:
    own = os.getpid()
    while (process := parents.get(process, 0)) > 1:
        if process == own:
            return True
    return False


def _ticks(process: Path) -> float:
    """Return the processor seconds of a process."""
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def registry(models: int) -> Iterator[str]:
    """Run a real MLflow server that has so many models; gives its address."""
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory() as directory, mlflow_server(Path(directory)) as uri:
        fill(MlflowClient(uri, uri), Path(directory), models)
        yield uri
