"""The command `reconciler adopt`; adoption.py does what it asks for."""

from typing import Annotated

import typer

from reconciler.cli.operator_commands import Name

app = typer.Typer()


@app.command()
def adopt(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without a question.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Give back what was adopted.")] = False,
) -> None:
    """Have a deployment answer over NATS in the place of docker-compose-model@NAME.service, which was made by hand.

    Shows what is to be done, and asks. No request is lost. The old unit is kept and can be put back.
    """
    from reconciler.cli.adoption import change

    change(name, yes, undo)
