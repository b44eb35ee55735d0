"""Build, with the real uv: environments from a wheelhouse made on the spot, and the reasons when there can be none."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.steps import environment_record
from reconciler.steps import manifest as manifests
from reconciler.steps.hashed_requirements import server_pins
from reconciler.steps.manifest import Environment, Manifest
from reconciler.steps.requirements import environment_digest, server_digest, server_package
from reconciler.steps.sole_access import why_not_alone
from tests.index import Index
from tests.mlflow_server import PATIENCE, wait_until
from tests.steps import wheels
from tests.steps.step import ROOT, Ended, Steps, command, environment


def release(directory: Path, *requirements: str, python: str | None = None, hashes: bool = False) -> tuple[Path, str]:
    """Make a fetched release that needs this; return its directory and its environment's digest."""
    python = python or f"{sys.version_info.major}.{sys.version_info.minor}"
    server = server_digest(server_package())
    pins = hashlib.sha256(server_pins(server_package()).read_bytes()).hexdigest() if hashes else None
    digest = environment_digest(python, requirements, server, pins)
    needs = Environment(digest=digest, python=python, requirements=requirements, modelserver=server, pins=pins)
    directory.mkdir(parents=True, exist_ok=True)
    manifests.write(
        directory, Manifest(schema=1, name="demo", version=1, source="models:/m-1", files={}, environment=needs)
    )
    return directory, digest


def arguments(made: tuple[Path, str], house: Path, *more: str) -> list[str]:
    """Return the build step's arguments, without a network."""
    return [
        *("build", "--release-dir", str(made[0]), "--digest", made[1], "--find-links", str(house)),
        *("--offline", *more),
    ]


