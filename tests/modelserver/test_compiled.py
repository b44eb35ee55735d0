"""What libraries compile before the server is ready is offered for keeping, and used by the next start."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from modelserver.model import compiled
from modelserver.model.compiled import TRIAL
from tests.modelserver.process import ServerProcess, listen, start, url

CODE = Path(__file__).with_name("compiling_model.py")
HINT = "ask its operators for deploy.executable_memory"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A logged model that compiles when it is loaded."""
    import mlflow

    directory = tmp_path_factory.mktemp("compiling")
    os.environ["NUMBA_CACHE_DIR"] = str(directory / "at-home")
    mlflow.pyfunc.save_model(directory / "model", python_model=str(CODE), pip_requirements=["mlflow"])
    del os.environ["NUMBA_CACHE_DIR"]
    return directory / "model"


class Host:
    """Starts a model again and again, with nothing left between two starts but what was kept."""

    def __init__(self, directory: Path, model: Path) -> None:
        """Nothing is kept yet."""
        self.directory = directory
        self.model = model
        self.kept = directory / "kept.zip"
        self.offered = directory / "offered.zip"
        self.temporary = directory / "temporary"
        self.temporary.mkdir()
        self.starts = 0

    def ask(self) -> tuple[float, str]:
        """Start the model, ask it whether it found something compiled, and stop it; gives the answer and its log."""
        self.starts += 1
        here = self.directory / f"start-{self.starts}"
        compiled = here / "compiled"
        compiled.mkdir(parents=True)
        self.offered.unlink(missing_ok=True)
        listener = listen()
        places = ["--compiled", str(compiled), "--kept", str(self.kept), "--keep", str(self.offered)]
        server: ServerProcess = start(
            here,
            self.model,
            [listener],
            places,
            environment={"HOME": str(here), "TMPDIR": str(self.temporary), "NUMBA_CACHE_DIR": str(compiled / "numba")},
        )
        server.wait_for("READY=1")
        answer = httpx.post(f"{url(listener)}/predict", files={"metadata": (None, "{}")}, trust_env=False)
        assert answer.status_code == 200, answer.text
        assert server.end() == 0
        listener.close()
        return answer.json()["output"][0], server.printed()


@pytest.fixture
def host(tmp_path: Path, model: Path) -> Host:
    """A host without anything kept."""
    return Host(tmp_path, model)


def test_what_was_compiled_is_there_at_the_next_start(host: Host) -> None:
    """In another process, the model's own module must have the same name; and what is kept is not offered again."""
    assert host.ask()[0] == 0.0
    assert host.offered.stat().st_mode & 0o777 == 0o644
    host.offered.rename(host.kept)
    assert host.ask()[0] == 1.0
    assert not host.offered.exists()


def broken_content(kept: Path) -> None:
    """Put something else in the place of what was compiled."""
    with zipfile.ZipFile(kept) as archive:
        (name,) = archive.namelist()
    with zipfile.ZipFile(kept, "w") as archive:
        archive.writestr(name, "garbage")


def broken_archive(kept: Path) -> None:
    """Cut it off."""
    kept.write_bytes(kept.read_bytes()[:-30])


def damaged(kept: Path) -> None:
    """Change the packed bytes of its only file, which begin behind the header and the name."""
    content = bytearray(kept.read_bytes())
    begin = 30 + int.from_bytes(content[26:28], "little") + int.from_bytes(content[28:30], "little")
    content[begin] = 0xFF
    kept.write_bytes(content)


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (broken_content, "trying again without what was compiled at an earlier start"),
        (broken_archive, "cannot use what was compiled at an earlier start: File is not a zip file; compiling again"),
        (damaged, "cannot use what was compiled at an earlier start: Error -3 while decompressing data"),
    ],
)
def test_what_is_of_no_use_is_compiled_again_and_replaced(
    host: Host, break_it: Callable[[Path], None], said: str
) -> None:
    """A model that answered before does not fail because of what was kept."""
    host.ask()
    host.offered.rename(host.kept)
    break_it(host.kept)
    answer, printed = host.ask()
    assert answer == 0.0
    assert said in printed
    host.offered.rename(host.kept)
    assert host.ask()[0] == 1.0


def test_a_start_after_one_that_died_with_what_was_kept_does_without(host: Host) -> None:
    """By a crash or a deadline, of which nobody could tell. What is compiled then replaces it."""
    host.ask()
    host.offered.rename(host.kept)
    trial = host.temporary / TRIAL
    trial.touch()
    answer, printed = host.ask()
    assert answer == 0.0
    assert "the last start ended before it was ready" in printed
    assert not trial.exists()
    host.offered.rename(host.kept)
    assert host.ask()[0] == 1.0
    assert not trial.exists()


def test_a_file_that_goes_away_while_it_is_packed_keeps_nobody_from_serving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The model's threads may go on writing there."""
    monkeypatch.setattr(compiled, "_plain_files", lambda directory: iter([directory / "gone"]))
    compiled.CompileCache(tmp_path, None, tmp_path / "offered.zip").offer()
    assert "cannot keep what was compiled: " in caplog.text
    assert not (tmp_path / "offered.zip").exists()


def test_a_process_that_may_not_run_what_it_makes_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """But only of errors that follow from that."""
    from modelserver import errors

    monkeypatch.setattr(errors, "_may_run_code_it_makes", lambda: False)
    told = errors.describe_error(MemoryError("Cannot allocate write+execute memory for ffi.callback()"))
    assert told.endswith(HINT)
    assert HINT not in errors.describe_error(MemoryError("out of memory"))
    monkeypatch.setattr(errors, "_may_run_code_it_makes", lambda: True)
    assert HINT not in errors.describe_error(PermissionError("cannot allocate executable memory"))
