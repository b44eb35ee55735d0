"""Wheels that a model ships in its own files: exactly these are installed, and a model of wheels needs no index."""

import hashlib
import os
import shutil
import sys
from pathlib import Path

import pytest

from reconciler.steps import environment_record, model_wheels
from reconciler.steps import manifest as manifests
from reconciler.steps.manifest import Environment, Manifest
from reconciler.steps.requirements import read_environment
from reconciler.steps.step_report import StepError
from tests.index import Index
from tests.steps import wheels
from tests.steps.conftest import Registered, newest
from tests.steps.step import Ended, Steps
from tests.steps.test_build import imported

HERE = "tiny-1.0-py3-none-any.whl"
NOBODY = ("--index-url", "http://127.0.0.1:9/simple")
"""An index at which nothing answers: whatever asks it fails."""


def model(directory: Path, *lines: str, **files: str) -> Path:
    """Write the files of a model that lists these lines; `files` are more, by their names."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "MLmodel").write_text("flavors: {}\n")
    (directory / "python_env.yaml").write_text("python: 3.11.4\n")
    (directory / "requirements.txt").write_text("".join(f"{line}\n" for line in lines))
    for name, text in files.items():
        (directory / name).write_text(text)
    return directory


def shipped(directory: Path, *lines: str, house: Path, only: tuple[str, ...] = ("*",)) -> Path:
    """Write a model with wheels of a wheelhouse in its directory `wheels`."""
    (directory / "wheels").mkdir(parents=True)
    for pattern in only:
        for wheel in house.glob(f"{pattern}.whl"):
            shutil.copy(wheel, directory / "wheels")
    return model(directory, *lines)


def build(run: Steps, release: Path, *arguments: str, name: str = "environment") -> Ended:
    """Build a release's environment after writing its manifest, as a fetch would."""
    needs = read_environment(release / "model", "model", require_hashes="--require-hashes" in arguments)
    record(release, needs)
    order = ("build", "--release-dir", release, "--digest", needs.digest, *arguments)
    return run(release.parent / name, *order)


def record(release: Path, needs: Environment) -> None:
    """Write the manifest of a release that needs this."""
    manifests.write(
        release, Manifest(schema=1, name="demo", version=1, source="models:/m-1", files={}, environment=needs)
    )


def sha256(path: Path) -> str:
    """Digest a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def refusal(directory: Path) -> str:
    """Return the sentence with which the model's files are refused."""
    with pytest.raises(StepError) as caught:
        read_environment(directory, "model")
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "listed"),
    [
        (f"wheels/{HERE}", f"wheels/{HERE}"),
        (f"./wheels/{HERE}", f"wheels/{HERE}"),
        (f"wheels\\{HERE}", f"wheels/{HERE}"),
        (f"wheels/{HERE}[a, b] ; python_version  > '3'", f"wheels/{HERE}[a,b] ; python_version > '3'"),
    ],
)
def test_a_wheel_in_the_model_is_listed_with_the_hash_of_its_file(
    tmp_path: Path, house: Path, written: str, listed: str
) -> None:
    """However it is written; Windows writes backslashes."""
    files = shipped(tmp_path / "model", written, house=house, only=("tiny-*",))
    found = read_environment(files, "model")
    assert found.requirements == (f"{listed} --hash=sha256:{sha256(files / 'wheels' / HERE)}",)


def test_another_wheel_of_the_same_name_makes_another_environment(tmp_path: Path) -> None:
    """And the same one the same, whatever else the model has."""
    digests = []
    for name, content in (("a", "1"), ("b", "1"), ("c", "2")):
        own = tmp_path / name / "house"
        wheels.wheel(own, "tiny", "1.0", files={"tiny/more.py": content})
        files = shipped(tmp_path / name / "model", f"wheels/{HERE}", house=own)
        (files / "weights.bin").write_text(name)
        digests.append(read_environment(files, "model").digest)
    assert digests[0] == digests[1] != digests[2]


