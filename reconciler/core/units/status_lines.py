"""The status lines that pass between programs: how each is written, and how it is read back.

A step or a server tells systemd one line, and the reconciler reads it from there. The reader does not trust the writer:
a line of another form tells nothing. The model server imports nothing of the reconciler and writes its lines itself;
tests/unit/test_status_lines.py compares them with what is read here.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from reconciler.core.units.logged_example import LoggedExample
from reconciler.core.units.names import ENVIRONMENT_PATTERN, HOST_ENVIRONMENT

# modelserver/ has copies of the next two, since it imports nothing of the reconciler.
STANDING_BY = "standing by"
"""How a server in standby begins its line; docs/serving.md has the whole of it."""
CANNOT_LISTEN = "cannot listen: "
"""How a server begins to say that it was not handed its sockets."""
CANNOT_REACH_ENGINE = "cannot reach the container engine"
"""How a server in containers begins to say that the host's engine does not answer."""
CANNOT_SERVE_FILES = "cannot serve these files: "
"""How the check before a server's start begins to say that the files are not those that were verified."""
# Every sentence of ours about a failure begins with this; what else a process says of itself may be a passing state.
_CANNOT = "cannot "
_CANNOT_READ_REGISTRY = "cannot read the registry"

BRIDGE_STARTS = "starting"
"""Stands in for the line of a bridge to NATS that has not said anything yet."""
CONNECTED = "connected"
"""How a bridge begins its line that answers whatever comes."""
BESIDE = "beside"
"""How a bridge begins its line that leaves requests to an older server as long as that one answers them."""
_BY_OTHER = re.compile(r"an older server, which answered ([0-9]{1,15}) requests")
_BRIDGE_ANSWERS = (CONNECTED, BESIDE)
"""How a bridge begins its line that has its broker and its bucket; reconciler/bridge/ writes it."""

# Each pattern is bound to the end of the line and takes no more than it needs: before it there may be words of others.
_COUNTERS = re.compile(r"; requests=([0-9]{1,15}) errors=([0-9]{1,15})\Z")
_LAST_ERROR = re.compile(
    r"; last error: (?:(an answer that breaks the contract of /predict)"
    r"|([A-Za-z]{1,60})(?: \([^;]{1,200} line ([0-9]{1,6}), in [^;]{1,200}\))?|[^;]{1,200})"
    r"; requests=[0-9]{1,15} errors=[0-9]{1,15}\Z"
)


def _of_python(kind: type[BaseException]) -> Iterator[str]:
    """Yield the names of an exception of Python's own and of those below it."""
    yield kind.__name__
    for below in kind.__subclasses__():
        if below.__module__ == kind.__module__:
            yield from _of_python(below)


_EXCEPTIONS = frozenset(_of_python(BaseException))
_ENVIRONMENT = re.compile(rf"; environment=({ENVIRONMENT_PATTERN}|{HOST_ENVIRONMENT})\Z")
_FILES = re.compile(r"; files=([0-9a-f]{64}); environment=[0-9a-z]+\Z")
_EXAMPLE = re.compile(rf"; example=({'|'.join(LoggedExample)}); files=[0-9a-f]{{64}}; environment=[0-9a-z]+\Z")
_BUILT = re.compile(r"; content=([0-9a-f]{64})\Z")


class Counters(NamedTuple):
    """How many requests a server says it has answered, and how many of them with an error of its own."""

    requests: int = 0
    errors: int = 0


def fetched(words: str, example: LoggedExample, files: str, environment: str) -> str:
    """Write the line of a fetch that is done.

    `files`: the SHA-256 over all files, in hex. `environment`: the id of the one that the model needs, or `host`.
    """
    return f"{words}; example={example}; files={files}; environment={environment}"


def verified(words: str, environment: str) -> str:
    """Write the line of a verification that is done. The reconciler reads nothing of it: success is the answer."""
    return f"{words}; environment={environment}"


