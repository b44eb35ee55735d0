"""Verify notices every difference between what was fetched and what lies on the disk."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.steps.step import Steps
from tests.steps.store import Store


@pytest.fixture
def release(tmp_path: Path, run: Steps) -> Path:
    """A release fetched for the host's own environment."""
    with Store() as store:
        arguments = [*store.arguments(), "--environment", "host"]
        assert run(tmp_path / "release", *arguments, MLFLOW_TRACKING_URI=store.address).code == 0
    return tmp_path / "release"


def test_an_untouched_release_is_verified(release: Path, run: Steps) -> None:
    """The status says how much was compared."""
    ended = run(release, "verify", "--release-dir", release, "--environment-dir", "host")
    assert (ended.code, ended.status) == (0, "verified 3 files, 3.0 KiB; environment=host")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ("missing", "'weights.bin' is missing"),
        ("changed", "'weights.bin' is not what was fetched"),
        ("extra", "'more.py' was not there when it was fetched"),
        ("link", "'link' is a symbolic link"),
        ("linked file", "'weights.bin' is a symbolic link"),
        ("fifo", "'fifo' is neither a file nor a directory"),
        ("manifest", "is not a manifest of this product"),
        ("no manifest", "was not fetched completely"),
        ("manifest leads out", "is not a manifest of this product"),
    ],
)
def test_a_changed_release_is_refused(release: Path, run: Steps, damage: str, why: str) -> None:
    """One sentence that names the file."""
    model, manifest = release / "model", release / "manifest.json"
    if damage in ("missing", "linked file"):
        (model / "weights.bin").unlink()
    if damage == "changed":
        (model / "weights.bin").write_bytes(b"\1" * 3000)
    elif damage == "extra":
        (model / "more.py").touch()
    elif damage == "link":
        (model / "link").symlink_to("/etc/passwd")
    elif damage == "linked file":
        (model / "weights.bin").symlink_to("/dev/zero")
    elif damage == "fifo":
        os.mkfifo(model / "fifo")
    elif damage == "manifest":
        manifest.write_text(manifest.read_text()[:-10])
    elif damage == "manifest leads out":
        manifest.write_text(manifest.read_text().replace("weights.bin", "../weights.bin"))
    elif damage == "no manifest":
        manifest.unlink()
    ended = run(release, "verify", "--release-dir", release, "--environment-dir", "host")
    assert ended.code == 1
    assert ended.status.startswith("cannot ")
    assert why in ended.status


def test_a_release_for_another_environment_is_refused(release: Path, run: Steps, tmp_path: Path) -> None:
    """Neither is the host's taken for the model's, nor the other way round."""
    ended = run(release, "verify", "--release-dir", release, "--environment-dir", tmp_path / "environment")
    assert ended.status == "cannot verify version 1 of odd: it was fetched for the environment host; fetch it again"


def test_an_environment_that_is_not_complete_is_refused(tmp_path: Path, run: Steps) -> None:
    """The record of the environment is compared, too."""
    with Store() as store:
        assert run(tmp_path / "release", *store.arguments(), MLFLOW_TRACKING_URI=store.address).code == 0
    (tmp_path / "environment").mkdir()
    arguments = ["verify", "--release-dir", tmp_path / "release", "--environment-dir", tmp_path / "environment"]
    ended = run(tmp_path / "release", *arguments)
    assert ended.status == ("cannot verify version 1 of odd: its environment was not built completely; build it again")


class Signed:
    """A release whose file is signed by openssl, and a program of root's that checks that."""

    def __init__(self, release: Path, directory: Path) -> None:
        """Make the key pair, the signature and the program."""
        self.release, self.program = release, directory / "check"
        key, public, signature = (str(directory / name) for name in ("key.pem", "public.pem", "weights.sig"))
        weights = str(release / "model/weights.bin")
        for command in (
            ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key],
            ["pkey", "-in", key, "-pubout", "-out", public],
            ["dgst", "-sha256", "-sign", key, "-out", signature, weights],
        ):
            subprocess.run(["/usr/bin/openssl", *command], check=True, capture_output=True)
        self.signature = Path(signature)
        verify = f'-verify "$1" -signature {signature} "$2/weights.bin"'
        self.write(f"exec /usr/bin/openssl dgst -sha256 {verify}")
        self.arguments: list[object] = ["verify", "--release-dir", release, "--environment-dir", "host"]
        self.arguments += [f"--check={word}" for word in (self.program, public)]

    def write(self, script: str) -> None:
        """Have the program do something else."""
        self.program.write_text(f"#!/bin/sh\n{script}\n")
        self.program.chmod(0o755)

    def refused(self, run: Steps, *more: object) -> str:
        """Run the step; return why the check is what refused the version."""
        ended = run(self.release, *self.arguments, *more)
        start = f"cannot use version 1 of odd: the signature check {self.program} "
        assert (ended.code, ended.status.startswith(start)) == (1, True), ended
        return ended.status.removeprefix(start)


