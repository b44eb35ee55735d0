"""A client that asks one deployment for predictions all the time, and remembers what was not the right answer."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx

from tests.host import Host

PAUSE = 0.2
"""Seconds between two requests: it is there to notice, not to load."""


class Steady:
    """Requests of one client, one after the other."""

    def __init__(self, url: str, answer: tuple[Sequence[float], str]) -> None:
        """Begin to ask; `answer` is what the model gives."""
        self.answers = 0
        self.failures: list[str] = []
        self._url = url
        self._right = {"output": list(answer[0]), "diagnosis": answer[1]}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._end.set()
        self._thread.join()

    @contextmanager
    def unharmed(self, host: Host) -> Iterator[None]:
        """Hold that every request is answered rightly, and at least one more after what is done meanwhile."""
        yield
        answers = self.answers
        host.wait_for(lambda: self.answers > answers or self.failures, 60, "a prediction")
        assert not self.failures

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60, trust_env=False) as client:
            while not self._end.wait(PAUSE):
                try:
                    answer = client.post("/predict", files={"metadata": (None, "{}")})
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    continue
                if answer.status_code == 200 and answer.json() == self._right:
                    self.answers += 1
                else:
                    self.failures.append(f"{answer.status_code} {answer.text}")
