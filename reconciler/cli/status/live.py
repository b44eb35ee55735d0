"""Draws something again and again in the terminal, until somebody presses Ctrl-C."""

import sys
import time
from collections.abc import Callable, Sequence

from reconciler.cli.terminal import height

_EVERY = 1.0
"""Seconds. What is drawn tells how long ago things were, so that it changes although nothing happens."""
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
_OTHER_SCREEN, _FORMER_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


def watch(draw: Callable[[], Sequence[str]], pause: Callable[[float], None] = time.sleep) -> None:
    """Draw lines on a screen of their own until Ctrl-C, which brings the former screen back, with the last drawing."""
    lines: Sequence[str] = ()
    sys.stdout.write(_OTHER_SCREEN)
    try:
        while True:
            lines = draw()
            sys.stdout.write(screen(lines, height()))
            sys.stdout.flush()
            pause(_EVERY)
    except KeyboardInterrupt:
        pass
    finally:
        sys.stdout.write(_FORMER_SCREEN)
        sys.stdout.writelines(f"{line}\n" for line in lines)
        sys.stdout.flush()


def screen(lines: Sequence[str], rows: int) -> str:
    """Return what draws lines over the last drawing; the last row says how many did not fit."""
    shown = list(lines)
    if len(shown) > rows:
        shown = [*shown[: rows - 1], f"… and {len(shown) - rows + 1} more lines: the window is too small"]
    return _HOME + "\n".join(f"{line}{_REST_OF_LINE}" for line in shown) + _REST_OF_SCREEN
