"""The command line: `serve` brings containers up and serves; `down` takes away what is left."""

import argparse
import logging

from containerserver import options as command_line
from containerserver.container_watch import EX_CONFIG, EndedError
from containerserver.engine import Engine, EngineError
from containerserver.project_file import path_of
from containerserver.serve import Surroundings, serve, take_down
from modelserver.errors import CannotServeError, one_line
from modelserver.systemd import journal
from modelserver.systemd.notify import Notifier
from modelserver.systemd.standby import Standby
from modelserver.systemd.watchdog import Watchdog

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
    engine, file = Engine(command_line.engine_of(given)), path_of(given.directory)
    take_down(engine, command_line.project_of(given), file, _LAST_SECONDS)
