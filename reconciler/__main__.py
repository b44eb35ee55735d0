"""`python -m reconciler` is the command."""

import os

# Looking for plugins of pydantic's costs more than reading a status, and they would run as root.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

from reconciler.cli.main import app

app(prog_name="reconciler")
