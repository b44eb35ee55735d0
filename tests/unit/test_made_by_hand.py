"""A unit that people made by hand is taken away and put back as it was, and nothing beside it is touched."""

import os
from pathlib import Path

import pytest

from reconciler.core.units.made_by_hand import Link, MadeByHand
from reconciler.files.made_by_hand_file import BackupError, keep, kept, put_back, take_away

UNIT = "docker-compose-model@demo.service"


def listing(directory: Path) -> dict[str, str]:
    """Everything below a directory, with what links name and files hold."""
    found = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        found[name] = f"-> {path.readlink()}" if path.is_symlink() else path.read_text() if path.is_file() else "/"
    return found


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A directory of units as the manual leaves it: a link into a user's directory, and one that a boot goes by."""
    directory = tmp_path / "etc"
    (directory / "multi-user.target.wants").mkdir(parents=True)
    (directory / UNIT).symlink_to("/home/ada/model_deploys/demo/docker-compose-model@.service")
    (directory / "multi-user.target.wants" / UNIT).symlink_to(f"/etc/systemd/system/{UNIT}")
    (directory / "docker-compose-model@other.service").symlink_to("/home/ada/model_deploys/other/x.service")
    return directory


def found(units: Path, **more: object) -> MadeByHand:
    """What `find` would say of it."""
    links = [
        Link(path=str(path), target=str(path.readlink()))
        for path in (units / UNIT, *(wants / UNIT for wants in units.glob("*.wants")))
        if path.is_symlink()
    ]
    return MadeByHand(schema=1, unit=UNIT, text="[Service]\n", links=tuple(links), **more)  # type: ignore[arg-type]  # validated by pydantic


def test_what_is_taken_away_comes_back_as_it_was(units: Path, tmp_path: Path) -> None:
    """Over the file that keeps it, as after an undo days later."""
    before, backup = listing(units), tmp_path / "backup"
    keep(found(units), backup)
    take_away(kept(backup))
    assert listing(units) == {
        "docker-compose-model@other.service": "-> /home/ada/model_deploys/other/x.service",
        "multi-user.target.wants": "/",
    }
    put_back(kept(backup))
    assert listing(units) == before


def test_both_may_be_done_again(units: Path, tmp_path: Path) -> None:
    """A command that was interrupted is run once more."""
    before, backup = listing(units), tmp_path / "backup"
    keep(found(units), backup)
    keep(MadeByHand(schema=1, unit=UNIT, text="later"), backup)
    for _ in range(2):
        take_away(kept(backup))
    for _ in range(2):
        put_back(kept(backup))
    assert listing(units) == before
    assert kept(backup).text == "[Service]\n"


def test_a_template_of_other_instances_stays(units: Path, tmp_path: Path) -> None:
    """Somebody may have linked the template instead of one instance."""
    template = units / "docker-compose-model@.service"
    template.symlink_to("/home/ada/model_deploys/demo/docker-compose-model@.service")
    (units / UNIT).unlink()
    links = (Link(path=str(template), target=str(template.readlink())), *found(units).links)
    keep(MadeByHand(schema=1, unit=UNIT, text="", links=links), tmp_path / "backup")
    take_away(kept(tmp_path / "backup"))
    assert template.is_symlink()
    assert not (units / "multi-user.target.wants" / UNIT).is_symlink()


def test_a_file_that_is_no_link_is_kept_with_its_text(units: Path, tmp_path: Path) -> None:
    """Some people copied it instead."""
    (units / UNIT).unlink()
    (units / UNIT).write_text("[Service]\nExecStart=/bin/true\n")
    before, backup = listing(units), tmp_path / "backup"
    wants = units / "multi-user.target.wants" / UNIT
    kept_before = MadeByHand(
        schema=1,
        unit=UNIT,
        text="",
        links=(Link(path=str(wants), target=str(wants.readlink())),),
        files={str(units / UNIT): (units / UNIT).read_text()},
    )
    keep(kept_before, backup)
    take_away(kept(backup))
    put_back(kept(backup))
    assert listing(units) == before


@pytest.mark.parametrize("content", ["", "{}", '{"schema": 2}', '{"schema": 1, "unit": "x", "text": "", "more": 1}'])
def test_a_copy_that_cannot_be_used_is_refused(tmp_path: Path, content: str) -> None:
    """And nothing is put anywhere."""
    (tmp_path / "unit.json").write_text(content)
    (tmp_path / "unit.json").chmod(0o600)
    with pytest.raises(BackupError, match=r"unit\.json cannot be used"):
        kept(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="files are given to another user")
def test_the_copy_of_a_users_directory_shows_nothing_of_root(units: Path, tmp_path: Path) -> None:
    """A link in it could name any file; the copy is made as the directory's owner, and follows none."""
    secret = tmp_path / "secret"
    secret.write_text("of root")
    secret.chmod(0o600)
    directory = Path("/var/tmp") / f"made-by-hand-{os.getpid()}"  # noqa: S108 - of this process, for another user
    directory.mkdir(mode=0o755)
    try:
        (directory / ".env").symlink_to(secret)
        (directory / "closed").write_text("of root, too")
        (directory / "closed").chmod(0o600)
        (directory / "own").write_text("of the user")
        os.chown(directory / "own", 65534, 65534)
        os.chown(directory, 65534, 65534)
        keep(found(units, directory=str(directory)), tmp_path / "backup")
        archive = (tmp_path / "backup" / "files.tar").read_bytes()
        assert b"of the user" in archive
        assert b"of root" not in archive
    finally:
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()
