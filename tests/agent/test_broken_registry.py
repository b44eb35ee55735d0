"""Whatever a registry does, the snapshot stays as it is, the status says why, and the agent recovers by itself."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.broken import MODELS, Broken
from tests.agent.process import PROGRAM, AgentProcess
from tests.mlflow_server import PATIENCE, wait_until

SETTINGS = '[registry]\nuri = "{uri}"\npoll_interval = 1\ntimeout = 1\nreport = false\n'


@pytest.fixture(scope="module")
def broken() -> Iterator[Broken]:
    """A registry that does as it is told."""
    registry = Broken()
    yield registry
    registry.stop()


@pytest.fixture(scope="module")
def agent(broken: Broken, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent that has read the registry once."""
    directory = tmp_path_factory.mktemp("agent")
    credentials = directory / "credentials"
    credentials.mkdir()
    (credentials / "registry.token").write_text("hunter2\n")
    with AgentProcess(directory, SETTINGS.format(uri=broken.uri), CREDENTIALS_DIRECTORY=str(credentials)) as agent:
        agent.wait_for_selection(demo=2)
        yield agent


def test_ready_is_told_before_the_registry_is_asked(broken: Broken, agent: AgentProcess) -> None:
    """A boot does not wait for the registry."""
    first = agent.messages[0]
    assert first["READY"] == "1"
    assert first["STATUS"] == f"reading the registry at {broken.uri}"
    assert agent.wait_for_status("read 1 model") == f"read 1 model at {broken.uri}, 1 selected"
    assert any(message.get("WATCHDOG") == "1" for message in agent.messages)
    assert set(broken.seen) == {"Bearer hunter2"}
    assert agent.registry_file.stat().st_mode & 0o777 == 0o644


@pytest.fixture(autouse=True)
def _good_again(broken: Broken) -> Iterator[None]:
    yield
    broken.start()
    broken.mode = "good"


BAD = [
    ("refused", "connection refused"),
    ("hanging", ": no "),
    ("dripping", "no complete answer within 1 s"),
    ("dripping headers", "no complete answer within 1 s"),
    ("endless", "its answer is too long"),
    ("error 500", "HTTP 500"),
    ("error 401", "it asks for credentials (HTTP 401)"),
    ("refusal", "PERMISSION_DENIED: no way"),
    ("redirect", "HTTP 302"),
    ("html", "its answer is not MLflow's"),
    ("empty", "its answer is not MLflow's"),
    ("something else", "its answer is not MLflow's"),
    ("null", "its answer is not MLflow's"),
    ("not MLflow", "it has no models and does not say that it is MLflow"),
    ("truncated", "it broke off its answer"),
    ("half a document", "its answer is not MLflow's"),
    ("garbage types", "its answer is not MLflow's"),
    ("odd versions", "it names a version that is not a number"),
    ("half the versions", "it names version 2 of 'demo' but does not list it"),
    ("moving pages", "it changed while it was read"),
    ("endless pages", ""),
]


def everywhere(**more: object) -> Callable[[Any, bool], object]:
    """Put fields into every object of an answer."""

    def bend(document: Any, is_models: bool) -> object:
        if isinstance(document, list):
            return [bend(entry, is_models) for entry in document]
        return (
            {key: bend(value, is_models) for key, value in document.items()} | more
            if isinstance(document, dict)
            else document
        )

    return bend


def on_top(**more: object) -> Callable[[Any, bool], object]:
    """Put fields beside the list."""
    return lambda document, _is_models: document | more


def instead(models: object, versions: object = None) -> Callable[[Any, bool], object]:
    """Answer something else for the models, and for the versions if it is given."""
    return lambda document, is_models: models if is_models else document if versions is None else versions


def each_version(**more: object) -> Callable[[Any, bool], object]:
    """Change every version in both answers."""

    def changed(entries: Any) -> list[object]:
        return [{key: value for key, value in {**entry, **more}.items() if value != "left out"} for entry in entries]

    def bend(document: Any, is_models: bool) -> object:
        if not is_models:
            return {"model_versions": changed(document["model_versions"])}
        return {
            "registered_models": [
                {**one, "latest_versions": changed(one["latest_versions"])} for one in document["registered_models"]
            ]
        }

    return bend


NEWER = {
    "a number": on_top(total_count=1),
    "an empty field": on_top(total_count=None, next_page_token=None),
    "an object": on_top(warnings={"registered_models": None, "deprecated": [{"field": "stage"}]}),
    "another list": on_top(models=[], error=[]),
    "a token that is empty": on_top(next_page_token=""),
    "fields in each model and version": everywhere(
        owner={"id": 7}, labels=["a"], retired=False, score=0.5, parent=None
    ),
    "fields in each version": each_version(digest="sha256:00", deployment_job_state={"run_state": 3}),
    "a new state of a deployment job": each_version(deployment_job_state={"run_state": "HELD"}),
}


