"""Lets `python -I -m modelserver` run the command line."""

import sys

from modelserver.cli import main

sys.exit(main())
