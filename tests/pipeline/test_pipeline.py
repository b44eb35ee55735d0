"""The script as a data scientist runs it: a real process, a real MLflow server, an ordinary account."""

import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import mlflow.artifacts
import mlflow.pyfunc
import pytest
from mlflow import MlflowClient

from reconciler.core.units.logged_example import LoggedExample
from reconciler.steps.logged_example import find_example
from tests.pipeline.conftest import DEADLINE, ROOT, Account, Relay
from tests.s3 import buckets
from tests.tls import Authority, TlsFront

PAUSES = f"{ROOT}/examples/pauses/pauses.py:Pauses"
LIGHT = ("--requirements", str(ROOT / "examples/pauses/requirements.txt"))  # spares the search for requirements

MODEL = """
from mlflow.pyfunc import PythonModel

class Model(PythonModel):
    def predict(self, context, model_input):
        {body}
"""


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"model-{uuid.uuid4().hex[:12]}"


def versions(registry: str, name: str) -> list[str]:
    """Return the versions that the registry has of a name, oldest first."""
    found = MlflowClient(registry, registry).search_model_versions(f"name='{name}'")
    return sorted(version.version for version in found)


def is_registered(registry: str, name: str) -> bool:
    """Tell whether the registry knows the name at all."""
    return bool(MlflowClient(registry, registry).search_registered_models(f"name='{name}'"))


