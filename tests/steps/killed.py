"""Run a release step again and again, each time killing it (SIGKILL) one file system action later.

`python -m tests.steps.killed STRIDE step arguments…` imports everything once, then forks a process for each kill, so
that hundreds of kills take seconds; STRIDE 3 takes every third action. It prints, for every kill, a JSON line: the
action, whether the repeated step ended well, and whether anything counted as complete right after the kill. It ends
when a step gets through unharmed.
"""

import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from reconciler.steps import build, download, environment_record, fetch, tree, verify  # noqa: F401 - so that no fork has to
from reconciler.steps import manifest as manifests
from reconciler.steps.__main__ import main

_EVENTS = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree", "subprocess.Popen"}


def kill_at(number: int, state: str, writer: int) -> None:
    """Make this process kill itself before its n-th action below `state`, after writing which one it is."""
    seen = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if not (writes or event in _EVENTS):
            return
        where = str(arguments[1] if event == "subprocess.Popen" else arguments[0])
        # What lies deeper (a package in an environment) is of one kind with its directory.
        depth = len(Path(where).relative_to(state).parts) if where.startswith(f"{state}/") else 0
        if event == "subprocess.Popen" or 1 <= depth <= 2:
            seen += 1
            if seen == number:
                os.write(writer, f"{event} {where.removeprefix(state)}"[:200].encode())
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def forked(act: Callable[[], None]) -> int:
    """Run something in a forked process; return its exit code, negative for a signal."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            act()
        except SystemExit as end:
            os._exit(int(end.code or 0))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def counts_as_complete(step: str, state: Path, arguments: list[str]) -> bool:
    """Tell whether something that is on the disk now would be used; raises when it is not whole."""
    if step == "fetch":
        if (state / manifests.MANIFEST).exists():
            verify.verify(state, None)
        return (state / manifests.MANIFEST).exists()
    return environment_record.why_incomplete(state, arguments[arguments.index("--digest") + 1]) is None


def run(stride: int, arguments: list[str]) -> None:
    """Kill at action 1, 1 + stride, … until a step gets through."""
    state = Path(os.environ["STATE_DIRECTORY"])
    for number in itertools.count(1, stride):
        reader, writer = os.pipe()

        def doomed(number: int = number, writer: int = writer) -> None:
            os.dup2(2, 1)
            kill_at(number, str(state), writer)
            main(arguments)

        code = forked(doomed)
        os.close(writer)
        action = os.read(reader, 1000).decode()
        os.close(reader)
        complete = counts_as_complete(arguments[0], state, arguments)

        def repeated() -> None:
            os.dup2(2, 1)
            main(arguments)

        again = forked(repeated)
        whole = counts_as_complete(arguments[0], state, arguments)
        told = {"action": action, "code": code, "complete": complete, "again": again, "whole": whole}
        print(json.dumps(told))  # noqa: T201 - that is its output
        if code == 0:
            return
        for leftover in state.iterdir():
            tree.remove(leftover)


if __name__ == "__main__":
    import mlflow.artifacts
    import mlflow.store.artifact.artifact_repository_registry  # noqa: F401 - so that no fork has to

    run(int(sys.argv[1]), sys.argv[2:])
