"""Lets `python -I -m containerserver` run the command line."""

import sys

from modelserver.systemd.standby import Standby

# Before anything else is imported: until there is a handler, SIGUSR1 and SIGUSR2 kill.
standby = Standby()
standby.catch_signals()

from containerserver.cli import main  # noqa: E402 - takes long enough for a signal to arrive that would kill the process

status = main(standby)
standby.ignore_signals()
sys.exit(status)
