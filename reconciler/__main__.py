"""`python -m reconciler` is the command."""

from reconciler.cli.main import app

app(prog_name="reconciler")
