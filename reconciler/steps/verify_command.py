"""Runs the host's own check of a model's files, such as of a signature; only its yes counts."""

import os
import signal
import subprocess
import threading
from pathlib import Path

from reconciler.core.text.quote import one_line
from reconciler.steps.root_owned import why_not_roots
from reconciler.steps.step_report import StepError, print_line

DEADLINE = 300
"""Seconds that the check may take; less than its unit may."""
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}  # noqa: S108 - the unit's own
_TAIL = 16 * 1024


def require_yes(command: tuple[str, ...], model: Path, where: str, deadline: float = DEADLINE) -> None:
    """Run the command with the model's directory as its last argument; raises StepError unless it says yes (exit 0).

    `where` names the model version; the command gets `deadline` seconds.
    """
    others = why_not_roots(command[0])
    why = "; ".join(others) if others else _why_not(command, model, deadline)
    if why:
        raise StepError(f"cannot use {where}: the signature check {command[0]} {why}")


def _why_not(command: tuple[str, ...], model: Path, deadline: float) -> str | None:
    """Run the command; return None if it said yes, else what it did instead."""
    try:
        process = subprocess.Popen(  # noqa: S603 - the host's setting, a program of root's, without a shell
            [*command, str(model)],
            cwd="/",
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return f"cannot be run: {error.strerror}; install it, or correct fetch.verify_command"
    tail, is_late = _read_to_the_end(process, deadline)
    lines = [line for line in tail.decode(errors="replace").splitlines() if line.strip()]
    for line in lines[-20:]:
        print_line(f"{command[0]}: {line}")
    if is_late:
        return f"took longer than {deadline:g} seconds; see this unit's journal"
    if process.returncode == 0:
        return None
    last = one_line(lines[-1], 200) if lines else ""
    was_killed = process.returncode < 0
    how = f"signal {-process.returncode}" if was_killed else f"exit status {process.returncode}"
    return f"said: {last} ({how})" if last else f"said nothing but {how}"


def _read_to_the_end(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bool]:
    """Return the end of what a process says, and whether it was killed because it took longer than `deadline`."""
    late = threading.Event()

    def end() -> None:
        late.set()
        os.killpg(process.pid, signal.SIGKILL)  # with all that it started in its session

    timer = threading.Timer(deadline, end)
    timer.start()
    tail = b""
    with process:
        assert process.stdout is not None  # noqa: S101 - for the type only; it was asked for
        while chunk := process.stdout.read1(_TAIL):  # type: ignore[attr-defined]  # a BufferedReader, says the manual
            tail = (tail + chunk)[-_TAIL:]
        # Not reaped before the timer is stopped: until then its number is nobody else's.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        timer.cancel()
        timer.join()
    return tail, late.is_set()
