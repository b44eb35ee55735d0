"""What a bundle has for a host without internet: an environment is built from it and from nothing else."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.index import Index
from tests.steps import wheels
from tests.steps.conftest import Registered, newest
from tests.steps.step import ROOT, Ended, Steps
from tests.steps.test_build import imported
from tests.steps.test_model_wheels import build, model, shipped

IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}


def bundled(house: Path, to: Path, *models: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Download what models need from an index that serves a wheelhouse."""
    to.mkdir(exist_ok=True)
    with Index(house, "ada", "hush") as index:
        url = index.url.replace("http://", "http://ada:hush@")
        places = {"UV_DEFAULT_INDEX": url, "PIP_INDEX_URL": url, "PIP_CONFIG_FILE": "/dev/null", "UV_NO_CONFIG": "1"}
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "package.wheels", str(to), *models],
            cwd=ROOT,
            env={"PATH": "/usr/bin:/bin", "HOME": str(to.parent), **places, **environment},
            capture_output=True,
            text=True,
            check=False,
        )


def built(run: Steps, release: Path, found: Path, *options: str) -> Ended:
    """Build a release's environment from a bundle's wheels."""
    return build(run, release, "--find-links", str(found), "--offline", *options)


def test_a_registered_model_is_built_from_it(
    tmp_path: Path, house: Path, run: Steps, registry: str, demo: Registered
) -> None:
    """The versions that an index would have given, of what the packages require, too, and no others."""
    house, found = shutil.copytree(house, tmp_path / "house"), tmp_path / "found"
    wheels.wheel(house, "mlflow-skinny", "3.17.2")
    ended = bundled(house, found, f"{demo.name}/{demo.version}", MLFLOW_TRACKING_URI=registry)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"demo/{demo.version}: ")
    names = sorted(path.name for path in found.iterdir())
    assert "tiny-1.0-py3-none-any.whl" in names
    assert "tiny-2.0-py3-none-any.whl" not in names
    fetched = run(tmp_path / "release", *demo.arguments(), MLFLOW_TRACKING_URI=registry)
    assert fetched.code == 0, fetched.output
    digest = json.loads((tmp_path / "release/manifest.json").read_text())["environment"]["digest"]
    order = ("build", "--release-dir", tmp_path / "release", "--digest", digest)
    ended_build = run(tmp_path / "environment", *order, "--find-links", found, "--offline")
    assert ended_build.status.startswith("built environment"), ended_build.output
    assert imported(tmp_path / "environment/venv", "tiny.__version__") == "1.0"


def test_two_models_that_contradict_each_other_are_both_built(tmp_path: Path, house: Path, run: Steps) -> None:
    """All wheels are in one directory, and each model finds its own."""
    for version in ("1.0", "2.0"):
        model(tmp_path / version / "release/model", f"tiny=={version}", "wants-tiny")
    found = tmp_path / "found"
    ended = bundled(house, found, *(str(tmp_path / version / "release/model") for version in ("1.0", "2.0")))
    assert ended.returncode == 0, ended.stderr
    for version in ("1.0", "2.0"):
        ended_build = built(run, tmp_path / version / "release", found)
        assert ended_build.status.startswith("built environment"), ended_build.output
        assert imported(tmp_path / version / "environment/venv", "tiny.__version__") == version


def test_constraints_and_wheels_in_the_model_count(tmp_path: Path, house: Path, run: Steps) -> None:
    """A model's own wheel requires a package of which its constraints take an older version."""
    own, release = tmp_path / "house", tmp_path / "release"
    wheels.wheel(own, "hospitools", "1.2.3", requires=("tiny",))
    lines = ("wheels/hospitools-1.2.3-py3-none-any.whl", "wants-tiny", "-c constraints.txt")
    shipped(release / "model", *lines, house=own)
    (release / "model/constraints.txt").write_text("tiny<2\n")
    ended = bundled(house, tmp_path / "found", str(release / "model"))
    assert ended.returncode == 0, ended.stderr
    # A host takes it from the model. From the common directory, other models could get it in place of their own.
    assert not list((tmp_path / "found").glob("hospitools-*"))
    ended_build = built(run, release, tmp_path / "found")
    assert ended_build.status.startswith("built environment"), ended_build.output
    assert imported(tmp_path / "environment/venv", "tiny.__version__") == "1.0"


def test_a_wheel_in_a_model_that_names_an_address_is_not_followed(tmp_path: Path, house: Path) -> None:
    """Nobody is asked at that address."""
    own = tmp_path / "house"
    wheels.wheel(own, "hospitools", "1.2.3", requires=("tiny @ http://127.0.0.1:9/tiny-1.0-py3-none-any.whl",))
    shipped(tmp_path / "model", "wheels/hospitools-1.2.3-py3-none-any.whl", "wants-tiny", house=own)
    ended = bundled(house, tmp_path / "found", str(tmp_path / "model"))
    assert ended.returncode == 1
    assert "a package names an address from which to take another" in ended.stderr
    assert not list((tmp_path / "found").iterdir())


def test_no_password_is_in_what_is_said(tmp_path: Path, house: Path) -> None:
    """Not even where the address of the registry has one."""
    registry = "http://ada:hunter22@127.0.0.1:9"
    ended = bundled(house, tmp_path / "found", "demo/1", MLFLOW_TRACKING_URI=registry, **IMPATIENT)
    assert ended.returncode == 1
    assert "(http://127.0.0.1:9)" in ended.stderr
    assert "hunter22" not in ended.stderr + ended.stdout


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("tiny==9", "there is no version of tiny==9 and you require tiny==9; correct the model's requirements and log"),
        ("wants-old-starlette", "the model's requirements contradict each other: "),
        ("git+https://example.org/tools", "cannot use the model's requirement"),
        ("tools @ https://example.org/tools.whl", "cannot use the model's requirement"),
        ("--extra-index-url https://example.org/simple", "build.ignore_index_options"),
        ("/etc/tools.whl", "cannot use the model's requirement"),
    ],
    ids=["not there", "contradicts the server", "git", "an address", "an index", "a path"],
)
def test_what_no_host_could_build_is_told(tmp_path: Path, house: Path, line: str, why: str) -> None:
    """With the model's name; and nothing of it counts as bundled."""
    place = model(tmp_path / "model", line)
    ended = bundled(house, tmp_path / "found", str(place))
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"dev: cannot bundle {place}: ")
    assert why in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list((tmp_path / "found").iterdir())


@pytest.mark.parametrize("name", ["nobody/1", "demo/77", "demo"])
def test_a_model_that_the_registry_lacks_is_told(
    tmp_path: Path, house: Path, registry: str, demo: Registered, name: str
) -> None:
    """And how models are named."""
    assert newest(registry, demo.name).version == demo.version
    ended = bundled(house, tmp_path / "found", name, MLFLOW_TRACKING_URI=registry)
    assert ended.returncode == 1
    assert f"cannot bundle {name}: " in ended.stderr
    assert f"({registry}); name it as MLflow does, such as pauses/3 or pauses@champion" in ended.stderr
    assert "Traceback" not in ended.stderr