def test_a_model_is_registered_with_the_example_it_was_checked_with(
    scientist: Account, name: str, tmp_path: Path
) -> None:
    """What arrives loads elsewhere, and holds the request's bytes and the answer, bit for bit."""
    recording = bytes(range(256)) * 7
    (scientist.home / "sounds").mkdir()
    (scientist.home / "sounds/a.wav").write_bytes(recording)
    request = {
        "schema": 1,
        "metadata": {"age": None, "local": "São Paulo"},
        "parts": {"aceite": {"file": "sounds/a.wav"}},
    }
    example = scientist.write("example/request.json", json.dumps(request))
    (scientist.home / "sounds").rename(scientist.home / "example/sounds")
    scientist.write("weights.json", "0.5")
    scientist.write("scaling.py", "def scale(x):\n    import numpy\n    return numpy.float32(x) / 256\n")
    scientist.write("code/.env", "MLFLOW_TRACKING_PASSWORD=secret\n")
    scientist.write("code/__init__.py", "")
    scientist.write(
        "cough.py",
        "import json\nfrom pathlib import Path\nfrom mlflow.pyfunc import PythonModel\nfrom scaling import scale\n\n"
        "class Cough(PythonModel):\n"
        "    def load_context(self, context):\n"
        "        self.weight = json.loads(Path(context.artifacts['weights']).read_text())\n\n"
        "    def predict(self, context, model_input):\n"
        "        metadata, parts = model_input\n"
        "        assert type(parts['aceite']['content']) is bytearray\n"
        "        return [self.weight, scale(parts['aceite']['content'][255])], 'positive'\n",
    )
    (scientist.home / "code").rename(scientist.home / "cough_parts")
    result = scientist.run(
        *("--name", name, "--model", "cough.py:Cough", "--example", str(example), "--artifact", "weights=weights.json"),
        *("--code", "scaling.py", "--code", "cough_parts"),
    )
    assert result.code == 0, result.err
    assert result.err == ""
    assert f"{scientist.registry}/#/models/{name}/versions/1" in result.out
    assert "New model registry UI" in result.out
    assert "Production" in result.out
    assert "alias" in result.out
    assert "deployed.<host>" in result.out

    version = MlflowClient(scientist.registry, scientist.registry).get_model_version(name, "1")
    assert (version.status, version.current_stage) == ("READY", "None")
    mlflow.set_tracking_uri(scientist.registry)
    model = Path(mlflow.artifacts.download_artifacts(f"models:/{name}/1", dst_path=str(tmp_path)))
    replay = model / "artifacts/replay"
    assert (replay / "aceite.wav").read_bytes() == recording
    assert json.loads((replay / "request.json").read_text()) == {
        "schema": 1,
        "metadata": request["metadata"],
        "parts": {"aceite": {"file": "aceite.wav", "filename": "a.wav"}},
    }
    assert json.loads((replay / "response.json").read_text()) == {"output": [0.5, 255 / 256], "diagnosis": "positive"}
    files = [str(path.relative_to(model)) for path in model.rglob("*") if path.is_file()]
    assert find_example(model, files) is LoggedExample.LOGGED
    assert {path.name for path in (model / "code").iterdir()} == {"cough.py", "scaling.py", "cough_parts"}
    assert not list(model.rglob(".env"))
    assert not list(model.rglob("*.pkl"))
    requirements = (model / "requirements.txt").read_text().split()
    assert [line.partition("==")[0] for line in requirements] == ["mlflow-skinny", "numpy", "pandas"]
    script = (
        "import mlflow.pyfunc, sys; model = mlflow.pyfunc.load_model(sys.argv[1]);"
        "print(model.predict([{}, {'aceite': {'content': bytearray(256)}}]))"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-I", "-c", script, str(model)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "'positive'" in elsewhere.stdout


def test_a_run_with_wrong_keys_of_a_bucket_says_what_is_left_and_shows_no_secret(
    scientist: Account, name: str, tmp_path: Path
) -> None:
    """The experiment's artifacts are in the bucket, as with a server whose default artifact root is one."""
    MlflowClient(scientist.registry).create_experiment(name, artifact_location=f"s3://models/{name}")
    with buckets(tmp_path) as server:
        variables = server.environment | {"AWS_SECRET_ACCESS_KEY": "hunter2hunter2"}
        scientist.write(".env", "".join(f"{variable}={value}\n" for variable, value in variables.items()))
        result = scientist.run("--name", name, "--model", PAUSES, *LIGHT)
    assert result.code == 1
    said, left = result.err.splitlines()[-2:]
    assert said.startswith(f"cannot log the model at {scientist.registry}: its artifacts are in a bucket that you")
    assert "and its server refused your keys (SignatureDoesNotMatch); check AWS_ACCESS_KEY_ID" in said
    assert left.startswith(f"nothing was registered as {name}; run ")
    assert "hunter2" not in result.out + result.err


def test_a_person_at_a_terminal_is_asked_for_the_name_and_before_an_update(scientist: Account, name: str) -> None:
    """A wrong name is asked again; an existing one shows its versions and wants a yes; version 2 differs."""
    first = scientist.talk(
        {"Name of the model": "not a name", "letters, digits, - and _): ": name}, "--model", PAUSES, *LIGHT
    )
    assert first.code == 0, first.out
    assert "cannot use the name 'not a name'" in first.out
    assert "'negative'" in first.out
    client = MlflowClient(scientist.registry, scientist.registry)
    client.transition_model_version_stage(name, "1", "Production")
    client.set_registered_model_alias(name, "champion", "1")

    declined = scientist.talk({"Type yes": "no"}, "--name", name, "--model", PAUSES, *LIGHT)
    assert declined.code == 1
    assert "you did not say yes" in declined.out
    table = declined.out[declined.out.index("version  stage") :].splitlines()[1].split()
    assert table[:3] == ["1", "Production", "champion"]
    assert versions(scientist.registry, name) == ["1"]

    strict = f"thresholds={ROOT}/examples/pauses/strict.json"
    accepted = scientist.talk({"Type yes": "yes"}, "--name", name, "--model", PAUSES, "--artifact", strict, *LIGHT)
    assert accepted.code == 0, accepted.out
    assert "'positive'" in accepted.out
    assert versions(scientist.registry, name) == ["1", "2"]


def test_an_existing_name_is_not_updated_without_a_yes(scientist: Account, name: str) -> None:
    """Without a terminal there is nobody to ask: --update must say it."""
    MlflowClient(scientist.registry, scientist.registry).create_registered_model(name)
    result = scientist.run("--name", name, "--model", PAUSES, *LIGHT)
    assert result.code == 2
    assert f"cannot register {name}: the name exists already; add --update" in result.err
    assert "Traceback" not in result.err
    assert versions(scientist.registry, name) == []


def test_a_dry_run_checks_everything_and_writes_nothing(scientist: Account, name: str) -> None:
    """The seed's own settings file is read from the current directory; the filled-in template is the model."""
    script = (ROOT / "pipeline.py").read_text().replace("raise NotImplementedError", "return [1], 'negative'", 1)
    scientist.write("pipeline.py", script)
    scientist.write(".env", f"MLFLOW_CONN_URL={scientist.registry}\n")
    client = MlflowClient(scientist.registry, scientist.registry)
    before = len(client.search_experiments())
    result = scientist.run("--name", name, "--dry-run", script=scientist.home / "pipeline.py", MLFLOW_TRACKING_URI="")
    assert result.code == 0, result.err
    assert "Dry run" in result.out
    assert "Nothing was logged, nothing was registered" in result.out
    assert f"it needs Python {sys.version_info.major}.{sys.version_info.minor} and mlflow-skinny==" in result.out
    assert "dotenv" not in result.out
    assert not is_registered(scientist.registry, name)
    assert len(client.search_experiments()) == before


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return [0.1, float('nan')], 'negative'", "number 1 of the list is nan"),
        ("return {}['weights']", "KeyError: 'weights' (model.py, line 6: return {}['weights']); correct it"),
        ("return [len(open('helper.py').read())], 'negative'", "; ship the file with --artifact KEY=PATH"),
        ("raise SystemExit(0)", "SystemExit: 0 (model.py, line 6"),
        (
            "import helper",
            "ModuleNotFoundError: No module named 'helper' (model.py, line 6: import helper); add --code",
        ),
    ],
    ids=["wrong answer", "raises", "opens a file beside it", "exits", "needs code that is not shipped"],
)
def test_a_model_that_would_fail_on_the_host_is_refused(scientist: Account, name: str, body: str, said: str) -> None:
    """The refusal names the line of the author's own file; nothing is logged or registered."""
    scientist.write("model.py", MODEL.format(body=body))
    scientist.write("helper.py", "")
    result = scientist.run("--name", name, "--model", "model.py:Model", *LIGHT)
    assert result.code == 1
    assert said in result.err
    assert "Traceback" not in result.err
    assert not is_registered(scientist.registry, name)