SHIP_IT = 'ship the wheel inside the model: log it with code_paths=["NAME.whl"] and list code/NAME.whl, or call mlflow'
ADDRESS = f"packages come from the host's own places (build.index_url, build.find_links); {SHIP_IT}"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (f"/home/ana/{HERE}", f"it is a path of the machine where the model was made; {SHIP_IT}"),
        (f"~/{HERE}", f"it is a path of the machine where the model was made; {SHIP_IT}"),
        (f"C:\\Users\\ana\\{HERE}", f"it is a path of the machine where the model was made; {SHIP_IT}"),
        (f"../{HERE}", f"it leads out of the model's directory; {SHIP_IT}"),
        (f"wheels/../../{HERE}", f"it leads out of the model's directory; {SHIP_IT}"),
        (f"wheels//{HERE}", f"it leads out of the model's directory; {SHIP_IT}"),
        (f"./house/{HERE}", f"the model has no such file; {SHIP_IT}"),
        (f"MLmodel/{HERE}", f"the model has no such file; {SHIP_IT}"),
        ("wheels/tiny.whl", "a wheel is called NAME-VERSION-PYTHON-ABI-PLATFORM.whl; keep the name"),
        ("wheels/tíny-1.0-py3-none-any.whl", "a wheel is called NAME-VERSION-PYTHON-ABI-PLATFORM.whl; keep the name"),
        (f"wheels/{HERE} --hash=sha256:{64 * '0'}", "the file in the model has another hash"),
        (f"file:wheels/{HERE}", ADDRESS),
        (f"file:///home/ana/{HERE}", ADDRESS),
        (f"https://example.org/{HERE}", ADDRESS),
        (f"tiny @ wheels/{HERE}", ADDRESS),
        (f"-e wheels/{HERE}", SHIP_IT),
        (f"--find-links=wheels/{HERE}", "have build.find_links set"),
        (f"wheels/{HERE} --no-deps", "options behind a requirement are not taken"),
    ],
)
def test_a_wheel_elsewhere_is_refused_and_told_how_to_ship(tmp_path: Path, house: Path, line: str, why: str) -> None:
    """Nothing out of the model's own directory is installed, and no file that is not named as a wheel."""
    message = refusal(shipped(tmp_path / "model", line, house=house, only=("tiny-*",)))
    assert message.startswith("cannot use the model's requirement ")
    assert why in message


ODD = "behind the path of a wheel only [extras] and a marker can be, such as ; python_version > '3.10'; correct it"
NO_OPTIONS = "options behind a requirement are not taken, but for --hash=sha256:…; log the model again without them"


@pytest.mark.parametrize(
    ("behind", "why"),
    [
        (" ; python_version > '3' --index-url https://example.org", NO_OPTIONS),
        (f" ; python_version > '3' --hash=md5:{32 * '0'}", NO_OPTIONS),
        (f" ; python_version > '3 --hash=md5:{32 * '0'}'", NO_OPTIONS),
        (" ; python_version > '3' -r more.txt", ODD),
        (" ; junk", ODD),
        (" ;", ODD),
        (f" ; {900 * '('}", ODD),
        ("[a b]", ODD),
        ("[,]", ODD),
    ],
)
@pytest.mark.parametrize("require_hashes", [False, True])
def test_only_extras_and_a_marker_can_be_behind_a_wheel(
    tmp_path: Path, house: Path, behind: str, why: str, require_hashes: bool
) -> None:
    """It goes to uv, which takes options there, and another hash than that of the file."""
    files = shipped(tmp_path / "model", f"wheels/{HERE}{behind}", house=house, only=("tiny-1*",))
    with pytest.raises(StepError) as caught:
        read_environment(files, "model", require_hashes=require_hashes)
    message = str(caught.value)
    assert message.startswith("cannot use the model's requirement ")
    assert why in message
    # A manifest of a former version may have the line.
    with pytest.raises(StepError) as caught:
        model_wheels.named(f"wheels/{HERE}{behind} --hash=sha256:{64 * '0'}")
    assert why in str(caught.value)


def test_the_words_of_a_refusal_have_no_login(tmp_path: Path) -> None:
    """Not even the first letters of one that is longer than what is shown."""
    line = f"tiny @ https://ana:{'hunter2' * 40}@example.org/{HERE}"
    assert "hunter2" not in refusal(model(tmp_path / "model", line))


def test_a_link_is_no_wheel_of_the_model(tmp_path: Path, house: Path) -> None:
    """A fetch takes no link; nor does what reads the files afterwards."""
    files = model(tmp_path / "model", f"wheels/{HERE}")
    (files / "wheels").mkdir()
    (files / "wheels" / HERE).symlink_to(house / HERE)
    assert f"cannot use the model's wheels/{HERE}: it is not a file of the model" in refusal(files)
    (files / "wheels" / HERE).unlink()
    os.mkfifo(files / "wheels" / HERE)
    assert f"cannot use the model's wheels/{HERE}: '{HERE}' is neither a file nor a directory" in refusal(files)


def test_two_wheels_of_one_package_are_refused(tmp_path: Path, house: Path) -> None:
    """By name: it is not ours to guess."""
    lines = [f"wheels/{path.name}" for path in sorted(house.glob("tiny-*"))]
    message = refusal(shipped(tmp_path / "model", *lines, house=house, only=("tiny-*",)))
    assert message.startswith(
        f"cannot use the model's wheels: {lines[0]} and {lines[1]} are both of the package tiny; "
    )


