"""Where `reconciler plan` gets its plan: the running reconciler makes it, else the command does.

The reconciler has read all units already and knows what it waits for, so its plan is quick and says when something is
tried again. It reads, plans and answers in one pass: no plan is made from what was read before that.
"""

import os
import subprocess
import time
from pathlib import Path

from reconciler.adapters.lean import leave_out_rich
from reconciler.cli.exit import FAILED, MISUSED, refuse
from reconciler.core.state.plan_document import ShownPlan

SERVICE = "mlflow-reconciler.service"
SETTINGS_IN_ENVIRONMENT = "MLFLOW_RECONCILER_"
"""How variables begin that change settings, or name another file."""


def read_shown_plan(config: Path | None) -> ShownPlan:
    """Return the plan. The command ends where none can be made.

    With other settings than the host's (`config`, or the environment) the command plans by itself.
    """
    leave_out_rich()  # nothing here prints by it, and it would be imported with the log
    has_other_settings = config is not None or any(name.startswith(SETTINGS_IN_ENVIRONMENT) for name in os.environ)
    if not has_other_settings and _reconciler_runs():
        shown = _ask()
        if shown is not None:
            return shown
    return _plan_here(config)


def _reconciler_runs() -> bool:
    """Whether the reconciler runs: one that does not would be waited for in vain."""
    # systemd's own program takes 10 ms; a connection of our own takes longer to import.
    arguments = ["systemctl", "is-active", "--quiet", SERVICE]
    try:
        return subprocess.run(arguments, check=False, stderr=subprocess.DEVNULL).returncode == 0  # noqa: S603 - ours
    except OSError:
        return False


def _ask() -> ShownPlan | None:
    """Have the reconciler plan; None where it does not answer, or is of another version that cannot."""
    from reconciler.core.operators.requests import Request
    from reconciler.core.operators.verbs import Verb
    from reconciler.files.plan_file import NoPlanError, read_plan
    from reconciler.files.request_client import NoAnswerError, RequestClient

    request = Request(verb=Verb.PLAN, by="reconciler plan")
    try:
        answer = RequestClient().ask(f"{time.time_ns()}-{os.getpid()}", request)
        return read_plan() if answer.ok else None
    except (NoAnswerError, NoPlanError, OSError):
        return None


def _plan_here(config: Path | None) -> ShownPlan:
    """Plan as the reconciler would in its first pass after a start."""
    from reconciler.daemon import wiring
    from reconciler.ports.systemd import SystemdError
    from reconciler.settings.load import SettingsError, load

    try:
        settings = load(config)
    except SettingsError as error:
        refuse(str(error), MISUSED)
    if settings.kubernetes.image:
        refuse(f"cannot plan: {SERVICE} has the login to the cluster and does not answer; restart it", FAILED)
    try:
        reconciler = wiring.reconciler(settings)
        # Only the daemon knows whether systemd has read the unit files: otherwise each plan would begin with a reload.
        reconciler.notes.memory = reconciler.notes.memory.without_reload()
        seen = reconciler.observe()
        reading = reconciler.snapshots.read(keep=False)
        reconciler.take_note(reading, seen)
        return reconciler.show(reading, seen).model_copy(update={"by": "command"})
    except (SystemdError, OSError) as error:
        refuse(f"cannot plan: {error}", FAILED)