@pytest.mark.parametrize("what", NEWER)
def test_what_a_newer_server_says_beside_is_passed_over(broken: Broken, agent: AgentProcess, what: str) -> None:
    """It is read, and selects what it did."""
    agent.wait_for_status("read 1 model")
    broken.bend, broken.mode = NEWER[what], "as given"
    seen, touched = len(broken.seen), agent.registry_file.stat().st_mtime_ns
    agent.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(broken.seen) > seen + 2 and agent.registry_file.stat().st_mtime_ns > touched, "it is read")
    assert agent.status == f"read 1 model at {broken.uri}, 1 selected"
    assert agent.selected() == {"demo": 2}


@pytest.mark.parametrize("more", [{"current_stage": "Shadow"}, {"status": "QUARANTINED"}])
def test_a_stage_or_a_status_that_is_not_known_is_none_that_is_selected(
    broken: Broken, agent: AgentProcess, more: dict[str, str]
) -> None:
    """The reading stands: nothing of it is taken for what is known."""
    agent.wait_for_selection(demo=2)
    broken.bend, broken.mode = each_version(**more), "as given"
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_for_selection()
    # The file comes first, and a reading that began before the registry was bent may have failed meanwhile.
    told = f"read 1 model at {broken.uri}, 0 selected"
    wait_until(lambda: agent.status == told, f"the status says {told}")
    broken.mode = "good"
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_for_selection(demo=2)


ODD = {
    "no list but a count": instead({"total_count": 0}),
    "a misspelt list": instead({"registeredModels": []}),
    "an error with status 200": instead({"error_code": "INTERNAL_ERROR", "message": "x"}),
    "an error beside an empty list": instead({"error_code": "INTERNAL_ERROR", "registered_models": []}),
    "a proxy's word": instead({"status": "UP", "components": {}}),
    "a list": instead([]),
    "a text": instead("registered_models"),
    "null": instead({"registered_models": None}),
    "null in the second answer": instead(MODELS, {"model_versions": None}),
    "the other search's answer": instead({"model_versions": []}),
    "an object for the list": instead({"registered_models": {}}),
    "a list of names": instead({"registered_models": ["demo"]}),
    "models without a name": instead({"registered_models": [{"title": "demo"}]}),
    "null for the latest versions": instead({"registered_models": [{"name": "demo", "latest_versions": None}]}),
    "null for the aliases": instead({"registered_models": [{"name": "demo", "aliases": None}]}),
    "null for the tags": each_version(tags=None),
    "no status": each_version(status="left out"),
    "a token that is a number": on_top(next_page_token=7),
}


@pytest.mark.parametrize("what", ODD)
def test_what_mlflows_client_would_take_for_an_empty_registry_is_refused(
    broken: Broken, agent: AgentProcess, what: str
) -> None:
    """Nothing is deselected by an answer that is none."""
    agent.wait_for_selection(demo=2)
    before = agent.registry_file.read_bytes()
    broken.bend, broken.mode = ODD[what], "as given"
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_for_status("its answer is not MLflow's")
    assert agent.registry_file.read_bytes() == before


def test_a_server_that_knows_no_stages_any_more_deselects_nothing(broken: Broken, agent: AgentProcess) -> None:
    """A later MLflow may drop them; aliases are read on."""
    agent.wait_for_selection(demo=2)
    broken.bend, broken.mode = each_version(current_stage="left out"), "as given"
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_for_status("it knows no stages; use selectors such as alias:champion")
    assert agent.selected() == {"demo": 2}


@pytest.mark.parametrize(("mode", "why"), BAD)
def test_a_bad_registry_changes_nothing_and_a_good_one_is_noticed(
    broken: Broken, agent: AgentProcess, mode: str, why: str
) -> None:
    """One line when it begins, one when it is over, and the reason in the status meanwhile."""
    agent.wait_for_status("read 1 model")
    before, logged = agent.registry_file.read_bytes(), len(agent.lines)
    if mode == "refused":
        broken.stop()
    else:
        broken.mode = mode
    agent.process.send_signal(signal.SIGHUP)  # it polls now, not in a second
    # A registry that stops may break off one answer before it refuses the next.
    status = wait_until(lambda: agent.status if why in agent.status and "(try " in agent.status else "", why)
    touched = agent.registry_file.stat().st_mtime_ns
    assert status.startswith(f"cannot read the registry at {broken.uri}: ")
    assert status.endswith("; what is deployed stays as it is")
    assert agent.registry_file.read_bytes() == before
    if mode == "refused":
        agent.wait_for_try(3)
        assert agent.registry_file.stat().st_mtime_ns == touched
        broken.start()
    broken.mode = "good"
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_for_status("read 1 model")
    wait_until(lambda: agent.registry_file.stat().st_mtime_ns > touched, "the file is touched")
    assert agent.registry_file.read_bytes() == before
    lines = [line for line in agent.lines[logged:] if not line.endswith("read the settings again")]
    assert len(lines) == 2, lines
    assert lines[0].startswith(f"registry-agent: cannot read the registry at {broken.uri}: ")
    assert "failed tr" in lines[1]
    assert not any("hunter2" in line for line in [*agent.lines, status])