@pytest.fixture
def signed(release: Path, tmp_path: Path) -> Signed:
    """A release that is signed well."""
    if os.geteuid() != 0:
        pytest.skip("needs root: the program of the check has to be root's")
    return Signed(release, tmp_path)


def test_only_files_with_a_good_signature_are_verified(signed: Signed, run: Steps) -> None:
    """openssl's own words are the reason; our digests come first."""
    ended = run(signed.release, *signed.arguments)
    assert (ended.code, ended.status) == (
        0,
        f"verified 3 files, 3.0 KiB, and {signed.program} agreed; environment=host",
    )
    good = signed.signature.read_bytes()
    signed.signature.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert re.match(r"said: .*[Vv]erif\w+ failure|said: .*error", signed.refused(run))
    (signed.release / "model/weights.bin").write_bytes(b"\1" * 3000)
    assert "'weights.bin' is not what was fetched" in run(signed.release, *signed.arguments).status


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("printf 'one\\n\\033[31mtwo\\007\\n\\n'; exit 3", "said: [31mtwo (exit status 3)"),
        ("exit 1", "said nothing but exit status 1"),
        ("echo yes; kill -9 $$", "said: yes (signal 9)"),
        ("exec sleep 1000", "took longer than 0.5 seconds; see this unit's journal"),
        ("sleep 1000 & exec yes", "took longer than 0.5 seconds; see this unit's journal"),
        ("exec >&- 2>&-; sleep 1000", "took longer than 0.5 seconds; see this unit's journal"),
    ],
)
def test_a_check_that_does_not_say_yes_says_no(signed: Signed, run: Steps, script: str, why: str) -> None:
    """Whatever it says, does not say, or however it ends."""
    signed.write(script)
    assert signed.refused(run, "--check-deadline", 0.5 if "took" in why else 300) == why


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        ("missing", "cannot be run: No such file or directory; install it, or correct fetch.verify_command"),
        ("directory", "is not a program; correct fetch.verify_command"),
        ("not executable", "is not a program; correct fetch.verify_command"),
        ("interpreter", "cannot be run: No such file or directory; install it, or correct fetch.verify_command"),
        ("group", "can be changed by others than root, at "),
        ("others", "can be changed by others than root, at "),
        ("owner", "can be changed by others than root, at "),
        ("linked owner", "can be changed by others than root, at "),
        ("directory of others", "can be changed by others than root, at "),
    ],
)
def test_a_program_that_is_not_roots_alone_is_not_run(signed: Signed, run: Steps, damage: str, why: str) -> None:
    """Nor one that is not there."""
    program, ran = signed.program, signed.release.parent / "ran"
    signed.write(f"touch {ran}")
    if damage in ("missing", "directory"):
        program.unlink()
        if damage == "directory":
            program.mkdir()
    elif damage == "not executable":
        program.chmod(0o644)
    elif damage == "interpreter":
        program.write_text("#!/nowhere\n")
    elif damage in ("group", "others"):
        program.chmod(0o775 if damage == "group" else 0o757)
    elif damage == "owner":
        os.chown(program, 1000, 0)
    elif damage == "linked owner":
        program.rename(program.with_name("real"))
        program.symlink_to("real")
        os.chown(program, 1000, 0)
    else:
        program.parent.chmod(0o777)
    said = signed.refused(run)
    assert said.startswith(why)
    assert not ran.exists()


def test_the_check_gets_nothing_of_the_step(signed: Signed, run: Steps) -> None:
    """Neither its environment nor its standard input; the model's directory is the last argument."""
    signed.write('env | cut -d= -f1 | sort | tr "\\n" " "; cat; pwd | tr "\\n" " "; echo "$# $2"; exit 1')
    seen = signed.refused(run, "--check=--x")
    assert seen == "said: HOME LANG PATH PWD / 3 --x (exit status 1)"
