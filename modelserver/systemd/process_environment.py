"""Prepares the process for libraries that expect a home, before any of them is imported."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from modelserver.errors import CannotServeError

_ALWAYS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # What MLflow's own scoring server sets: type hints are enforced as for a request.
    "_MLFLOW_IS_IN_SERVING_ENVIRONMENT": "true",
}
# Where a server has no network, a look-up that waits for a time-out would only delay READY.
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
# Which directory below a scratch directory each gets. Libraries cache there, and fail or warn where it is read-only.
_CACHE_VARIABLES = {
    "HOME": "",
    "XDG_CACHE_HOME": "cache",
    "XDG_CONFIG_HOME": "config",
    "MPLCONFIGDIR": "matplotlib",
    "NUMBA_CACHE_DIR": "numba",
    "JOBLIB_TEMP_FOLDER": "joblib",
}


def prepare_process_environment(offline: bool = True) -> None:
    """Gives libraries a writable home under the temporary directory when the service has none of its own.

    `offline`: the model has no network. Call it before any library is imported. Raises CannotServeError.
    """
    # What the unit sets itself stays: a template of the host's own may know better.
    for name, value in {**_ALWAYS, **(_OFFLINE if offline else {})}.items():
        os.environ.setdefault(name, value)
    home = os.environ.get("HOME")
    if home and os.access(home, os.W_OK):
        return
    try:
        scratch = Path(tempfile.mkdtemp(prefix="modelserver-"))
        for name, folder in _CACHE_VARIABLES.items():
            (scratch / folder).mkdir(exist_ok=True)
            os.environ[name] = str(scratch / folder)
    except OSError as error:
        raise CannotServeError(
            f"cannot start: there is no writable temporary directory ({error}); give the unit PrivateTmp=yes"
        ) from error
