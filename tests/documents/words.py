"""Asks the product's own programs whether they know the words of a command, without running it."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.util import find_spec

import typer
from typer.exceptions import TyperException

from reconciler.cli.main import app
from tests.documents.pages import CHECKOUT

# `[--to VERSION]`, `NAME …` and `--for 2h or --until TIME` are how pages and helps write what may be there.
_OPTIONAL = re.compile(r"[\[\]]|(?<!\S)(…|or)(?!\S)")
_ANY_COMMAND = "COMMAND"
_ASSIGNMENT = re.compile(r"\w+=")
_ENDS = re.compile(r"\|\|?|&&?|;|<.*|\d?>.*")
_WITH_HELP = {
    ("pipeline.py",): (sys.executable, "pipeline.py", "--help"),
    ("python3", "pipeline.py"): (sys.executable, "pipeline.py", "--help"),
    ("nats-bridge",): (sys.executable, "-m", "reconciler.bridge", "--help"),
    ("python", "-m", "modelserver", "serve"): (sys.executable, "-m", "modelserver", "serve", "--help"),
}
_OWN_OPTIONS_OF_TEST = ("--all", "--by-hand")


def complaint(text: str) -> str:
    """Say what a program of ours does not know of a command, or nothing. Commands of other programs are not judged.

    `text` may have several lines, pipes and lists; each part is judged.
    """
    return next(filter(None, map(_judge, _simple_commands(text))), "")


def _simple_commands(text: str) -> Iterator[list[str]]:
    for line in text.replace("\\\n", " ").splitlines():
        try:
            words = shlex.split(_OPTIONAL.sub(" ", line), comments=True)
        except ValueError:  # a line within quotes or of a program in another language
            continue
        command: list[str] = []
        for word in words:
            if _ENDS.fullmatch(word):
                yield command
                command = []
            elif command or not (_ASSIGNMENT.match(word) or word == "sudo"):
                command.append(word)
        yield command


def _judge(words: list[str]) -> str:
    if words[:1] == ["reconciler"]:
        return _reconciler(words[1:])
    if words[:1] == ["./dev"]:
        return _dev(words[1:])
    if words[:2] == ["python", "-m"] and words[2:3] and words[2].startswith("tests"):
        return "" if find_spec(words[2]) else f"there is no module {words[2]}"
    for program, help_command in _WITH_HELP.items():
        if tuple(words[: len(program)]) == program:
            return _options_in(_help(help_command), words[len(program) :])
    return ""


def _reconciler(words: Sequence[str]) -> str:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    parse: Callable[..., tuple[object, list[str], object]]
    try:
        context = group.context_class(group, info_name="reconciler")
        parse = group.make_parser(context).parse_args
        _, rest, _ = parse(list(words))
        if not rest or rest[0] == _ANY_COMMAND:
            return ""
        command = group.get_command(context, rest[0])
        if command is None:
            return f"reconciler has no command {rest[0]}"
        parse = command.make_parser(command.context_class(command, parent=context)).parse_args
        _, too_many, _ = parse(rest[1:])
    except TyperException as error:
        return f"reconciler: {error.format_message()}"
    return f"reconciler {rest[0]} takes no {too_many[0]}" if too_many else ""


def _dev(words: Sequence[str]) -> str:
    script = CHECKOUT.joinpath("dev").read_text()
    usage = script.partition("<<'USAGE'\n")[2].partition("\nUSAGE\n")[0]
    known = {name for label in re.findall(r"^(\w[\w |]*)\)$", script, re.MULTILINE) for name in label.split(" | ")}
    if words and words[0] not in known:
        return f"./dev has no command {words[0]}"
    # What else stands behind `test` is for pytest.
    options = [word for word in words[1:] if words[0] != "test" or word in _OWN_OPTIONS_OF_TEST]
    return _options_in(usage, options)


def _options_in(help_text: str, words: Sequence[str]) -> str:
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    unknown = [option for option in options if not re.search(rf"{option}(?![\w-])", help_text)]
    return f"its help has no {unknown[0]}" if unknown else ""


@cache
def _help(command: tuple[str, ...]) -> str:
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
