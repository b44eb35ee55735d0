"""`reconciler status --watch`."""

import pytest

from reconciler.cli.status.live import screen, watch


def test_it_draws_until_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    """On a screen of its own; what was there before comes back, with the last drawing below it."""
    drawn: list[str] = []

    def draw() -> list[str]:
        drawn.append(f"drawing {len(drawn) + 1}")
        return drawn[-1:]

    def pause(seconds: float) -> None:
        assert seconds == 1.0
        if len(drawn) == 3:
            raise KeyboardInterrupt

    watch(draw, pause)
    assert drawn == ["drawing 1", "drawing 2", "drawing 3"]
    out = capsys.readouterr().out
    assert out.startswith("\x1b[?1049h")
    assert [number for number in "123" if f"drawing {number}\x1b[K" in out] == ["1", "2", "3"]
    assert out.endswith("\x1b[?25h\x1b[?1049ldrawing 3\n")


def test_the_former_screen_comes_back_after_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """Else the error would be lost, and the cursor with it."""

    def draw() -> list[str]:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        watch(draw)
    assert capsys.readouterr().out.endswith("\x1b[?25h\x1b[?1049l")


def test_a_small_window_says_what_it_leaves_out() -> None:
    """A line too many would scroll the head away."""
    assert screen(["a", "b"], 2) == "\x1b[Ha\x1b[K\nb\x1b[K\x1b[J"
    shown = screen([str(number) for number in range(30)], 10).split("\n")
    assert len(shown) == 10
    assert shown[-1].startswith("… and 21 more lines")