def imported(venv: Path, expression: str) -> str:
    """Evaluate something in an environment's own interpreter."""
    done = subprocess.run(
        [venv / "bin/python", "-I", "-c", f"import tiny; print({expression})"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_two_models_with_conflicting_pins_each_get_theirs(tmp_path: Path, house: Path, run: Steps) -> None:
    """Environments are separate, complete, compiled, and hold the server."""
    for version in ("1.0", "2.0"):
        made = release(tmp_path / version / "release", f"tiny=={version}")
        state = tmp_path / version / "environment"
        ended = run(state, *arguments(made, house))
        assert ended.code == 0, ended.output
        assert ended.status.startswith(f"built environment {made[1]}: Python ")
        assert environment_record.why_incomplete(state, made[1]) is None
        assert imported(state / "venv", "tiny.__version__") == version
        assert imported(state / "venv", "__import__('modelserver').__name__") == "modelserver"
        (pages,) = (state / "venv").rglob("modelserver/http/web")
        assert {"try.js", "recorder.js", "page.css", "icon.svg"} <= {path.name for path in pages.iterdir()}
        assert list((state / "venv").rglob("tiny/__pycache__/*.pyc"))
        assert sorted(path.name for path in state.iterdir()) == ["complete.json", "venv"]
        before = (state / "complete.json").stat().st_mtime_ns
        again = run(state, *arguments(made, Path("/nowhere")))
        assert again.code == 0
        assert again.status.startswith(f"environment {made[1]} is complete; content=")
        assert (state / "complete.json").stat().st_mtime_ns == before


def test_nobody_else_may_write_to_an_environment(tmp_path: Path, house: Path, run: Steps) -> None:
    """Not to a lock that uv leaves, either; one that was built before that was seen to is shut, and not built again."""
    made, state = release(tmp_path / "release", "tiny==1.0"), tmp_path / "environment"
    assert run(state, *arguments(made, house)).code == 0
    assert why_not_alone(state) is None
    for path in ("venv", "venv/pyvenv.cfg"):
        (state / path).chmod((state / path).stat().st_mode | 0o022)
    assert why_not_alone(state) == "can be changed by others than its owner ('environment/venv')"
    again = run(state, *arguments(made, Path("/nowhere")))
    assert again.status.startswith(f"environment {made[1]} is complete; content=")
    assert why_not_alone(state) is None


def test_installing_runs_no_code_of_the_packages(tmp_path: Path, run: Steps) -> None:
    """A .pth file runs whenever Python starts with `site`; the build never starts it so."""
    own = tmp_path / "house"
    wheels.server_needs(own)
    canary = tmp_path / "ran"
    wheels.wheel(own, "hostile", "1.0", files={"hostile.pth": f"import os; open({str(canary)!r}, 'w')\n"})
    made = release(tmp_path / "release", "hostile")
    ended = run(tmp_path / "environment", *arguments(made, own))
    assert ended.code == 0, ended.output
    assert list((tmp_path / "environment").rglob("hostile.pth"))
    assert not canary.exists()
    subprocess.run([tmp_path / "environment/venv/bin/python", "-I", "-c", ""], check=True)
    assert canary.exists(), "it is one that does run"


CANARY = "c4n4ry-hunter2"


def build_from(run: Steps, state: Path, made: tuple[Path, str], url: str, *more: str, **credentials: str) -> Ended:
    """Build from an index alone, with credentials `index.<name>`; nothing may tell them."""
    given = state.parent / "credentials"
    given.mkdir(parents=True, exist_ok=True)
    for name, content in credentials.items():
        (given / f"index.{name}").write_text(content)
    order = ("build", "--release-dir", made[0], "--digest", made[1], "--index-url", url, *more)
    ended = run(state, *order, CREDENTIALS_DIRECTORY=str(given))
    assert CANARY not in ended.output + ended.status
    written = [path for path in state.rglob("*") if path.is_file()]
    assert not [path for path in written if CANARY.encode() in path.read_bytes()]
    return ended


def test_an_index_that_asks_for_credentials_gets_them(tmp_path: Path, house: Path, run: Steps) -> None:
    """The right ones build; wrong ones and none are a reason that names them."""
    made = release(tmp_path / "release", "tiny==1.0")
    with Index(house, "builder", CANARY) as index:
        none = build_from(run, tmp_path / "a/environment", made, index.url)
        assert "does not let this host in; see that the credentials index.username and" in none.status, none.output
        assert (index.let_in, index.sent_away > 0) == (0, True)
        wrong = build_from(run, tmp_path / "b/environment", made, index.url, username="builder", password=CANARY[1:])
        assert "does not let this host in" in wrong.status
        assert index.let_in == 0
        right = build_from(run, tmp_path / "c/environment", made, index.url, username="builder", password=CANARY)
        assert right.status.startswith("built environment"), right.output
        assert index.let_in > 0


def test_an_index_gets_no_credentials_in_plain_text(tmp_path: Path, run: Steps) -> None:
    """uv is not even started for it; half a pair and what uv cannot take are refused as well."""
    made, url = release(tmp_path / "release", "tiny"), "http://index.example.org/simple"
    ended = build_from(run, tmp_path / "a/environment", made, url, username="builder", password=CANARY)
    assert "http://index.example.org/simple would get the credentials in plain text" in ended.status
    half = build_from(run, tmp_path / "b/environment", made, "http://127.0.0.1:9/", password=CANARY)
    assert "the credential 'index.username' is missing" in half.status
    odd = build_from(run, tmp_path / "c/environment", made, "http://127.0.0.1:9/", username="b", password=f"{CANARY} x")
    assert "the credential 'index.password' has a space" in odd.status


def test_building_foreign_code_and_credentials_do_not_go_together(tmp_path: Path, house: Path, run: Steps) -> None:
    """Even if they were there, they would not be used; the reason says why."""
    made = release(tmp_path / "release", "tiny==1.0")
    with Index(house, "builder", CANARY) as index:
        ended = build_from(
            run, tmp_path / "environment", made, index.url, "--allow-source", username="builder", password=CANARY
        )
        assert "no credentials are used where build.allow_source has foreign code run" in ended.status, ended.output
        assert index.let_in == 0


REASONS: list[tuple[list[str], str]] = [
    (["no-such-package==1.0"], "a package cannot be found: no-such-package was not found"),
    (["tiny==9.0"], "there is no version of tiny==9.0"),
    (["tiny==2.0", "wants-old-tiny"], "the model's requirements contradict each other"),
    (["source-only==1.0"], "this host installs wheels only"),
    (["other-python==1.0"], "has no wheels with a matching Python ABI tag"),
    (["wants-old-starlette"], "contradict what the server itself needs (starlette>="),
    (["starlette<0.2"], "contradict what the server itself needs (starlette>="),
    (["tiny==="], "cannot build the environment"),
]


@pytest.mark.parametrize(("requirements", "why"), REASONS)
def test_an_environment_that_cannot_be_had_is_a_plain_reason(
    tmp_path: Path, house: Path, run: Steps, requirements: list[str], why: str
) -> None:
    """The sentence names the package, and nothing counts as built."""
    ended = run(tmp_path / "environment", *arguments(release(tmp_path / "release", *requirements), house))
    assert ended.code == 1
    assert ended.status.startswith("cannot build the environment")
    assert why in ended.status
    assert "Traceback" not in ended.output
    assert not (tmp_path / "environment/complete.json").exists()


def test_a_python_that_is_not_on_this_host_is_a_plain_reason(tmp_path: Path, house: Path, run: Steps) -> None:
    """It says which ones there are, and nothing is downloaded."""
    ended = run(tmp_path / "environment", *arguments(release(tmp_path / "release", "tiny", python="3.99"), house))
    assert ended.code == 1
    assert "the model wants Python 3.99, this host has 3." in ended.status


def test_an_index_that_does_not_answer_is_a_plain_reason(tmp_path: Path, run: Steps) -> None:
    """It names the index, and the build is tried again by itself."""
    made = release(tmp_path / "release", "tiny")
    ended = run(
        tmp_path / "environment",
        *("build", "--release-dir", made[0], "--digest", made[1], "--index-url", "http://127.0.0.1:9/simple"),
    )
    assert ended.code == 1
    assert "cannot reach http://127.0.0.1:9/simple: Connection refused" in ended.status


def test_an_offline_host_without_the_wheel_says_so(tmp_path: Path, run: Steps) -> None:
    """With nothing to find links in, only the cache is left."""
    made = release(tmp_path / "release", "unheard-of-package")
    ended = run(tmp_path / "environment", "build", "--release-dir", made[0], "--digest", made[1], "--offline")
    assert ended.code == 1
    assert "this host is offline" in ended.status


def test_source_distributions_are_built_where_the_policy_allows_it(tmp_path: Path, house: Path, run: Steps) -> None:
    """What they need to be built must come from the same place; here it is not there, and that is the reason."""
    made = release(tmp_path / "release", "source-only")
    ended = run(tmp_path / "environment", *arguments(made, house, "--allow-source"))
    assert ended.code == 1
    assert "wheels only" not in ended.status
    assert "setuptools" in ended.output


@pytest.mark.parametrize("damage", ["missing", "changed", "added", "record", "interpreter"])
def test_a_damaged_environment_is_built_again(tmp_path: Path, house: Path, run: Steps, damage: str) -> None:
    """Whatever happened to it, the next build makes it whole."""
    made, state = release(tmp_path / "release", "tiny"), tmp_path / "environment"
    assert run(state, *arguments(made, house)).code == 0
    package = next((state / "venv").rglob("tiny/__init__.py"))
    if damage == "missing":
        package.unlink()
    elif damage == "changed":
        package.write_text("import os\n" * 10)
    elif damage == "added":
        package.with_name("more.py").write_text("")
    elif damage == "record":
        (state / "complete.json").write_text("{}")
    else:
        (state / "venv/bin/python").unlink()
    assert environment_record.why_incomplete(state, made[1]) is not None
    ended = run(state, *arguments(made, house))
    assert ended.status.startswith("built environment"), ended.output
    assert environment_record.why_incomplete(state, made[1]) is None


def test_a_release_that_needs_another_environment_is_refused(tmp_path: Path, house: Path, run: Steps) -> None:
    """The digest is worked out again from the manifest; a wrong one is not built."""
    made = release(tmp_path / "release", "tiny")
    ended = run(tmp_path / "environment", *arguments((made[0], "0" * 32), house))
    assert ended.status.startswith(f"cannot build the environment {'0' * 32}: the release needs {made[1]}")
    nowhere = run(tmp_path / "environment", *arguments((tmp_path / "nowhere", made[1]), house))
    assert "was not fetched completely; fetch it again" in nowhere.status


def pinned(house: Path, *names: str) -> list[str]:
    """List packages of a wheelhouse with their hashes."""
    found = []
    for name in names:
        file = next(house.glob(f"{name.replace('-', '_').replace('==', '-')}-*"))
        package, version = file.name.split("-")[:2]
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        found.append(f"{package.replace('_', '-')}=={version} --hash=sha256:{digest}")
    return found


def unlike(line: str) -> str:
    """The same requirement with another hash."""
    return f"{line.rpartition(':')[0]}:{'0' * 64}"


SERVER = ("starlette==9.0", "uvicorn", "h11", "python-multipart")


def test_with_required_hashes_right_ones_build(tmp_path: Path, house: Path, run: Steps) -> None:
    """What the model lists itself is not taken from the server's own list, which has other versions."""
    made = release(tmp_path / "release", *pinned(house, "tiny==1.0", "wants-old-tiny", *SERVER), hashes=True)
    ended = run(tmp_path / "environment", *arguments(made, house, "--require-hashes"))
    assert ended.status.startswith("built environment"), ended.output
    assert imported(tmp_path / "environment/venv", "__import__('starlette').__version__") == "9.0"
    assert sorted(path.name for path in (tmp_path / "environment").iterdir()) == ["complete.json", "venv"]


@pytest.mark.parametrize(
    ("which", "why"),
    [
        ("wrong", "Hash mismatch for `tiny==1.0`"),
        ("wrong, not required", "Hash mismatch for `tiny==1.0`"),
        ("missing", "cannot use the model's requirement 'tiny==1.0': this host installs nothing without a --hash"),
        ("missing below", "no trusted hash was provided for: `tiny`; list that package too"),
        ("fetched before", "the model was fetched before hashes were asked for; fetch it again"),
        ("server", "what the server itself needs (starlette>=0.37): they have starlette==0.0.5"),
    ],
)
def test_without_a_right_hash_nothing_is_installed(
    tmp_path: Path, house: Path, run: Steps, which: str, why: str
) -> None:
    """Neither of the model's own requirements nor of what those need."""
    tiny, wants, *server = pinned(house, "tiny==1.0", "wants-old-tiny", *SERVER)
    requirements = {
        "wrong": [unlike(tiny), *server],
        "wrong, not required": [unlike(tiny)],
        "missing": ["tiny==1.0", *server],
        "missing below": [wants, *server],
        "server": [tiny, *pinned(house, "starlette==0.0.5")],
    }.get(which, [tiny, *server])
    made = release(tmp_path / "release", *requirements, hashes=which not in ("fetched before", "wrong, not required"))
    more = [] if which == "wrong, not required" else ["--require-hashes"]
    ended = run(tmp_path / "environment", *arguments(made, house, *more))
    assert ended.code == 1
    assert why in ended.status
    assert not [*(tmp_path / "environment").iterdir()]
    if which == "missing":
        assert "uv:" not in ended.output


def test_the_servers_own_needs_have_hashes(tmp_path: Path, run: Steps) -> None:
    """From the real package index, with the versions and hashes that the server brings along."""
    house = tmp_path / "house"
    wheels.wheel(house, "tiny", "1.0")
    made = release(tmp_path / "release", *pinned(house, "tiny"), hashes=True)
    state = tmp_path / "environment"
    ended = run(
        *(state, "build", "--release-dir", made[0], "--digest", made[1]),
        *("--find-links", house, "--require-hashes"),
    )
    if "cannot reach" in ended.status:
        pytest.skip(f"needs the package index: {ended.status}")
    assert ended.code == 0, ended.output
    lock = server_pins(server_package()).read_text()
    known = {*re.findall(r"^([a-z0-9-]+==[0-9.]+)", lock, re.MULTILINE), "tiny==1.0"}
    packages = json.loads((state / "complete.json").read_text())["packages"]
    assert {"starlette", "uvicorn", "python-multipart", "anyio"} < {one.partition("==")[0] for one in packages}
    assert set(packages) <= known


def test_no_file_is_shared_with_another_environment_and_no_cache_stays(tmp_path: Path, house: Path, run: Steps) -> None:
    """Whoever writes through a hard link would change them all; a cache that others use would carry it to them."""
    for name, package in (("one", "tiny==1.0"), ("other", "wants-old-tiny")):
        made = release(tmp_path / name / "release", package)
        assert run(tmp_path / name / "environment", *arguments(made, house)).code == 0
    states = [tmp_path / "one/environment", tmp_path / "other/environment"]
    assert [sorted(path.name for path in state.iterdir()) for state in states] == [["complete.json", "venv"]] * 2
    files = [[path for path in state.rglob("*") if path.is_file() and not path.is_symlink()] for state in states]
    environments = [*files[0], *files[1]]
    linked = [path for path in environments if path.stat().st_nlink != 1]
    inodes = [{(path.stat().st_dev, path.stat().st_ino) for path in some} for some in files]
    shared = inodes[0] & inodes[1]
    figures = f"{len(environments)} files in two environments, {len(linked)} linked, {len(shared)} shared"
    print(figures)  # noqa: T201 - the figures of this test
    assert len(environments) > 20
    assert (linked, shared) == ([], set())
    alike = [next(path for path in some if path.match("tiny/__init__.py")) for some in files]
    before = [path.read_bytes() for path in alike]
    assert before[0] == before[1]
    alike[0].write_bytes(b"hostile = True\n")
    assert alike[1].read_bytes() == before[1]


def test_no_build_is_given_what_another_one_made_of_a_source(tmp_path: Path, run: Steps) -> None:
    """A cache of both would have it, and nobody would look at it again; each is made below its own environment."""
    own = tmp_path / "house"
    wheels.server_needs(own)
    wheels.source(own, "foreign", "1.0", "import os, uuid\nseen = f'{uuid.uuid4()} {os.getcwd()}'\n")
    seen = []
    for name in ("one", "other"):
        state = tmp_path / name / "environment"
        made = release(tmp_path / name / "release", "foreign")
        ended = run(state, *arguments(made, own, "--allow-source"))
        assert ended.code == 0, ended.output
        (text,) = (path.read_text() for path in state.rglob("foreign/seen"))
        mark, where = text.split(" ", 1)
        assert Path(where).is_relative_to(state)
        seen.append(mark)
    assert seen[0] != seen[1]


@pytest.mark.parametrize("stride", [3, pytest.param(1, marks=pytest.mark.by_hand)])
def test_a_build_killed_at_any_action_is_finished_by_the_next(tmp_path: Path, house: Path, stride: int) -> None:
    """SIGKILL before every change that the step makes itself, and before every program that it starts."""
    made = release(tmp_path / "release", "tiny")
    done = subprocess.run(
        [command()[0], "-m", "tests.steps.killed", str(stride), *arguments(made, house)],
        cwd=ROOT,
        env=environment(tmp_path / "environment"),
        stdout=subprocess.PIPE,
        text=True,
        timeout=4 * PATIENCE,
        check=True,
    )
    kills = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(kill["again"] == 0 and kill["whole"] for kill in kills), kills
    assert [kill["code"] for kill in kills] == [-signal.SIGKILL] * (len(kills) - 1) + [0]
    assert len(kills) > 12 // stride, kills


def test_a_build_killed_while_uv_works_is_finished_by_the_next(tmp_path: Path, house: Path, run: Steps) -> None:
    """The whole unit is killed, uv with it."""
    made, state = release(tmp_path / "release", "tiny"), tmp_path / "environment"
    process = subprocess.Popen(
        command(*arguments(made, house)), cwd=ROOT, env=environment(state), start_new_session=True
    )
    wait_until(lambda: (state / "venv.new/pyvenv.cfg").exists(), "uv has begun the environment")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(PATIENCE)
    assert environment_record.why_incomplete(state, made[1]) is not None
    assert run(state, *arguments(made, house)).code == 0
    assert environment_record.why_incomplete(state, made[1]) is None


def test_a_disk_that_fills_up_is_a_plain_reason_and_nothing_counts(tmp_path: Path, house: Path, run: Steps) -> None:
    """The environment is on a file system of its own that is too small for it."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a tiny file system")
    made, state = release(tmp_path / "release", "tiny"), tmp_path / "environment"
    state.mkdir()
    subprocess.run(["/usr/bin/mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(state)], check=True)
    try:
        ended: Ended = run(state, *arguments(made, house))
        assert ended.code == 1
        assert "no space left on this host's disk; make room on the host" in ended.status
        assert environment_record.why_incomplete(state, made[1]) is not None
        subprocess.run(["/usr/bin/mount", "-o", "remount,size=64m", str(state)], check=True)
        assert run(state, *arguments(made, house)).code == 0
        kept = run(state, *arguments((made[0], "f" * 32), house, "--keep-free", str(10**15)))
        assert kept.code == 1
    finally:
        subprocess.run(["/usr/bin/umount", str(state)], check=True)


def test_a_model_may_pin_an_older_mlflow_than_ours(tmp_path: Path, run: Steps) -> None:
    """From the real package index, with the server's real requirements, and a package from a wheelhouse beside it."""
    only_tiny = tmp_path / "house"
    wheels.wheel(only_tiny, "tiny", "1.0")
    made, state = (
        release(tmp_path / "release", "mlflow-skinny==2.9.2", "setuptools<81", "tiny==1.0"),
        tmp_path / "environment",
    )
    ended = run(state, "build", "--release-dir", made[0], "--digest", made[1], "--find-links", only_tiny)
    if "cannot reach" in ended.status:
        pytest.skip(f"needs the package index: {ended.status}")
    assert ended.code == 0, ended.output
    assert imported(state / "venv", "__import__('mlflow').__version__") == "2.9.2"