def test_a_model_that_answers_differently_each_time_is_warned_about(scientist: Account, name: str) -> None:
    """The host replays the example and expects the same answer."""
    scientist.write("model.py", MODEL.format(body="import random; return [random.random()], 'negative'"))
    result = scientist.run("--name", name, "--model", "model.py:Model", "--dry-run", *LIGHT)
    assert result.code == 0, result.err
    assert "warning: model.py:Model answered the same example differently the second time" in result.err


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((401, "text/plain", "who are you"), "it wants a user name and a password; set MLFLOW_TRACKING_USERNAME"),
        (
            (200, "text/html", "<html>please log in</html>"),
            "another program than MLflow answers there (it sent a web page",
        ),
    ],
    ids=["401", "a web page"],
)
def test_a_server_that_answers_something_else_is_one_sentence(
    scientist: Account, relay: Relay, name: str, answer: tuple[int, str, str], said: str
) -> None:
    """What came back is told apart, and what to do about it."""
    relay.answers["/"] = answer
    result = scientist.run("--name", name, "--model", PAUSES, MLFLOW_TRACKING_URI=relay.address)
    assert result.code == 1
    assert f"cannot reach {relay.address}: {said}" in result.err
    assert "Traceback" not in result.err


def test_a_server_that_is_down_is_one_sentence_without_the_password(scientist: Account, name: str) -> None:
    """The address in a message never carries the user name and password that it was given with."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{unused.getsockname()[1]}"
        result = scientist.run("--name", name, "--model", PAUSES, "--tracking-uri", f"http://ana:hunter22@{place}")
    assert result.code == 1
    assert f"cannot reach http://{place}: it refused the connection; start the MLflow server" in result.err
    # Whoever waits meanwhile has read what for.
    assert f"asking http://{place} about {name}" in result.out
    assert "hunter22" not in result.out + result.err
    assert "Traceback" not in result.err


def test_https_to_a_server_without_tls_is_told_as_that(scientist: Account, name: str) -> None:
    """No certificate came, so that nobody is sent to look for its authority."""
    address = scientist.registry.replace("http://", "https://")
    result = scientist.run("--name", name, "--model", PAUSES, MLFLOW_TRACKING_URI=address)
    assert result.code == 1
    assert f"cannot reach {address}: it does not speak TLS as https:// expects; write http:// if the" in result.err
    assert "certificate" not in result.err


def test_a_certificate_of_an_unknown_authority_is_told_as_that(scientist: Account, name: str, tmp_path: Path) -> None:
    """TLS works, and the way out is another one."""
    with TlsFront(scientist.registry, Authority(tmp_path).issue("server")) as front:
        result = scientist.run("--name", name, "--model", PAUSES, MLFLOW_TRACKING_URI=front.uri)
    assert result.code == 1
    assert f"cannot reach {front.uri}: this machine does not trust its certificate; set MLFLOW_TRACKING" in result.err


def test_packages_without_a_version_are_warned_of(scientist: Account, name: str) -> None:
    """The host takes the newest, which nobody has tried the model with."""
    scientist.write("requirements.txt", "mlflow-skinny>=3\nnumpy\npandas[test]\n")
    result = scientist.run(
        "--name",
        name,
        "--model",
        PAUSES,
        "--requirements",
        "requirements.txt",
        MLFLOW_TRACKING_URI="http://127.0.0.1:9",
    )
    assert "warning: requirements.txt names no version of numpy, pandas[test]: the host installs" in result.err


def test_a_server_that_never_answers_is_given_up(scientist: Account, name: str) -> None:
    """MLflow alone would go on trying for twenty minutes."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        result = scientist.run(
            "--name", name, "--model", PAUSES, MLFLOW_TRACKING_URI=address, MLFLOW_HTTP_REQUEST_TIMEOUT="1"
        )
    assert result.code == 1
    assert f"cannot reach {address}: it did not answer within 1 seconds" in result.err


