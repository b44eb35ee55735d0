"""The command `reconciler` as its own tree of commands tells of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer.main

from reconciler.cli import exit as exits
from reconciler.cli.main import app
from reconciler.core.state.verdict import Verdict
from tests.reference.text import MADE, fold, item, markdown, page
from tests.reference.words import words


@dataclass(frozen=True)
class Option:
    """What can be typed behind a command."""

    typed: str
    """All its forms, such as `--lines, -n INTEGER`."""
    about: str


@dataclass(frozen=True)
class Command:
    """One command."""

    name: str
    usage: str
    about: tuple[str, ...]
    """Paragraphs."""
    options: tuple[Option, ...]
    daemon: bool
    """Whether systemd runs it, and nobody types it."""


_Parameter = Any
"""A parameter of typer's own copy of click, which has no types."""


def summary() -> str:
    """Say in a sentence what the command is for."""
    return str(_group().help)


def general_options() -> tuple[Option, ...]:
    """List what can be typed before a command."""
    return tuple(_option(one) for one in _group().params if one.opts[0].startswith("-"))


def commands() -> tuple[Command, ...]:
    """List all commands, as `reconciler --help` does: those that systemd runs come last."""
    group = _group()
    listed = [_command(name, group.commands[name]) for name in group.list_commands(None)]
    return tuple(sorted(listed, key=lambda one: one.daemon))


def exit_statuses() -> list[tuple[str, str]]:
    """List the exit statuses of all commands but `status --check`, with their meaning."""
    told = [("0", "The command did what was asked, or there is nothing to do.")]
    return told + [(str(getattr(exits, name)), about) for name, about in words(exits).items()]


def verdicts() -> list[tuple[str, str]]:
    """List the exit statuses of `status --check`."""
    return [(str(int(Verdict[name])), about) for name, about in words(Verdict).items()]


def _group() -> Any:
    return typer.main.get_command(app)


def _command(name: str, command: Any) -> Command:
    shown = [one for one in command.params if not one.hidden]
    arguments = [_argument(one) for one in shown if not one.opts[0].startswith("-")]
    options = [_option(one) for one in shown if one.opts[0].startswith("-")]
    typed = ["reconciler", name, *(["[OPTIONS]"] if options else []), *(one.typed for one in arguments)]
    about = tuple(" ".join(paragraph.split()) for paragraph in command.help.split("\n\n"))
    is_daemon = isinstance(command.rich_help_panel, str)
    return Command(name, " ".join(typed), about, (*arguments, *options), is_daemon)


def _argument(one: _Parameter) -> Option:
    typed = one.metavar if one.required or one.metavar.startswith("[") else f"[{one.metavar}]"
    return Option(typed, one.help)


def _option(one: _Parameter) -> Option:
    takes = "" if one.is_flag else f" {one.metavar or 'NUMBER'}"
    return Option(", ".join(one.opts) + takes, one.help)


def command_page() -> str:
    """Write docs/reference/command.md."""
    typed = [one for one in commands() if not one.daemon]
    return page(
        "# The command `reconciler`",
        MADE,
        fold(
            f"{summary()} [cli.md](../cli.md) shows what its tables look like, [rollouts.md]"
            "(../rollouts.md#what-operators-can-ask-for) says what the requests of operators do. On an installed host "
            "this page is `man reconciler`."
        ),
        _items(general_options()),
        *(block for one in typed for block in _section(one)),
        "## Run by systemd",
        *(block for one in commands() if one.daemon for block in _section(one, "###")),
        "## Exit status",
        [item(f"`{number}`", markdown(about)) for number, about in exit_statuses()],
        "`reconciler status --check` exits as a plugin of Nagios, Icinga or Checkmk does:",
        [item(f"`{number}`", markdown(about)) for number, about in verdicts()],
    )


def _section(one: Command, level: str = "##") -> Iterator[str]:
    yield f"{level} reconciler {one.name}"
    yield f"```\n{one.usage}\n```"
    for paragraph in one.about:
        yield fold(markdown(paragraph))
    yield _items(one.options)


def _items(options: tuple[Option, ...]) -> str:
    return "\n".join(item(f"`{one.typed}`", markdown(one.about)) for one in options)
