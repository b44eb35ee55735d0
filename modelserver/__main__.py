"""Lets `python -I -m modelserver` run the command line."""

import sys

from modelserver.systemd.standby import Standby

standby = Standby()
standby.catch()

from modelserver.cli import main  # noqa: E402 - takes long enough for a signal to arrive that would kill the process

status = main(standby)
standby.ignore()
sys.exit(status)
