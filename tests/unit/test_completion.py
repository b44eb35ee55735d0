"""What the tab key does in each shell, with the files that ./dev install gives to it."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.unit.test_status_page import STATUS

FILES = Path(__file__).resolve().parents[2] / "systemd" / "completion"
SECONDS = 60
# The command, on a host whose status has the deployment `pauses`.
COMMAND = f"""#!{sys.executable}
import sys
from pathlib import Path
sys.path.insert(0, {str(FILES.parents[1])!r})
from reconciler.core.state.status import Status
from reconciler.files import status_file
status_file.read_status = lambda: Status.model_validate_json(Path(__file__).with_name("status.json").read_bytes())
from reconciler.cli.main import app
app(prog_name="reconciler")
"""
TYPED = [("reconciler rollb", "rollback"), ("reconciler status pa", "pauses"), ("reconciler logs --fol", "--follow")]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What a shell needs to find the command."""
    (tmp_path / "status.json").write_text(STATUS.model_dump_json(by_alias=True))
    command = tmp_path / "reconciler"
    command.write_text(COMMAND)
    command.chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    return {"PATH": path, "HOME": str(tmp_path), "TERM": "vt100", "LANG": "C.UTF-8"}


class Terminal:
    """A shell in a terminal of its own."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        """Start it."""
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
        )
        os.close(theirs)
        self.seen = ""

    def type(self, text: str) -> None:
        """Type, and forget what was seen."""
        self.seen = ""
        os.write(self._ours, text.encode())

    def wait_for(self, text: str) -> None:
        """Read until a text is seen."""
        end = time.monotonic() + SECONDS
        while text not in self.seen:
            readable, _, _ = select.select([self._ours], [], [], max(0.0, end - time.monotonic()))
            assert readable, f"{text!r} never came; there is {self.seen!r}"
            self.seen += os.read(self._ours, 4096).decode(errors="replace")

    def close(self) -> None:
        """End the shell."""
        self._process.kill()
        self._process.wait()
        os.close(self._ours)


def check(terminal: Terminal) -> None:
    """Type the beginning of each word and the tab key, and see the whole word."""
    try:
        for typed, word in TYPED:
            terminal.wait_for("ready> ")
            terminal.type(f"{typed}\t")
            terminal.wait_for(word[len(typed.split()[-1]) :])
            terminal.type("\x15\n")
    finally:
        terminal.close()


def test_bash_completes(environment: dict[str, str]) -> None:
    """Commands, deployments and options."""
    rc = Path(environment["HOME"]) / "rc"
    rc.write_text(f". {FILES / 'reconciler.bash'}\nPS1='ready> '\n")
    check(Terminal(["bash", "--noprofile", "--rcfile", str(rc), "-i"], environment))


def test_zsh_completes(environment: dict[str, str], tmp_path: Path) -> None:
    """With the first press of the key, as a function of the completion system."""
    if shutil.which("zsh") is None:
        pytest.skip("needs Debian's package zsh")
    lines = (
        f"fpath=({FILES} $fpath)",
        "autoload -Uz compinit",
        "compinit -u -D",
        "unsetopt zle_bracketed_paste",
        "PS1='ready> '",
    )
    (tmp_path / ".zshrc").write_text("\n".join(lines) + "\n")
    check(Terminal(["zsh", "-d", "-i"], environment))


def test_fish_completes(environment: dict[str, str]) -> None:
    """As fish itself looks for the file of a command; it has a way to ask without a terminal."""
    if shutil.which("fish") is None:
        pytest.skip("needs Debian's package fish")
    folder = Path(environment["HOME"]) / ".config" / "fish" / "completions"
    folder.mkdir(parents=True)
    shutil.copyfile(FILES / "reconciler.fish", folder / "reconciler.fish")
    for typed, word in TYPED:
        asked = ["fish", "--command", f"complete --do-complete '{typed}'"]
        done = subprocess.run(asked, capture_output=True, text=True, env=environment, check=True, timeout=SECONDS)
        assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [word]
