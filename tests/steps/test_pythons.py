"""Interpreters that the host does not have: downloaded by uv from a mirror, pinned, a part of the environment."""

import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from reconciler.core.text.python_versions import LEAST
from reconciler.steps import environment_record
from reconciler.steps.check_files import listing
from reconciler.steps.own_python import PYTHON
from reconciler.steps.sole_access import why_not_alone
from tests.steps import standalone, wheels
from tests.steps.hostile_wheels import library_of
from tests.steps.step import Ended, Steps
from tests.steps.test_build import imported, release

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Offer:
    """One interpreter that can be downloaded."""

    mirror: Path
    listed: Path
    version: str

    @property
    def minor(self) -> str:
        """Such as 3.12."""
        return self.version.rpartition(".")[0]

    def options(self, **changed: object) -> list[str]:
        """Return the build step's arguments that allow it."""
        options = {"pythons": "managed", "python-mirror": self.mirror, "python-list": self.listed, **changed}
        return [word for name, value in options.items() if value for word in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def offer(tmp_path_factory: pytest.TempPathFactory) -> Offer:
    """A mirror of an interpreter that this machine has, where no build finds it by itself."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a list of interpreters has to be root's")
    found = standalone.interpreter_of_this_machine("3.12", "3.13", "3.10")
    if found is None:
        pytest.skip(f"needs another Python than the usual one, below {', '.join(map(str, standalone.PLACES))}")
    mirror = tmp_path_factory.mktemp("mirror")
    return Offer(mirror, standalone.mirror(mirror, *found), found[0])


def build(run: Steps, state: Path, made: tuple[Path, str], house: Path, *more: str) -> Ended:
    """Build from a wheelhouse, without a network, with an interpreter unpacked apart as in the unit."""
    order = ("build", "--release-dir", made[0], "--digest", made[1], "--find-links", house, "--offline")
    return run(state, *order, "--unpack", str(state.parent / "unpack"), *more)


@pytest.fixture(scope="module")
def built(offer: Offer, house: Path, run: Steps, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Ended]:
    """An environment of that version."""
    base = tmp_path_factory.mktemp("built")
    own = shutil.copytree(house, base / "house")
    script = {
        "scripted/__init__.py": "import sys\ndef main(): print(sys.base_prefix)\n",
        "scripted-1.0.dist-info/entry_points.txt": "[console_scripts]\nscripted = scripted:main\n",
    }
    wheels.wheel(own, "scripted", "1.0", files=script)
    made = release(base / "release", "scripted==1.0", "tiny==1.0", python=offer.minor)
    ended = build(run, base / "environment", made, own, *offer.options())
    subprocess.run(["/usr/bin/rm", "-rf", str(base / "unpack")], check=True)  # in its unit it goes with the build
    return base / "environment", made[1], ended


def test_an_interpreter_from_the_mirror_becomes_a_part_of_the_environment(
    offer: Offer, built: tuple[Path, str, Ended]
) -> None:
    """It runs from there, with its own library, compiled, recorded, and nobody else's to change."""
    state, digest, ended = built
    assert ended.status.startswith(f"built environment {digest}: Python {offer.minor}, "), ended.output
    venv = state / "venv"
    program = "import sys, ssl, sqlite3, ctypes, tiny; print(sys.version.split()[0], sys.base_prefix, sys.prefix)"
    shown = subprocess.run([venv / "bin/python", "-I", "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == [offer.version, str(venv / PYTHON), str(venv)]
    assert imported(venv, "__import__('modelserver').__name__") == "modelserver"
    assert list((venv / PYTHON).rglob("__pycache__/json*.pyc")) or list((venv / PYTHON).rglob("json/__pycache__/*.pyc"))
    record = json.loads((state / "complete.json").read_text())
    assert record["python"] == f"{venv}/{PYTHON}/bin/python{offer.minor}"
    assert record["entries"] == len(listing(str(venv), links=True))
    assert environment_record.why_incomplete(state, digest) is None
    assert why_not_alone(state) is None
    assert sorted(path.name for path in state.iterdir()) == ["complete.json", "venv"]
    links = [path for path in venv.rglob("*") if path.is_symlink() and not path.resolve().is_relative_to(venv)]
    assert not links


def test_scripts_of_packages_find_it(built: tuple[Path, str, Ended]) -> None:
    """Wherever the environment was while it was made."""
    venv = built[0] / "venv"
    shown = subprocess.run([venv / "bin/scripted"], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == str(venv / PYTHON)


def test_a_changed_interpreter_is_built_again(tmp_path: Path, offer: Offer, house: Path, run: Steps) -> None:
    """It is compared like everything else in the environment."""
    made, state = release(tmp_path / "release", "tiny==1.0", python=offer.minor), tmp_path / "environment"
    assert build(run, state, made, house, *offer.options()).code == 0
    library = next((state / "venv" / PYTHON / "lib").glob("python3*/json/decoder.py"))
    library.write_text("hostile = True\n")
    assert environment_record.why_incomplete(state, made[1]) is not None
    ended = build(run, state, made, house, *offer.options())
    assert ended.status.startswith("built environment"), ended.output
    assert "hostile" not in library.read_text()


def test_the_hosts_own_interpreter_comes_first(tmp_path: Path, offer: Offer, house: Path, run: Steps) -> None:
    """It is kept up to date with the host, and is there already."""
    made = release(tmp_path / "release", "tiny==1.0", python=HERE)
    ended = build(run, tmp_path / "environment", made, house, *offer.options())
    assert ended.status.startswith("built environment"), ended.output
    assert not (tmp_path / "environment/venv" / PYTHON).exists()
    assert not (tmp_path / "unpack").exists()


@pytest.mark.parametrize("minor", ["3.6", "3.8", "3.9"])
def test_a_python_on_which_no_server_runs_is_refused_with_those_that_do(
    tmp_path: Path, offer: Offer, house: Path, run: Steps, minor: str
) -> None:
    """Whatever could be downloaded."""
    made = release(tmp_path / "release", "tiny", python=minor)
    plain = build(run, tmp_path / "environment", made, house)
    wants = f"cannot build the environment: the model wants Python {minor}, and the model server needs {LEAST} or newer"
    assert plain.status == f"{wants}; this host has {HERE}: log the model with one of these"
    ended = build(run, tmp_path / "environment", made, house, *offer.options())
    assert (
        ended.status == f"{wants}; this host has {HERE} and can download {offer.minor}: log the model with one of these"
    )


def test_a_python_that_is_not_here_names_the_setting(tmp_path: Path, offer: Offer, house: Path, run: Steps) -> None:
    """And where downloads are allowed, what can be downloaded; uv's own list has what it always has."""
    wanted = "3.14" if offer.minor != "3.14" else "3.13"
    made = release(tmp_path / "release", "tiny", python=wanted)
    plain = build(run, tmp_path / "environment", made, house)
    assert plain.status == (
        f"cannot build the environment: the model wants Python {wanted}, this host has {HERE}; log the model with one "
        f"of these, or have python{wanted} installed in /usr/bin or /usr/local/bin, or build.pythons set to managed"
    )
    listed = build(run, tmp_path / "environment", made, house, *offer.options())
    assert f"this host has {HERE} and can download {offer.minor}; log the model with one of these, or" in listed.status
    own = build(run, tmp_path / "environment", made, house, *offer.options(**{"python-list": ""}))
    assert f"cannot get Python {wanted}: {offer.mirror} does not have the file that the list names" in own.status


@pytest.mark.parametrize("kind", ["digest", "no digest", "others", "no JSON", "missing", "offline", "unreachable"])
def test_an_interpreter_that_is_not_pinned_is_not_used(
    tmp_path: Path, offer: Offer, house: Path, run: Steps, kind: str
) -> None:
    """A sentence says why, and nothing of it is left or was run."""
    own, file = tmp_path / "list.json", next(offer.mirror.glob("*/*.tar.gz"))
    standalone.listed(own, offer.version, file, file.parent.name)
    changed: dict[str, object] = {"python-list": own}
    if kind in ("digest", "no digest"):
        sha256 = "0" * 64 if kind == "digest" else None
        standalone.listed(own, offer.version, file, file.parent.name, sha256=sha256)
    elif kind == "others":
        own.chmod(0o666)
    elif kind == "no JSON":
        own.write_text("{")
    elif kind == "missing":
        own.unlink()
    elif kind == "offline":
        changed["python-mirror"] = "http://127.0.0.1:9/pythons"
    made = release(tmp_path / "release", "tiny==1.0", python=offer.minor)
    if kind == "unreachable":
        changed["python-mirror"] = "http://127.0.0.1:9/pythons"
        order = ("build", "--release-dir", made[0], "--digest", made[1], "--find-links", house)
        ended = run(tmp_path / "environment", *order, *offer.options(**changed))
    else:
        ended = build(run, tmp_path / "environment", made, house, *offer.options(**changed))
    assert ended.code == 1, ended.output
    why = {
        "digest": f"cannot get Python {offer.minor}: {offer.mirror} has another file than the list says; find out why",
        "no digest": f"the list of Pythons {own} has no sha256 of cpython-{offer.version}-linux-",
        "others": f"the list of Pythons {own} can be changed by others than root, at {own}; have build.python_list",
        "no JSON": f"the list of Pythons {own} is not JSON; have build.python_list corrected",
        "missing": f"the list of Pythons {own} cannot be read: No such file or directory; have build.python_list",
        "offline": f"cannot get Python {offer.minor}: this host is offline; have build.python_mirror set to a",
        "unreachable": f"cannot get Python {offer.minor}: cannot reach http://127.0.0.1:9/pythons; it is tried again",
    }[kind]
    assert why in ended.status
    assert not [*(tmp_path / "environment").iterdir()]


def test_a_mirror_may_be_a_server(tmp_path: Path, offer: Offer, house: Path, run: Steps) -> None:
    """Its files are compared with the list's digests, so that it need not be believed."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(offer.mirror))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        made = release(tmp_path / "release", "tiny==1.0", python=offer.minor)
        mirror = f"http://127.0.0.1:{server.server_port}"
        order = ("build", "--release-dir", made[0], "--digest", made[1], "--find-links", house)
        (tmp_path / "empty").mkdir()
        index = ("--index-url", (tmp_path / "empty").as_uri())
        ended = run(tmp_path / "environment", *order, *index, *offer.options(**{"python-mirror": mirror}))
        server.shutdown()
    assert ended.status.startswith("built environment"), ended.output


PLACES = ("data/python/bin/python{minor}", "data/python/lib/python{minor}/os.py", "data/python")


@pytest.mark.parametrize("place", PLACES)
def test_no_package_takes_the_place_of_the_interpreter(tmp_path: Path, offer: Offer, run: Steps, place: str) -> None:
    """Not beside it, not before it: it comes into the environment when all packages are there."""
    own, marker, state = tmp_path / "house", tmp_path / "ran", tmp_path / "environment"
    wheels.server_needs(own)
    files = {f"hostile-1.0.data/{place.format(minor=offer.minor)}": f"open({str(marker)!r}, 'w')\n"}
    files |= {path: str(text) for path, text in library_of("evil", marker, offer.minor).items()}
    wheels.wheel(own, "hostile", "1.0", files=files)
    made = release(tmp_path / "release", "hostile", python=offer.minor)
    ended = build(run, state, made, own, *offer.options())
    assert ended.code == 1, ended.output
    assert "a package brings 'python', which is the place of the interpreter" in ended.status
    assert not marker.exists()
    assert not [*state.iterdir()]
