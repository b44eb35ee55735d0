"""The command line: `serve` brings containers up and serves; `down` takes away what is left."""

import argparse
import logging

from containerserver import options as command_line
from containerserver.compose_command import Compose
from containerserver.container_watch import EndedError
from containerserver.engine import Engine, EngineError
from containerserver.project_file import path_of
from containerserver.serve import Surroundings, serve
from modelserver.errors import CannotServeError, one_line
from modelserver.systemd import journal
from modelserver.systemd.notify import Notifier
from modelserver.systemd.standby import Standby
from modelserver.systemd.watchdog import Watchdog

EX_CONFIG = 78
"""The release cannot be served as it is; the unit has RestartPreventExitStatus=78."""
_LAST_SECONDS = 5


def main(standby: Standby, arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status; `standby` catches its signals already."""
    what, given = command_line.parse(arguments)
    journal.log_to_standard_error()
    notifier = Notifier.from_environment()
    try:
        if what == "serve":
            around = Surroundings(standby, notifier, Watchdog.from_environment(notifier))
            serve(command_line.server_options(given), around)
        else:
            _down(given)
    except (CannotServeError, EngineError, EndedError) as error:
        sentence = one_line(str(error))
        notifier.status(sentence)
        logging.getLogger("modelserver").error("%s", sentence)  # noqa: TRY400 - the sentence says all
        return EX_CONFIG if isinstance(error, CannotServeError) else 1
    return 0


def _down(given: argparse.Namespace) -> None:
    """Take down what a server left that was killed; there is nothing where it ended by itself."""
    engine, project = Engine(command_line.engine_of(given)), command_line.project_of(given)
    if not engine.has_any_of(project):
        return
    file = path_of(given.directory)
    try:
        if file.exists():
            Compose(engine.path).down(project, file, _LAST_SECONDS)
    finally:
        engine.remove_all_of(project)
