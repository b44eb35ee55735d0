"""Files that a model's requirements include, and their options: as people write them, and as nobody should."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.steps import manifest as manifests
from reconciler.steps.requirements import read_environment
from reconciler.steps.step_report import StepError
from tests.steps.conftest import log_directory
from tests.steps.step import Steps
from tests.steps.test_build import imported
from tests.steps.test_model_wheels import build, model, refusal


def test_constraints_beside_the_requirements_are_obeyed(tmp_path: Path, house: Path, run: Steps) -> None:
    """A package that nothing requires is not installed for them, and one that another package requires is held, too."""
    for name, lines in (("own", ("tiny", "-c constraints.txt")), ("others", ("wants-tiny", "-cconstraints.txt"))):
        release = tmp_path / name / "release"
        model(release / "model", *lines, **{"constraints.txt": "tiny<2\nunheard-of==1\n"})
        ended = build(run, release, "--find-links", str(house), "--offline")
        assert ended.status.startswith("built environment"), ended.output
        assert imported(release.parent / "environment/venv", "tiny.__version__") == "1.0"
        packages = json.loads((release.parent / "environment/complete.json").read_text())["packages"]
        assert "unheard-of==1" not in packages


@pytest.mark.parametrize(
    ("constraint", "why"),
    [
        ("tiny<1", "the model's requirements contradict each other: "),
        ("starlette<0.2", "contradict what the server itself needs (starlette>=0.37)"),
    ],
)
def test_constraints_that_cannot_be_obeyed_are_a_plain_reason(
    tmp_path: Path, house: Path, run: Steps, constraint: str, why: str
) -> None:
    """They also hold for what the server needs."""
    model(tmp_path / "release/model", "tiny", "-c constraints.txt", **{"constraints.txt": constraint})
    ended = build(run, tmp_path / "release", "--find-links", str(house), "--offline")
    assert ended.status.startswith("cannot build the environment: ")
    assert why in ended.status


def test_other_constraints_make_another_environment(tmp_path: Path) -> None:
    """Their order and the name of their file do not; and without any, the digest is as it always was."""
    files = [
        ("-c constraints.txt", {"constraints.txt": "a<1\nb<1\n"}),
        ("--constraint=more.txt", {"more.txt": "# why\nb<1\na<1\n"}),
        ("-c constraints.txt", {"constraints.txt": "a<2\nb<1\n"}),
        ("", {}),
    ]
    found = [
        read_environment(model(tmp_path / str(number), "tiny", line, **more), "model")
        for number, (line, more) in enumerate(files)
    ]
    assert [one.constraints for one in found] == [("a<1", "b<1"), ("a<1", "b<1"), ("a<2", "b<1"), ()]
    assert found[0].digest == found[1].digest
    assert len({one.digest for one in found}) == 3


def test_files_include_others_from_where_they_are(tmp_path: Path) -> None:
    """As pip does it: relative to the including file, requirements and constraints apart, each file once."""
    files = model(
        tmp_path,
        "tiny",
        "-r deep/more.txt",
        "--requirement 'deep/and more.txt'",
        **{"c.txt": "tiny<2\n-r deep/last.txt\n", "base.txt": "d==1\n"},
    )
    (files / "deep").mkdir()
    (files / "deep/more.txt").write_text("a==1\n-r last.txt -c last.txt\n")
    (files / "deep/and more.txt").write_text("b==1\n-r ./last.txt\n-r ../base.txt\n-r ../deep/../base.txt\n")
    (files / "deep/last.txt").write_text("c==1\n")
    found = read_environment(files, "model")
    assert (found.requirements, found.constraints) == (("a==1", "b==1", "c==1", "d==1", "tiny"), ("c==1",))
    assert read_environment(model(tmp_path, "tiny", "-c c.txt"), "model").requirements == ("c==1", "tiny")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("-c /etc/passwd", "it leads out of the model's directory; name a file of the model"),
        ("-c ../constraints.txt", "it leads out of the model's directory; name a file of the model"),
        ("-r deep/up.txt", "it leads out of the model's directory; name a file of the model"),
        ("-r deep/circle.txt", "requirements.txt includes itself; log the model again without the circle"),
        ("-c ///etc/passwd", "it leads out of the model's directory; name a file of the model"),
        ("-r .", "it leads out of the model's directory; name a file of the model"),
        ("-r deep/../../x.txt", "it leads out of the model's directory; name a file of the model"),
        ("-r https://example.org/r.txt", "only files of the model are read; list the requirements themselves"),
        ("-c file:constraints.txt", "only files of the model are read; list the requirements themselves"),
        ("-c missing.txt", "the model has no file 'missing.txt'; list the requirements themselves"),
        ("-c MLmodel/constraints.txt", "the model has no file 'MLmodel/constraints.txt'; list"),
        ("-c", "it cannot be read"),
        ("-c 'constraints.txt", "it cannot be read"),
        ("-c deep\\constraints.txt", "it cannot be read"),
        ("-r requirements.txt", "requirements.txt includes itself; log the model again without the circle"),
        ("-r circle.txt", "circle.txt includes itself; log the model again without the circle"),
        ("-c many0.txt", "more than 20 files are included; log the model with fewer"),
        ("-c wheel.txt", "a constraint is a package name with versions; log the model again without it"),
        ("-c options.txt", "indexes are the host's setting: have build.index_url set to one"),
    ],
)
def test_what_a_line_may_not_include_is_refused(tmp_path: Path, line: str, why: str) -> None:
    """Only files of the model are read, and none for ever."""
    texts = {f"many{number}.txt": f"-c many{number + 1}.txt\n" for number in range(30)}
    texts |= {"circle.txt": "-r back.txt\n", "back.txt": "-c circle.txt\n"}
    texts |= {"wheel.txt": "wheels/tiny-1.0-py3-none-any.whl\n", "options.txt": "--extra-index-url https://x.org\n"}
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/up.txt").write_text("-r ../../x.txt\n")
    (tmp_path / "deep/circle.txt").write_text("-r ../requirements.txt\n")
    message = refusal(model(tmp_path, "tiny", line, **texts))
    assert message.startswith("cannot use the model's requirement ")
    assert why in message


def test_links_pipes_and_directories_are_not_read(tmp_path: Path) -> None:
    """A fetch takes none; nor does what reads the files afterwards wait for one."""
    files = model(tmp_path / "model", "-c constraints.txt")
    (tmp_path / "outside.txt").write_text("tiny\n")
    (files / "constraints.txt").symlink_to(tmp_path / "outside.txt")
    assert "cannot read the model's constraints.txt: Too many levels of symbolic links" in refusal(files)
    for make in (os.mkfifo, os.mkdir):
        path = files / f"{make.__name__}.txt"
        make(path)
        included = refusal(model(files, f"-c {path.name}"))
        assert f"cannot read the model's {path.name}: it is not a file; log the model again" in included


def test_constraints_need_hashes_where_they_are_required(tmp_path: Path) -> None:
    """Otherwise they would let uv choose among versions that are not listed."""
    digest = f"--hash=sha256:{64 * '0'}"
    files = model(tmp_path, f"tiny==1.0 {digest}", "-c constraints.txt", **{"constraints.txt": "tiny<2\n"})
    with pytest.raises(StepError, match=r"'tiny<2': this host installs nothing without a --hash"):
        read_environment(files, "model", require_hashes=True)
    (files / "constraints.txt").write_text(f"tiny==1.0 {digest}\n")
    assert read_environment(files, "model", require_hashes=True).constraints == (f"tiny==1.0 {digest}",)


OPTIONS = {
    "-i https://pkgs.example.org/simple": "have build.index_url set to it, or build.ignore_index_options switched on",
    "--index-url=https://pkgs.example.org/simple": "have build.index_url set to it",
    "--extra-index-url https://pkgs.example.org/simple": "have build.index_url set to one that has all packages, or "
    "build.find_links to a directory with the others, or build.ignore_index_options switched on if the host has them",
    "-f wheels": "have build.find_links set, or build.ignore_index_options switched on",
    "--find-links https://pkgs.example.org/wheels": "have build.find_links set",
    "--no-index": "have build.offline switched on",
    "--trusted-host pkgs.example.org": "have its index (build.index_url) get a certificate that the host trusts",
    "--pre": "name the version that you want, such as name==2.0rc1",
    "-e .": 'ship the wheel inside the model: log it with code_paths=["NAME.whl"] and list code/NAME.whl',
    "--no-binary :all:": "have build.allow_source switched on",
    "--only-binary=:all:": "the host installs wheels only unless build.allow_source says otherwise",
    "--prefer-binary": "the host installs wheels only unless build.allow_source says otherwise",
    "--require-hashes": "whether hashes are required is the host's setting (build.require_hashes)",
    "--install-option x": "this host does not know the option",
    "-z": "it cannot be read",
}
PLACES = {
    "git+https://example.org/tiny.git": "packages come from the host's own places (build.index_url, build.find_links); "
    "ship the wheel inside the model",
    "tiny @ git+ssh://git@example.org/tiny.git": "packages come from the host's own places",
    "tiny[x]@https://example.org/tiny.tar.gz": "packages come from the host's own places",
    "https://example.org/tiny.zip": "packages come from the host's own places",
    "./local": "it is a path of the machine where the model was made; ship the wheel inside the model",
    "/home/ana/tiny": "it is a path of the machine where the model was made; ship the wheel inside the model",
    "tiny=\\=1.0": "only package names with versions and wheels in the model are allowed; correct it",
}


@pytest.mark.parametrize("line", [*OPTIONS, *PLACES])
def test_what_is_refused_names_the_hosts_setting_for_the_purpose(tmp_path: Path, line: str) -> None:
    """Whoever reads the sentence knows whom to ask for what."""
    message = refusal(model(tmp_path, "tiny", line))
    assert message.startswith("cannot use the model's requirement ")
    assert (OPTIONS | PLACES)[line] in message


INDEX_OPTIONS = ("-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--no-index", "--trusted-host")


@pytest.mark.parametrize("line", [*OPTIONS, *PLACES])
def test_only_options_about_an_index_are_ignored_where_the_host_says_so(tmp_path: Path, line: str) -> None:
    """The environment is the same as without them."""
    files = model(tmp_path, "tiny", line)
    if not line.startswith(INDEX_OPTIONS):
        with pytest.raises(StepError):
            read_environment(files, "model", ignore_index_options=True)
        return
    found = read_environment(files, "model", ignore_index_options=True)
    assert len(found.ignored) == 1
    assert found.digest == read_environment(model(tmp_path, "tiny"), "model").digest


def test_no_more_options_are_ignored_than_lines_are_read(tmp_path: Path) -> None:
    """Each of them goes into the manifest, the journal and the record of the environment."""
    for count in (1000, 1001):
        hosts = [f"--trusted-host host{number} --no-index" for number in range(count - 1)]
        files = model(tmp_path / str(count), "tiny", *hosts)
        if count == 1000:
            assert len(read_environment(files, "model", ignore_index_options=True).ignored) == count
            continue
        with pytest.raises(StepError, match=r"more than 1000 options about an index; log the model again without them"):
            read_environment(files, "model", ignore_index_options=True)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("--extra-index-url https://ana:t0ken@pkgs.example.org/t0ken/simple", "--extra-index-url {server}'"),
        ("-i https://pkgs.example.org?t0ken", "--index-url {server}'"),
        ("-f https://pkgs.example.org:443/t0ken --pre", "--find-links {server}'"),
        ("--index-url https:/pkgs.example.org/t0ken", "--index-url …'"),
        ("--pre --index-url https://pkgs.example.org/t0ken", "--pre'"),
        ("--index-url https://pkgs.example.org/t0ken -z", "--index-url {server}/… -z'"),
        ("-i 'https://pkgs.example.org/t0ken", '''-i 'https://pkgs.example.org/…"'''),
        ("-r https://pkgs.example.org/t0ken/r.txt", "-r {server}/…'"),
        ("tiny @ git+https://t0ken@pkgs.example.org/t0ken", "tiny @ git+{server}/…'"),
        ("https://pkgs.example.org", "{server}'"),
    ],
)
def test_a_refused_address_is_told_without_what_could_be_a_secret(tmp_path: Path, line: str, shown: str) -> None:
    """A path can hold a token as well as a login can, and the sentence goes into status, journal and registry."""
    message = refusal(model(tmp_path, line))
    assert shown.format(server="https://pkgs.example.org") in message
    assert "t0ken" not in message


def test_ignored_options_are_told_without_what_could_be_a_secret(
    tmp_path: Path, registry: str, house: Path, run: Steps
) -> None:
    """In the journal of the fetch and in the record of the environment; switched off again, they are refused."""
    files = model(
        tmp_path / "files",
        "tiny==1.0",
        "--extra-index-url https://ana:hunter2@pkgs.example.org/t0ken/simple --trusted-host pkgs.example.org",
    )
    registered = log_directory(registry, "indexed", files)
    release = tmp_path / "release"
    refused = run(release, *registered.arguments(), MLFLOW_TRACKING_URI=registry)
    assert "have build.index_url set to one that has all packages" in refused.status, refused.output
    fetched = run(release, *registered.arguments(), "--ignore-index-options", MLFLOW_TRACKING_URI=registry)
    assert fetched.status.startswith("fetched 3 files"), fetched.output
    options = ["--extra-index-url https://pkgs.example.org", "--trusted-host pkgs.example.org"]
    for option in options:
        assert f"ignored in the model's requirements, by build.ignore_index_options: {option}\n" in fetched.output
    needs = manifests.read(release).environment
    order = ("build", "--release-dir", release, "--digest", needs.digest, "--find-links", house, "--offline")
    built = run(tmp_path / "environment", *order)
    assert built.status.startswith("built environment"), built.output
    assert json.loads((tmp_path / "environment/complete.json").read_text())["ignored"] == options
    for text in (refused.output, fetched.output, built.output):
        assert "hunter2" not in text
    again = run(release, *registered.arguments(), MLFLOW_TRACKING_URI=registry)
    assert "have build.index_url set to one that has all packages" in again.status


BLANKS = " " * 1_000_000
READ = (
    "import pathlib, sys; from reconciler.steps.requirements import read_environment; "
    "read_environment(pathlib.Path(sys.argv[1]), 'model')"
)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (f"a-1-py3-none-any.whl{BLANKS}x", "only package names with versions and wheels in the model are allowed"),
        (f"a-1-py3-none-any.whl [a]{BLANKS}x", "only package names with versions and wheels in the model are allowed"),
        (f"tiny{BLANKS}x", "only package names with versions and wheels in the model are allowed"),
        (f"-r {'a' * 1_000_000}", "it has more than 1000 characters; log the model again without it"),
    ],
    ids=["wheel", "extras", "name", "option"],
)
def test_a_line_of_a_megabyte_is_refused_at_once(tmp_path: Path, line: str, why: str) -> None:
    """A pattern that shares out a run of blanks in all ways would take minutes or hours for it."""
    model(tmp_path, line)
    # In a process of its own: nothing but its end stops a pattern that has begun.
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert why in done.stderr
