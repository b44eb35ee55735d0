"""The page on speed says what the committed measurements say, and nothing else."""

from pathlib import Path

import pytest

from tests.bench import page
from tests.bench.figures import OURS, Figure, Goal
from tests.bench.load import read

DOCS = Path(__file__).parents[2] / "docs"
PEER = "mlflow models serve 3.17.2"
PRINTED = """Running 3s test @ http://127.0.0.1:24100/invocations
  1 threads and 8 connections
  3013 requests in 3.00s, 509.43KB read
Requests/sec:   1003.99
FOUND {"requests": 3013, "microseconds": 3001012, "bad": 2, "p50": 7421.000000, "p99": 13130.000000, "p999": 20000.0}
"""


def test_the_committed_page_is_made_of_the_committed_measurements(tmp_path: Path) -> None:
    """`./dev bench --from` writes both again."""
    for name in ("benchmarks.json", "benchmarks-notes.md"):
        (tmp_path / name).write_text((DOCS / name).read_text())
    page.write(tmp_path / "benchmarks.json", tmp_path)
    for name in ("benchmarks.md", "benchmarks-rate.svg"):
        assert (tmp_path / name).read_text() == (DOCS / name).read_text(), f"run ./dev bench --from: {name} is old"


def test_wrk_is_read_with_its_errors() -> None:
    """Latencies in milliseconds."""
    load = read(PRINTED)
    assert (round(load.requests_per_second), load.bad, load.p50, load.p99, load.p999) == (1004, 2, 7.421, 13.13, 20.0)
    with pytest.raises(ValueError, match="cannot read the output of wrk"):
        read("unable to connect to 127.0.0.1:24100 Connection refused\n")


@pytest.mark.parametrize(
    ("goal", "expected"),
    [
        (Goal("row", 4.0, is_lowest=True, peer=PEER), (True, 5.0)),
        (Goal("row", 5.5, is_lowest=True, peer=PEER), (False, 5.0)),
        (Goal("row", 4.0, is_lowest=False, peer=PEER), (False, 5.0)),
        (Goal("row", 500.0, is_lowest=True), (True, 500.0)),
    ],
)
def test_goals_are_judged_by_medians(goal: Goal, expected: tuple[bool, float]) -> None:
    """In the row's unit, or as a ratio to a peer, which is never ourselves."""
    found = [Figure("row", OURS, "1/s", (400.0, 500.0, 9000.0)), Figure("row", PEER, "1/s", (99.0, 100.0, 101.0))]
    assert page.reached(goal, found) == expected
    text = page.render(found, [goal], "A machine.", "")
    assert ("**not reached**" in text) is not expected[0]
    in_its_unit = "it is 5, " if goal.peer else "at least 500 1/s; it is 500 1/s, "
    assert in_its_unit in text.replace("\n", " ")


def test_a_row_that_is_measured_again_replaces_the_old_one() -> None:
    """Others stay."""
    old = [Figure("a", OURS, "s", (1.0,)), Figure("a", "gone", "s", (1.0,)), Figure("b", OURS, "s", (2.0,))]
    assert page.merged(old, [Figure("a", OURS, "s", (3.0,))]) == [Figure("a", OURS, "s", (3.0,)), old[2]]


def test_measurements_can_be_written_and_read() -> None:
    """Without a loss."""
    figures, goals = [Figure("a", OURS, "s", (1.0, 2.5), "as a user has it")], [Goal("a", 2.0, is_lowest=False)]
    assert page.read(page.document(figures, goals, "A machine.")) == (figures, goals, "A machine.")