def test_a_model_of_wheels_needs_no_index(tmp_path: Path, run: Steps) -> None:
    """What it does not bring of the server's needs, the product does; no address of the model's place is recorded."""
    own, ours, release = tmp_path / "house", tmp_path / "ours", tmp_path / "release"
    wheels.wheel(own, "hospitools", "1.2.3", requires=("tiny>=1",))
    wheels.wheel(own, "tiny", "1.0")
    wheels.wheel(own, "mlflow-skinny", "3.17.2")
    wheels.server_needs(ours)
    shipped(release / "model", *(f"wheels/{path.name}" for path in own.iterdir()), house=own)
    ended = build(run, release, *NOBODY, "--server-wheels", str(ours))
    assert ended.status.startswith("built environment"), ended.output
    venv = tmp_path / "environment/venv"
    assert imported(venv, "__import__('hospitools').__version__") == "1.2.3"
    assert not list(venv.rglob("direct_url.json"))
    assert sorted(path.name for path in venv.parent.iterdir()) == ["complete.json", "venv"]


def test_what_the_wheels_lack_comes_from_the_hosts_sources(tmp_path: Path, house: Path, run: Steps) -> None:
    """A wheel that requires another package, and one beside packages that are listed by name."""
    release = tmp_path / "a/release"
    own = tmp_path / "house"
    wheels.wheel(own, "hospitools", "1.2.3", requires=("wants-old-tiny",))
    shipped(release / "model", "wheels/hospitools-1.2.3-py3-none-any.whl", house=own)
    ended = build(run, release, "--find-links", str(house), "--offline")
    assert ended.status.startswith("built environment"), ended.output
    assert imported(tmp_path / "a/environment/venv", "tiny.__version__") == "1.0"
    shipped(tmp_path / "b/release/model", "wheels/hospitools-1.2.3-py3-none-any.whl", "tiny<2", house=own)
    ended = build(run, tmp_path / "b/release", "--find-links", str(house), "--offline")
    assert ended.status.startswith("built environment"), ended.output


def test_a_directory_of_the_host_cannot_slip_in_another_file_of_that_version(
    tmp_path: Path, house: Path, run: Steps
) -> None:
    """One that suits the host better is taken, and stops the build, since its hash is another one."""
    theirs, better = shutil.copytree(house, tmp_path / "theirs"), f"py{sys.version_info.major}{sys.version_info.minor}"
    wheels.wheel(
        theirs, "tiny", "1.0", tag=f"{better}-none-any", files={"tiny/__init__.py": "__version__ = 'theirs'\n"}
    )
    shipped(tmp_path / "release/model", f"wheels/{HERE}", "wants-old-tiny", house=house, only=("tiny-1*",))
    ended = build(run, tmp_path / "release", "--find-links", str(theirs), "--offline")
    assert ended.code == 1, ended.output
    assert "Hash mismatch for `tiny==1.0`" in ended.status, ended.output
    assert not [*(tmp_path / "environment").iterdir()]