def test_an_interruption_while_registering_says_what_exists(scientist: Account, relay: Relay, name: str) -> None:
    """The model is logged by then; whether the version exists is not known, and where to look is."""
    relay.stalls = "model-versions/create"
    process = scientist.start("--name", name, "--model", PAUSES, *LIGHT, MLFLOW_TRACKING_URI=relay.address)
    assert relay.stalled.wait(DEADLINE)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130
    assert f"interrupted: a version of {name} may or may not exist: look at {relay.address}/#/models/" in err
    assert "Traceback" not in err
    assert versions(scientist.registry, name) == []


def test_an_interruption_while_logging_says_that_nothing_is_registered(
    scientist: Account, relay: Relay, name: str
) -> None:
    """A termination counts as an interruption too."""
    relay.stalls = "/logged-models"
    process = scientist.start("--name", name, "--model", PAUSES, *LIGHT, MLFLOW_TRACKING_URI=relay.address)
    assert relay.stalled.wait(DEADLINE)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130
    assert f"interrupted: nothing was registered as {name}; run " in err
    assert "holds an incomplete model" in err
    assert "Traceback" not in err
    assert not is_registered(scientist.registry, name)


def test_a_failure_after_logging_says_that_nothing_was_registered(scientist: Account, relay: Relay, name: str) -> None:
    """The refusal of the registry is shown, and how far the work got."""
    relay.answers["registered-models/create"] = (403, "application/json", '{"error_code": "PERMISSION_DENIED"}')
    result = scientist.run("--name", name, "--model", PAUSES, *LIGHT, MLFLOW_TRACKING_URI=relay.address)
    assert result.code == 1
    assert f"cannot register {name} at {relay.address}: it says you are not allowed to" in result.err
    assert f"but nothing was registered as {name}" in result.err
    assert "Traceback" not in result.err
    assert not is_registered(scientist.registry, name)


