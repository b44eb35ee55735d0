"""Clients that never pause, and what became of each of their requests."""

from __future__ import annotations

import threading
from collections import Counter

import httpx

from tests.modelserver.process import PATIENCE, wait_until


class Load:
    """Clients that never pause: some connect anew for each request, some keep their connection."""

    def __init__(self, base_url: str, uds: str) -> None:
        """Talks to one server over both of its sockets."""
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._base_url = base_url
        self._threads = [
            threading.Thread(target=self._ask, args=(keep, path))
            for keep in (False, True)
            for path in (None, None, uds)
        ]

    @property
    def clients(self) -> int:
        """How many of them there are; each waits for one answer at a time."""
        return len(self._threads)

    def __enter__(self) -> Load:
        """Starts asking."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops asking."""
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def wait_for_more(self, release: str) -> None:
        """Waits until `release` has given more answers."""
        enough = self.answers[release] + 50
        wait_until(lambda: self.answers[release] > enough, f"{release} serves")

    def _ask(self, keep: bool, uds: str | None) -> None:
        limits = httpx.Limits(max_keepalive_connections=1 if keep else 0)
        transport = httpx.HTTPTransport(uds=uds, limits=limits)
        with httpx.Client(base_url=self._base_url, transport=transport, timeout=PATIENCE) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post("/predict", files={"metadata": (None, "{}"), "frase": b"x" * 9000})
                    if answer.is_success:
                        self.answers[answer.headers["model-release"]] += 1
                    else:
                        self.failures.append(f"{answer.status_code}: {answer.text}")
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