RENAMED = "has an invalid package format and you require "
AGAIN = "; a wheel of it is damaged, or was renamed: make it again, and log the model with it"
HOSTILE = {
    "no zip": ("hostile-1.0-py3-none-any.whl", RENAMED),
    "cut off": ("hostile-1.0-py3-none-any.whl", RENAMED),
    "other name": ("different-1.0-py3-none-any.whl", RENAMED),
    "other version": ("hostile-9.9-py3-none-any.whl", "Wheel version does not match filename (1.0 != 9.9)"),
    "other python": ("hostile-1.0-cp39-cp39-manylinux_2_17_x86_64.whl", "has no wheels with a matching Python"),
    "changed": ("hostile-1.0-py3-none-any.whl", "Hash mismatch for `hostile==1.0`"),
    "http": ("hostile-1.0-py3-none-any.whl", "a package names an address from which to take another"),
    "file": ("hostile-1.0-py3-none-any.whl", "a package names an address from which to take another"),
    "git": ("hostile-1.0-py3-none-any.whl", "a package names an address from which to take another"),
    "takes over": ("hostile-1.0-py3-none-any.whl", "which belongs to the environment itself"),
    "old server": ("starlette-0.0.5-py3-none-any.whl", "contradict what the server itself needs (starlette>=0.37)"),
}
"""What is wrong with a wheel, what its file is called, and what the reason says of it."""


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_wheel_in_a_model_is_a_plain_reason(tmp_path: Path, house: Path, run: Steps, kind: str) -> None:
    """Nothing is left of it, nothing was asked of a server that it names, and the sentence says what to do."""
    file, why = HOSTILE[kind]
    release, place = tmp_path / "release", tmp_path / "release/model/wheels"
    with Index(house, "nobody", "") as elsewhere:
        addresses = {"http": elsewhere.url, "git": f"git+{elsewhere.url}", "file": house.as_uri()}
        requires = (f"tiny @ {addresses[kind]}/{HERE}",) if kind in addresses else ()
        files = {"hostile-1.0.data/data/pyvenv.cfg": "home = evil/bin\n"} if kind == "takes over" else {}
        wheels.wheel(place, "hostile", "1.0", requires=requires, files=files)
        made = place / "hostile-1.0-py3-none-any.whl"
        content = {"no zip": b"hello", "cut off": made.read_bytes()[:-30]}.get(kind, made.read_bytes())
        if kind == "old server":
            content = (house / file).read_bytes()
        made.unlink()
        (place / file).write_bytes(content)
        needs = read_environment(model(release / "model", f"wheels/{file}"), "model")
        record(release, needs)
        if kind == "changed":
            wheels.wheel(place, "hostile", "1.0", files={"hostile.pth": "import os\n"})
        order = ("build", "--release-dir", release, "--digest", needs.digest, "--find-links", house, "--offline")
        ended = run(tmp_path / "environment", *order)
        assert elsewhere.let_in + elsewhere.sent_away == 0
    assert ended.code == 1, ended.output
    assert ended.status.startswith("cannot build the environment: "), ended.output
    assert why in ended.status
    assert (AGAIN in ended.status) == (kind in ("no zip", "cut off", "other name", "other version"))
    assert "; " in ended.status
    assert "Traceback" not in ended.output
    assert not [*(tmp_path / "environment").iterdir()]


def test_a_model_of_wheels_builds_where_hashes_are_required(tmp_path: Path, house: Path, run: Steps) -> None:
    """The model's digest is their hash. What they require has to be listed, too."""
    release = tmp_path / "release"
    names = ("tiny-1*", "wants_old_tiny-*", "starlette-9*", "uvicorn-*", "h11-*", "python_multipart-*")
    files = shipped(release / "model", house=house, only=names)
    model(files, *(f"wheels/{path.name}" for path in (files / "wheels").iterdir()))
    ended = build(run, release, *NOBODY, "--require-hashes")
    assert ended.status.startswith("built environment"), ended.output
    model(files, "wheels/wants_old_tiny-1.0-py3-none-any.whl", "starlette==9.0")
    unhashed = r"^cannot use the model's requirement 'starlette==9.0': this host installs nothing without a --hash"
    with pytest.raises(StepError, match=unhashed):
        read_environment(files, "model", require_hashes=True)


def test_what_mlflow_itself_writes_is_fetched_and_built(
    tmp_path: Path, registry: str, house: Path, run: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`add_libraries_to_model` makes a version with all its wheels; nothing of it comes from an index."""
    import mlflow
    from mlflow.models.utils import add_libraries_to_model

    own = shutil.copytree(house, tmp_path / "house")
    wheels.wheel(own, "mlflow-skinny", "3.17.2")
    code = tmp_path / "wheeled.py"
    code.write_text(
        "import mlflow\n\n\nclass Wheeled(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input: list[str]) -> list[str]:\n        return model_input\n\n\n"
        "mlflow.models.set_model(Wheeled())\n"
    )
    mlflow.set_tracking_uri(registry)
    mlflow.pyfunc.log_model(
        name="model",
        python_model=str(code),
        pip_requirements=["mlflow-skinny", "wants-old-tiny"],
        registered_model_name="wheeled",
    )
    for name, value in (("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", str(own)), ("PIP_CONFIG_FILE", "/dev/null")):
        monkeypatch.setenv(name, value)
    add_libraries_to_model("models:/wheeled/1")  # type: ignore[no-untyped-call]  # MLflow's own, without types
    wheeled: Registered = newest(registry, "wheeled")
    release = tmp_path / "release"
    fetched = run(release, *wheeled.arguments(), MLFLOW_TRACKING_URI=registry)
    assert fetched.code == 0, fetched.output
    needs = manifests.read(release).environment
    assert [line.partition(" ")[0] for line in needs.requirements] == [
        "wheels/mlflow_skinny-3.17.2-py3-none-any.whl",
        "wheels/tiny-1.0-py3-none-any.whl",
        "wheels/wants_old_tiny-1.0-py3-none-any.whl",
    ]
    order = ("build", "--release-dir", release, "--digest", needs.digest, *NOBODY, "--server-wheels", house)
    ended = run(tmp_path / "environment", *order)
    assert ended.status.startswith("built environment"), ended.output
    assert environment_record.why_incomplete(tmp_path / "environment", needs.digest) is None