def test_pages_that_agree_are_a_snapshot(broken: Broken, agent: AgentProcess) -> None:
    """A registry that pages is read twice."""
    agent.wait_for_status("read 1 model")
    seen = len(broken.seen)
    broken.mode = "pages"
    wait_until(lambda: len(broken.seen) >= seen + 12, "the registry is read in pages")
    assert agent.status == f"read 1 model at {broken.uri}, 1 selected"
    broken.mode = "good"


def test_wrong_settings_are_refused_on_reload_and_right_ones_taken(agent: AgentProcess) -> None:
    """The daemon keeps the old ones and says so in one line."""
    agent.wait_for_status("read 1 model")
    right = agent.config.read_text()
    agent.config.write_text(right.replace("timeout = 1", "timeout = 0"))
    agent.process.send_signal(signal.SIGHUP)
    wait_until(lambda: any("registry.timeout" in line for line in agent.lines), "the refusal is logged")
    agent.wait_for_status("read 1 model")
    agent.config.write_text(right.replace("[registry]", '[registry]\nselectors = ["stage:Staging"]'))
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_for_selection()
    assert "registry-agent: demo is no longer selected [MODEL=demo MODEL_VERSION=2]" in agent.lines
    agent.config.write_text(right)
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_for_selection(demo=2)
    # Each of the signal and the change of the file may be what has them read.
    assert 1 <= sum("the old settings stay in force" in line for line in agent.lines) <= 2


def test_a_snapshot_that_somebody_removed_comes_back(agent: AgentProcess) -> None:
    """With the next reading, though nothing changed in the registry."""
    agent.registry_file.unlink()
    agent.wait_for_selection(demo=2)


def test_sigterm_stops_at_once_even_while_the_registry_hangs(broken: Broken, agent: AgentProcess) -> None:
    """The last test of this agent: it ends cleanly and leaves the snapshot where it is."""
    broken.mode = "hanging"
    agent.wait_for_status("cannot read")
    before = agent.registry_file.read_bytes()
    agent.process.send_signal(signal.SIGTERM)
    assert agent.process.wait(PATIENCE) == 0
    assert agent.status == "stopped"
    assert agent.registry_file.read_bytes() == before
    assert [path.name for path in agent.registry_file.parent.glob(".*")] == []
    broken.mode = "good"


JUMPY = """
import os, apscheduler.schedulers.base as base
from datetime import datetime, timedelta
class Jumpy(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) - timedelta(hours=1 if os.path.exists(os.environ["JUMP"]) else 0)
base.datetime = Jumpy
"""


def test_a_clock_that_jumps_back_does_not_stop_the_polling(broken: Broken, tmp_path: Path) -> None:
    """The scheduler waits for the wall clock to catch up; the agent does not."""
    jump = tmp_path / "jump"
    program = JUMPY + PROGRAM
    with AgentProcess(tmp_path / "own", SETTINGS.format(uri=broken.uri), program, JUMP=str(jump)) as agent:
        agent.wait_for_selection(demo=2)
        jump.touch()
        for _ in range(2):
            touched = agent.registry_file.stat().st_mtime_ns
            wait_until(
                lambda touched=touched: agent.registry_file.stat().st_mtime_ns > touched,  # type: ignore[misc]  # bound now
                "the next poll",
            )


def test_a_restart_goes_on_from_the_file_and_logs_only_what_changed(broken: Broken, tmp_path: Path) -> None:
    """A restarted agent does not rewrite an unchanged selection, nor tell it again."""
    found: list[tuple[bytes, int, int]] = []
    for _ in range(2):
        with AgentProcess(tmp_path, SETTINGS.format(uri=broken.uri)) as agent:
            agent.wait_for_status("read 1 model")
            told = sum("is now selected" in line for line in agent.lines)
            found.append((agent.registry_file.read_bytes(), agent.registry_file.stat().st_ino, told))
            agent.process.kill()
        (tmp_path / "notify.sock").unlink()
    assert found[0] == found[1]
    assert found[0][2] == 1
