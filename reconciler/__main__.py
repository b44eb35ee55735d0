"""`python -m reconciler` is the command."""

from reconciler.cli import app

app(prog_name="reconciler")