def test_a_name_that_somebody_else_takes_meanwhile_is_left_alone(scientist: Account, relay: Relay, name: str) -> None:
    """Between the look at the registry and the registration lies the upload, which may take long."""
    taken = '{"error_code": "RESOURCE_ALREADY_EXISTS", "message": "taken"}'
    relay.answers["registered-models/create"] = (400, "application/json", taken)
    result = scientist.run("--name", name, "--model", PAUSES, *LIGHT, MLFLOW_TRACKING_URI=relay.address)
    assert result.code == 1
    assert f"cannot register {name}: somebody else registered that name just now" in result.err
    assert versions(scientist.registry, name) == []


def test_a_version_that_does_not_become_ready_is_reported_by_number(
    scientist: Account, relay: Relay, name: str
) -> None:
    """A stuck version exists but can never be served: the author must not promote it."""
    stuck = {"name": name, "version": "7", "status": "FAILED_REGISTRATION", "status_message": "disk full"}
    relay.answers["model-versions/create"] = (200, "application/json", json.dumps({"model_version": stuck}))
    result = scientist.run("--name", name, "--model", PAUSES, *LIGHT, MLFLOW_TRACKING_URI=relay.address)
    assert result.code == 1
    assert f"cannot finish {name}: version 7 is FAILED_REGISTRATION: disk full" in result.err
    assert f"version 7 of {name} was created but is not READY" in result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--name", "a b", "--model", PAUSES), "cannot use the name 'a b': only letters"),
        (("--name=-a", "--model", PAUSES), "cannot use the name '-a': it starts with -; choose another"),
        (("--model", PAUSES), "cannot ask for the model's name: there is nobody to answer; give --name NAME"),
        (("--name", "a", "--model", "nowhere.py:Model"), "there is no file nowhere.py; check the path"),
        (
            ("--name", "a", "--model", f"{ROOT}/README.md:Model"),
            "README.md is not a Python file; give a file",
        ),
        (
            ("--name", "a", "--model", PAUSES.replace(":Pauses", ":Rests")),
            "pauses.py has no class Rests, only Pauses; check the CLASS",
        ),
        (
            ("--name", "a", "--model", PAUSES, "--artifact", "replay=x"),
            "the example has the key replay; choose another key",
        ),
        (("--name", "a", "--model", PAUSES, "--example", "nowhere.json"), "cannot use the example nowhere.json"),
        (("--name", "a", "--model", PAUSES, "--tracking-uri", "sqlite:///x"), "not the address of an MLflow server"),
        (
            ("--name", "a", "--model", PAUSES, "--tracking-uri", "127.0.0.1:5000"),
            "cannot use 127.0.0.1:5000: it has no http:// or https:// in front; write http://127.0.0.1:5000, or",
        ),
        (("--nmae", "a"), "unrecognized arguments"),
    ],
)
def test_wrong_usage_exits_with_2_and_a_sentence(scientist: Account, arguments: tuple[str, ...], said: str) -> None:
    """Found out before MLflow is even imported."""
    result = scientist.run(*arguments)
    assert result.code == 2
    assert said in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("def broken(:\n", "cannot read model.py: SyntaxError: invalid syntax (line 1)"),
        (MODEL.format(body="raise NotImplementedError"), "its predict is not written yet"),
    ],
    ids=["not Python", "the unchanged template"],
)
def test_a_file_that_cannot_be_a_model_is_refused_at_once(scientist: Account, file: str, said: str) -> None:
    """Looking at the text is enough."""
    scientist.write("model.py", file)
    result = scientist.run("--name", "a", "--model", "model.py:Model")
    assert result.code == 1
    assert said in result.err
    assert "Traceback" not in result.err


