"""What ran when, and why it ended: what is taken note of, what is forgotten, and the file."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest
from structlog.testing import capture_logs

from reconciler.core.state.history import (
    MAX_RUNS,
    MAX_RUNS_OF_ONE,
    SAME_FAILURE_WITHIN,
    History,
    Run,
    Sighting,
    observed,
)
from reconciler.core.units.names import ReleaseId
from reconciler.files import history_file as history_file
from reconciler.files.audit_file import AuditFile
from reconciler.files.history_file import HistoryFile, UnusableHistoryError, read_history

START = datetime(2026, 11, 25, 12, tzinfo=UTC)
R3, R4, R4_ANEW = map(ReleaseId, ("3.00000003", "4.00000004", "4.000000ff"))
EMPTY = History(schema=1)


def at(minute: int) -> datetime:
    """A moment."""
    return START + timedelta(minutes=minute)


def serving(*names: str) -> dict[str, Sighting]:
    """Deployments that serve version 3."""
    return {name: Sighting(R3) for name in names}


class Observer:
    """Sees one host, a pass each minute."""

    def __init__(self) -> None:
        self.history = EMPTY
        self.minute = -1

    def sees(
        self,
        active: Mapping[str, ReleaseId | None],
        why: Mapping[str, str] | None = None,
        rejected: Mapping[str, Sequence[tuple[ReleaseId, str]]] | None = None,
    ) -> History:
        """One more pass."""
        self.minute += 1
        sightings = {
            name: Sighting(active.get(name), (why or {}).get(name, ""), dict((rejected or {}).get(name, ())))
            for name in (*active, *(why or {}), *(rejected or {}))
        }
        self.history = observed(self.history, sightings, at(self.minute))
        return self.history

    def rows(self, name: str = "x") -> list[tuple[str, int | None, int | None, str]]:
        """Release, minute of the begin and of the end, why."""
        return [(run.release, _minute(run.began), _minute(run.ended), run.why) for run in self.history.of(name)]


def _minute(moment: datetime | None) -> int | None:
    return None if moment is None else int((moment - START).total_seconds() // 60)


@pytest.fixture
def observer() -> Observer:
    """A host on which nothing ran yet."""
    return Observer()


def test_a_release_runs_from_when_it_is_seen_to_serve(observer: Observer) -> None:
    """With its version, and without an end."""
    observer.sees({"x": None, "y": None})
    observer.sees({"x": R3, "y": None})
    assert observer.history.runs == (Run(name="x", release=R3, version=3, began=at(1)),)


def test_nothing_new_is_the_same_object(observer: Observer) -> None:
    """So that nothing is written."""
    assert observer.sees({}) is EMPTY
    first = observer.sees({"x": R3}, rejected={"x": [(R4, "no")]})
    assert observer.sees({"x": R3}, rejected={"x": [(R4, "no")]}) is first
    assert observer.sees({"x": R3}, why={"x": "not asked"}, rejected={"x": [(R4, "no")], "y": []}) is first


def test_a_run_ends_when_another_release_takes_over(observer: Observer) -> None:
    """Also one of the same version."""
    for release in (R3, R4, R4_ANEW):
        observer.sees({"x": release})
    assert observer.rows() == [
        (R3, 0, 1, "version 4 took over"),
        (R4, 1, 2, "another release of version 4 took over"),
        (R4_ANEW, 2, None, ""),
    ]


def test_a_run_ends_with_the_reason_that_is_given(observer: Observer) -> None:
    """Or with a plain one, when none is known."""
    observer.sees({"x": R3, "y": R3, "z": R3})
    observer.sees({"x": None}, why={"x": "the registry no longer\nselects it"})
    assert observer.rows("x") == [(R3, 0, 1, "the registry no longer selects it")]
    assert observer.rows("y") == observer.rows("z") == [(R3, 0, 1, "it does not serve any more")]


def test_what_serves_again_has_another_run(observer: Observer) -> None:
    """The one before keeps its end."""
    for release in (R3, None, R3):
        observer.sees({"x": release})
    assert observer.rows() == [(R3, 0, 1, "it does not serve any more"), (R3, 2, None, "")]


def test_a_release_that_fails_before_it_serves_is_remembered(observer: Observer) -> None:
    """Once, however often the rejection is seen; what serves goes on."""
    observer.sees({"x": R3})
    for _ in range(3):
        observer.sees({"x": R3}, rejected={"x": [(R4, "cannot load the model")]})
    assert observer.rows() == [(R3, 0, None, ""), (R4, None, 1, "cannot load the model")]


def test_a_release_that_fails_again_after_a_retry_is_remembered_again(observer: Observer) -> None:
    """Its rejection was gone in between."""
    for rejected in ([(R4, "first")], [], [(R4, "second")]):
        observer.sees({}, rejected={"x": rejected})
    assert observer.rows() == [(R4, None, 0, "first"), (R4, None, 2, "second")]


def test_a_release_that_is_rejected_while_it_serves_ends_for_that_reason(observer: Observer) -> None:
    """That it is going to end is told before it does."""
    observer.sees({"x": R3})
    observer.sees({"x": R4})
    observer.sees({"x": R4}, rejected={"x": [(R4, "errors in its soak")]})
    assert observer.rows()[1] == (R4, 1, None, "errors in its soak")
    observer.sees({"x": R3}, why={"x": "something else"}, rejected={"x": [(R4, "errors in its soak")]})
    assert observer.rows()[1:] == [(R4, 1, 3, "errors in its soak"), (R3, 3, None, "")]


def test_a_rejection_that_is_taken_back_in_time_leaves_no_reason(observer: Observer) -> None:
    """The release goes on serving."""
    observer.sees({"x": R4})
    observer.sees({"x": R4}, rejected={"x": [(R4, "rolled back by jane")]})
    observer.sees({"x": R4})
    assert observer.rows() == [(R4, 0, None, "")]


def test_a_release_that_ended_just_before_it_is_rejected_has_one_row(observer: Observer) -> None:
    """Its server failed in one pass, and was rejected in the next."""
    observer.sees({"x": R4})
    observer.sees({"x": None}, why={"x": "killed"})
    observer.sees({"x": None}, rejected={"x": [(R4, "killed by the kernel: out of memory")]})
    assert observer.rows() == [(R4, 0, 1, "killed by the kernel: out of memory")]


def test_a_release_that_ended_long_ago_did_not_end_because_it_is_rejected(observer: Observer) -> None:
    """It was removed, selected again, and does not come up now."""
    observer.sees({"x": R4})
    observer.sees({}, why={"x": "not selected"})
    observer.minute += int(SAME_FAILURE_WITHIN.total_seconds() // 60) + 1
    observer.sees({}, rejected={"x": [(R4, "cannot load the model")]})
    assert [why for _, _, _, why in observer.rows()] == ["not selected", "cannot load the model"]


def test_a_clock_that_was_set_back_ends_no_run_before_it_began() -> None:
    """The end is not before the begin."""
    began = observed(EMPTY, serving("x"), at(5))
    ended = observed(began, {}, at(1))
    assert ended.runs[0].ended == at(5)


def test_what_ended_first_is_forgotten_first() -> None:
    """Of all; what still serves stays, however long it has."""
    history = observed(EMPTY, serving("old"), START)
    for number in range(MAX_RUNS + 9):
        name = f"m{number % 50}"
        history = observed(history, serving("old", name), at(number + 1))
    assert len(history.runs) == MAX_RUNS
    assert history.runs[0].name == "old"
    assert [run.began for run in history.runs[1:]] == [at(number + 1) for number in range(10, MAX_RUNS + 9)]


def test_one_deployment_cannot_push_the_others_out() -> None:
    """One that comes and goes has only so many rows."""
    history = observed(EMPTY, serving("calm"), START)
    for number in range(3 * MAX_RUNS_OF_ONE):
        history = observed(history, serving("restless") if number % 2 else {}, at(number))
    assert len(history.of("calm")) == 1
    assert len(history.of("restless")) == MAX_RUNS_OF_ONE


def test_more_that_serve_than_are_remembered_are_no_mistake() -> None:
    """A host may have that many."""
    history = observed(EMPTY, serving(*(f"m{number}" for number in range(MAX_RUNS + 5))), START)
    assert len(history.runs) == MAX_RUNS + 5


def test_the_history_outlives_the_process(tmp_path: Path) -> None:
    """As it was; only root may read it."""
    path = tmp_path / "history.json"
    assert read_history(path) == EMPTY
    file = HistoryFile(path, AuditFile(path.with_name("audit")))
    file.write(observed(file.history, {"x": Sighting(R3, rejected={R4: "no"})}, START))
    assert path.stat().st_mode & 0o777 == 0o600
    again = HistoryFile(path, AuditFile(path.with_name("audit"))).history
    assert (again.runs, again.rejected) == (file.history.runs, file.history.rejected)
    assert file.history == read_history(path)


def test_a_history_without_news_is_not_written(tmp_path: Path) -> None:
    """A disk is spared."""
    path = tmp_path / "history.json"
    file = HistoryFile(path, AuditFile(path.with_name("audit")))
    file.write(observed(file.history, {}, START))
    assert not path.exists()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b'{"schema": 2}', b'{"schema": 1, "runs": [{"name": "../x"}]}']
)
def test_an_unusable_history_begins_anew_and_is_kept_aside(tmp_path: Path, content: bytes) -> None:
    """With a warning that says where it is."""
    path = tmp_path / "history.json"
    path.write_bytes(content)
    with pytest.raises(UnusableHistoryError, match=r"history\.json"):
        read_history(path)
    with capture_logs() as lines:
        file = HistoryFile(path, AuditFile(path.with_name("audit")))
    assert file.history == EMPTY
    assert [line["log_level"] for line in lines] == ["warning"]
    assert (tmp_path / "history.json.unusable").read_bytes() == content
    file.write(observed(file.history, serving("x"), START))
    assert len(read_history(path).runs) == 1


def test_a_history_that_cannot_be_written_is_written_later(tmp_path: Path) -> None:
    """A full disk is told once and ends no pass."""
    file = HistoryFile(tmp_path / "history.json", AuditFile(tmp_path / "audit"))
    history = observed(file.history, serving("x"), START)
    with mock.patch.object(history_file, "replace_file", side_effect=OSError(28, "full")), capture_logs() as lines:
        for _ in range(3):
            history = observed(history, serving("x"), START)
            file.write(history)
    assert len(lines) == 1
    file.write(observed(file.history, serving("x"), START))
    assert read_history(tmp_path / "history.json") == history