def read_files(line: str) -> str | None:
    """Read the digest over all files that a fetch has fetched; None when it reports none.

    64 hex digits, or nothing: the digest becomes the content of a file of root's.
    """
    match = _FILES.search(line)
    return match[1] if match else None


def read_environment(line: str) -> str | None:
    """Read which environment a fetch says that the model needs; None when it says nothing of it.

    It is a digest or `host`, so that it can become a part of a unit's name and of a path.
    """
    match = _ENVIRONMENT.search(line)
    return match[1] if match else None


def read_example(line: str) -> LoggedExample | None:
    """Read whether a fetch found an example in the files; None when it says nothing of it.

    The fetch of an earlier version of this product does not.
    """
    match = _EXAMPLE.search(line)
    return LoggedExample(match[1]) if match else None


def built(words: str, content: str) -> str:
    """Write the line of a build that is done; `content`: the SHA-256 over all files, in hex."""
    return f"{words}; content={content}"


def read_built(line: str) -> str | None:
    """Read the digest over all files that a build has built; None when it reports none."""
    match = _BUILT.search(line)
    return match[1] if match else None


def read_counters(line: str) -> Counters:
    """Read what a server has counted; zeros when its line has no counters.

    The model's process writes them: they can make a release of its own fail its soak, and nothing else.
    """
    match = _COUNTERS.search(line)
    if match is None:
        return Counters()
    requests, errors = match.groups()
    return Counters(int(requests), int(errors))


def read_last_error(line: str) -> str:
    """Read what kind of error a server last told of its release, such as `ZeroDivisionError in line 10`; "" for none.

    The model's process writes the line, and it may have seen a patient's data. So nothing of it is repeated but an
    exception of Python's own by its name, and a number: names of others, of files and of functions can be made up.
    """
    match = _LAST_ERROR.search(line)
    if match is None:
        return ""
    contract, name, number = match.groups()
    if contract:
        return contract
    kind = name if name in _EXCEPTIONS else "an exception that is not Python's own"
    return f"{kind} in line {int(number)}" if number else kind


def bridge_trouble(line: str) -> str:
    """Say what keeps a bridge from answering, of its line; "" when nothing does."""
    state, _, _counters = line.partition("; answered=")
    answers = state.startswith(_BRIDGE_ANSWERS)
    return "" if answers else state


def read_answered_by_other(line: str) -> int:
    """Read how many requests a bridge left to an older server that answered them; 0 where it says nothing of it."""
    match = _BY_OTHER.search(line)
    return int(match[1]) if match else 0


def stands_by(line: str) -> bool:
    """Whether a server says that it is loaded and accepts no requests, or a bridge that it leaves them to another."""
    # The counters follow, as in any line of a server.
    return line.startswith((STANDING_BY, BESIDE))


def says_why_it_failed(line: str) -> bool:
    """Whether a line is a sentence of ours about a failure.

    It is asked to choose the words for people. No release is accepted or rejected by it.
    """
    return line.startswith(_CANNOT)


def cannot_read_registry(address: str, why: str) -> str:
    """Write the line of an agent that could not read the registry."""
    return f"{_CANNOT_READ_REGISTRY} at {address}: {why}"


def is_about_the_registry(line: str) -> bool:
    """Whether an agent's line is about the registry, and not about this host."""
    return line.startswith(_CANNOT_READ_REGISTRY)


def why_no_registry(line: str) -> str:
    """Say why nothing fresh comes from the registry, of what the agent, or the reconciler of the agent, said."""
    return line if is_about_the_registry(line) else f"the registry is not reachable; {line}"


def blames_the_host(line: str) -> bool:
    """Whether a server says that it failed for something that the host did to it.

    The model's process can say so, too. See `failures.may_be_the_hosts_fault`.
    """
    return line.startswith((CANNOT_SERVE_FILES, CANNOT_LISTEN, CANNOT_REACH_ENGINE))