def test_a_file_named_like_a_module_of_python_is_refused(scientist: Account) -> None:
    """It would be imported as something else where it is served."""
    scientist.write("random.py", MODEL.format(body="return [], 'negative'"))
    result = scientist.run("--name", "a", "--model", "random.py:Model")
    assert result.code == 2
    assert "Python has a module random of its own; rename the file" in result.err


def test_a_reader_that_goes_away_does_not_stop_the_registration(scientist: Account, name: str) -> None:
    """As with `pipeline.py | head -1`."""
    process = scientist.start("--name", name, "--model", PAUSES, *LIGHT)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(DEADLINE) == 0
    assert versions(scientist.registry, name) == ["1"]


def test_a_file_that_may_not_be_read_is_a_sentence(scientist: Account) -> None:
    """The same holds for a full disk: what the system says, not a traceback."""
    scientist.write("model.py", MODEL.format(body="return [], 'negative'")).chmod(0)
    result = scientist.run("--name", "a", "--model", "model.py:Model")
    assert result.code == 1
    assert f"cannot read or write {scientist.home}/model.py: Permission denied" in result.err
    assert "Traceback" not in result.err


def test_a_missing_mlflow_is_a_sentence(scientist: Account) -> None:
    """Python without site-packages stands for an interpreter in which nothing was installed."""
    command = [sys.executable, "-S", str(ROOT / "pipeline.py"), "--name", "a", "--allow-root"]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=scientist.home, env=scientist.environment()
    )
    assert result.returncode == 1
    assert "mlflow is not installed" in result.stderr
    assert "; run python3 -m venv v && . v/bin/activate && pip install mlflow" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try to run it as root")
def test_root_is_refused() -> None:
    """It runs somebody's model code: an ordinary account is enough for that."""
    command = [sys.executable, str(ROOT / "pipeline.py"), "--name", "a"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "cannot run as root" in result.stderr
    assert "--allow-root" in result.stderr


def test_the_iris_example_does_not_write_into_a_local_file(scientist: Account, name: str) -> None:
    """MLflow would do so without a word, and say that the version is registered; the .env of step 1 counts."""
    script = ROOT / "examples/iris/iris.py"
    refused = scientist.run(name, script=script, MLFLOW_TRACKING_URI="")
    assert refused.code == 1
    assert "MLFLOW_TRACKING_URI does not name an MLflow server; set it in the environment or in .env" in refused.err
    assert list(scientist.home.iterdir()) == []
    scientist.write(".env", "MLFLOW_TRACKING_URI=http://127.0.0.1:9\n")
    assert "Connection refused" in scientist.run(name, script=script, MLFLOW_TRACKING_URI="").err


def test_the_recording_of_the_example_is_made_by_the_lines_beside_it(tmp_path: Path) -> None:
    """Nobody's voice is in the repository, and everybody can see so."""
    folder = ROOT / "examples/pauses"
    script = tmp_path / "make_recording.py"
    script.write_text((folder / "make_recording.py").read_text())
    subprocess.run([sys.executable, str(script)], check=True)
    made = (tmp_path / "recording.wav").read_bytes()
    assert made == (folder / "recording.wav").read_bytes()
    assert len(made) < 20_000


def test_the_iris_example_registers_a_model_that_answers_its_own_example(
    scientist: Account, name: str, tmp_path: Path
) -> None:
    """A model that has nothing to do with SPIRA, logged by a few lines of its own."""
    result = scientist.run(name, script=ROOT / "examples/iris/iris.py")
    assert result.code == 0, result.err
    assert versions(scientist.registry, name) == ["1"]
    mlflow.set_tracking_uri(scientist.registry)
    model = mlflow.pyfunc.load_model(f"models:/{name}/1", dst_path=str(tmp_path))
    assert list(model.predict(model.input_example)) == [0, 0]
