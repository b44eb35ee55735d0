"""Wheels that mean harm, built with the real uv: none of their code runs, nothing but their own environment changes."""

import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.steps import environment_record
from reconciler.steps.check_files import listing
from tests.steps import wheels
from tests.steps.hostile_wheels import DATA, EVIL, hostile, library_of
from tests.steps.step import Steps
from tests.steps.test_build import arguments, release

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"


def honest(directory: Path, house: Path, run: Steps) -> dict[str, str]:
    """Build an environment of honest packages; return what is in it, without the time of each file in its bytecode."""
    made = release(directory / "release", "tiny")
    ended = run(directory / "environment", *arguments(made, house))
    assert ended.code == 0, ended.output
    found = listing(str(directory / "environment/venv"), links=True)
    return {path: line for path, line in found.items() if not path.endswith(".pyc")}


def files(attack: str, state: Path, marker: Path) -> dict[str, str | bytes]:
    """What one attack puts into its wheel; `{state}` is the directory of the environment."""
    place, _, content = attack.partition("=")
    return {f"{DATA}/{place}": content.format(state=state), **library_of(EVIL, marker, MINOR)}


ATTACKS = {
    # A relative home is looked for from the directory in which the interpreter is started.
    "data/pyvenv.cfg=home = evil/bin\n": "'pyvenv.cfg', which belongs to the environment itself; log the model without",
    "data/pyvenv.cfg=home = {state}/venv.new/evil/bin\n": "'pyvenv.cfg', which belongs to the environment itself; log",
    "scripts/pyvenv.cfg=home = evil/bin\n": "'bin/pyvenv.cfg', which says which Python runs; log the model without",
    "data/lib64=": "'lib64', which belongs to the environment itself; log the model without",
    f"data/lib64/python{MINOR}/os.py=": f"'lib/python{MINOR}/os.py', which is in the place of Python's own library;",
    "data/bin/activate=": "'bin/activate', which belongs to the environment itself; log the model without",
    "data/bin/python=": "Scripts must not use the reserved name `python`",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_makes_an_environment_is_not_a_packages_to_replace(tmp_path: Path, run: Steps, attack: str) -> None:
    """The reason names the package and the file, none of its code ran, and nothing of it is left."""
    own, marker, state = tmp_path / "house", tmp_path / "ran", tmp_path / "environment"
    wheels.server_needs(own)
    wheels.wheel(own, "hostile", "1.0", files=files(attack, state, marker))
    ended = run(state, *arguments(release(tmp_path / "release", "hostile"), own))
    assert not marker.exists(), ended.output
    assert ended.code == 1, ended.output
    assert ended.status.startswith("cannot build the environment: ")
    assert ATTACKS[attack] in ended.status
    if "reserved" not in ended.status:  # uv said it
        assert "the package hostile==1.0 brings or changes" in ended.status
    assert not [*state.iterdir()]


@pytest.mark.parametrize("attack", list(ATTACKS)[:2])
def test_the_interpreter_of_such_an_environment_would_run_it(tmp_path: Path, attack: str) -> None:
    """So the wheels above are hostile: neither -I nor -S helps."""
    marker, venv = tmp_path / "ran", tmp_path / "venv.new"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    for path, content in files(attack, tmp_path, marker).items():
        (venv / path.removeprefix(f"{DATA}/data/")).parent.mkdir(parents=True, exist_ok=True)
        (venv / path.removeprefix(f"{DATA}/data/")).write_text(str(content))
    subprocess.run([venv / "bin/python", "-I", "-S", "-c", ""], cwd=venv, capture_output=True, check=False)
    assert marker.exists()


@pytest.mark.parametrize("seeds", [range(30), pytest.param(range(30, 200), marks=pytest.mark.by_hand)], ids=str)
def test_a_hostile_wheel_is_built_or_refused_and_runs_nothing(tmp_path: Path, run: Steps, seeds: range) -> None:
    """Neither another environment changes nor what an honest package is installed as afterwards."""
    own, marker, others = tmp_path / "house", tmp_path / "ran", tmp_path / "others"
    wheels.server_needs(own)
    wheels.wheel(own, "tiny", "2.0")
    before = honest(others, own, run)
    record = (others / "environment/complete.json").read_text()
    counts = {"built": 0, "refused": 0, "ran code": 0, "changed others": 0}
    ran, said = [], []
    for seed in seeds:
        state = tmp_path / "build/environment"
        wheel = hostile(seed, marker, state, others / "environment", MINOR)
        wheel.add_to(own)
        made = release(tmp_path / "build/release", "hostile", "tiny")
        ended = run(state, *arguments(made, own))
        left = {path.name for path in state.iterdir()}
        if ended.code == 0:
            counts["built"] += 1
            assert environment_record.why_incomplete(state, made[1]) is None, wheel.tricks
            assert left == {"complete.json", "venv"}, wheel.tricks
        else:
            counts["refused"] += 1
            said.append(f"{seed} {'+'.join(wheel.tricks)}: {ended.status}")
            assert ended.status.startswith("cannot build the environment: "), (wheel.tricks, ended.output)
            assert "; " in ended.status, ended.status
            assert not left, wheel.tricks
        assert "Traceback" not in ended.output, (wheel.tricks, ended.output)
        if marker.exists():
            ran.append((seed, wheel.tricks))
            marker.unlink()
        subprocess.run(["/usr/bin/rm", "-rf", str(state)], check=True)
    assert environment_record.why_incomplete(others / "environment", release(others / "release", "tiny")[1]) is None
    changed = [
        (others / "environment/complete.json").read_text() != record,
        honest(tmp_path / "afterwards", own, run) != before,
    ]
    counts |= {"ran code": len(ran), "changed others": sum(changed)}
    print(f"{len(seeds)} hostile wheels: {counts}", *said, sep="\n")  # noqa: T201 - the figures of this test
    assert (ran, changed) == ([], [False, False])
    assert counts["built"] > len(seeds) // 5
    assert counts["refused"] > len(seeds) // 5
    assert {path.name for path in tmp_path.iterdir()} == {"house", "others", "build", "afterwards"}
