"""Follows one container: its output goes into the journal, its end and its health are told."""

import asyncio
import contextlib
import sys
import threading
from collections import deque

from containerserver.engine import Container, EngineError, State
from modelserver.errors import CannotServeError, one_line

_HEALTH_EVERY = 5.0
"""Seconds; the engine itself asks a container more seldom."""
_LONGEST_LINE = 48 * 1024
"""Bytes; the journal cuts a line here, too."""
EX_CONFIG = 78
"""How our own server in a container, and then this process, says that its release cannot be served as it is."""
_KILLED = 128 + 9
_SENTENCE = "cannot "


class EndedError(Exception):
    """The container ended, or is not well; the message is the whole sentence."""


class ContainerWatch:
    """Watches a container in threads of its own, which end with it or with this process."""

    def __init__(self, container: Container, release: str, *, is_own: bool) -> None:
        """Begin to watch; `is_own`: our own server runs in it, whose last words are a sentence."""
        self._container = container
        self._release = release
        self._is_own = is_own
        self._last_lines: deque[str] = deque(maxlen=20)
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[State | EngineError] = self._loop.create_future()
        self._copying = threading.Thread(target=self._copy_output, daemon=True)
        self._copying.start()
        threading.Thread(target=self._wait, daemon=True).start()

    async def ended(self) -> None:
        """Wait until the container ends or is not well. Always raises: EndedError, EngineError or CannotServeError."""
        while True:
            done, _ = await asyncio.wait({self._ended}, timeout=_HEALTH_EVERY)
            if done:
                break
            if await self._is_unhealthy():
                raise EndedError(f"cannot keep {self._release}: its container is unhealthy, says the engine")
        state_or_error = self._ended.result()
        if isinstance(state_or_error, EngineError):
            raise state_or_error
        await asyncio.to_thread(self._copying.join, 5)
        raise self._why(state_or_error)

    async def _is_unhealthy(self) -> bool:
        # An engine that is busy says nothing of the container; that it is gone, the thread that waits is told.
        with contextlib.suppress(EngineError):
            return (await asyncio.to_thread(self._container.state)).health == "unhealthy"
        return False

    async def is_healthy(self) -> bool:
        """Whether it runs, and is healthy where the engine asks it."""
        state = await asyncio.to_thread(self._container.state)
        return state.is_running and state.health in ("", "healthy")

    def _why(self, state: State) -> Exception:
        said = next((line for line in reversed(self._last_lines) if line.startswith(_SENTENCE)), "")
        if self._is_own and state.exit_code == EX_CONFIG and said:
            return CannotServeError(said)
        if state.is_out_of_memory:
            how = "was killed for using more memory than it may; raise deploy.memory_max or its tag"
        elif state.exit_code == _KILLED:
            how = "was killed (code 137)"
        else:
            how = f"ended with code {state.exit_code}"
        last = f"; it last said: {self._last_lines[-1]}" if self._last_lines and state.exit_code != _KILLED else ""
        return EndedError(one_line(f"cannot keep {self._release}: its container {how}{last}"))

    def _copy_output(self) -> None:
        rest = b""
        with contextlib.suppress(EngineError):  # the other thread tells of it
            for piece in self._container.output():
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    self._copy_line(line)
                if len(rest) > _LONGEST_LINE:
                    self._copy_line(rest)
                    rest = b""
        if rest:
            self._copy_line(rest)

    def _copy_line(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip("\r")
        self._last_lines.append(one_line(text))
        # With a priority of ours: a line of the container's could begin with another one.
        sys.stdout.write(f"<6>{text}\n")
        sys.stdout.flush()

    def _wait(self) -> None:
        end: State | EngineError
        try:
            end = self._container.wait()
        except EngineError as error:
            end = error
        with contextlib.suppress(RuntimeError):  # the loop has ended before
            self._loop.call_soon_threadsafe(self._set_ended, end)

    def _set_ended(self, end: State | EngineError) -> None:
        if not self._ended.done():
            self._ended.set_result(end)
