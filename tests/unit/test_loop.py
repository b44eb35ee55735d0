"""The loop's own rhythm: it rests in proportion to what a pass took, and a stop or a person ends the rest."""

import threading
import time
from types import SimpleNamespace
from typing import cast

import pytest

from reconciler.daemon import loop as module
from reconciler.daemon.loop import LONGEST_REST, REST, TIMER_JITTER, Loop
from reconciler.daemon.one_pass import Reconciler
from reconciler.settings.model import Settings


class Clock:
    """Monotonic time that goes on only in passes and in rests."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))


def loop_over(clock: Clock, seconds: float, acts: list[bool]) -> Loop:
    """A loop over a reconciler whose passes take so long; `acts` says of each whether it did something."""

    def one_pass() -> bool:
        clock.now += seconds
        return acts.pop(0)

    reconciler = SimpleNamespace(
        one_pass=one_pass,
        next_deadline=lambda: None,
        settings=Settings(),
        on_progress=lambda _call: None,
        publisher=SimpleNamespace(sentence=""),
    )
    return Loop(cast(Reconciler, reconciler), Settings)


@pytest.mark.parametrize(("seconds", "rest"), [(0.01, 0.01 * REST), (60.0, LONGEST_REST)])
def test_it_rests_as_long_as_the_last_pass_deserves(
    monkeypatch: pytest.MonkeyPatch, seconds: float, rest: float
) -> None:
    """Not as all passes of the row: those that did something had to be."""
    clock = Clock(monkeypatch)
    loop = loop_over(clock, seconds, [True, True, False])
    loop._pass_until_done()
    assert loop._tired == pytest.approx(rest)


def test_the_timer_comes_before_its_own_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or each of the two would cause a pass, one after the other."""
    loop = loop_over(Clock(monkeypatch), 0.001, [False])
    assert loop._pass_until_done() > Settings().reconcile.interval + TIMER_JITTER


def test_what_wakes_it_in_its_rest_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next wait ends at once."""
    loop = loop_over(Clock(monkeypatch), 0.001, [False])
    loop._pass_until_done()
    loop.wake()
    loop._rest()
    began = time.monotonic()
    loop._wait(600)
    assert time.monotonic() - began < 300  # it did not wait for its patience to end


def test_a_stop_ends_its_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that ends late is killed."""
    loop = loop_over(Clock(monkeypatch), 1000.0, [False])
    monkeypatch.setattr(module, "LONGEST_REST", 600.0)
    loop._pass_until_done()
    threading.Timer(0.05, loop.stop).start()
    began = time.monotonic()
    loop._rest()
    assert time.monotonic() - began < 300  # it did not rest to the end


def test_a_persons_request_ends_its_rest_and_starts_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody waits for the answer: on a host with many models the rest would be most of that time."""
    loop = loop_over(Clock(monkeypatch), 600.0, [False])
    monkeypatch.setattr(module, "LONGEST_REST", 600.0)
    loop._pass_until_done()
    threading.Timer(0.05, loop.hurry).start()
    began = time.monotonic()
    loop._rest()
    loop._wait(600.0)
    assert time.monotonic() - began < 300
