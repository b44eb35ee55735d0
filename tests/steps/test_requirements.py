"""What a model's own files say about its environment, and what of it this host refuses."""

from pathlib import Path

import pytest

from reconciler.steps.requirements import environment_digest, read_environment
from reconciler.steps.step_report import StepError


def model(directory: Path, **files: str) -> Path:
    """Write a model's files; `_` in a keyword stands for the dot of its suffix."""
    defaults = {"MLmodel": "flavors: {}\n", "requirements_txt": "tiny==1.0\n", "python_env_yaml": "python: 3.11.4\n"}
    for name, content in {**defaults, **files}.items():
        path = directory / (name if name == "MLmodel" else ".".join(name.rsplit("_", 1)))
        if content:
            path.write_text(content)
    return directory


def refusal(directory: Path) -> str:
    """Return the sentence with which the model's files are refused."""
    with pytest.raises(StepError) as caught:
        read_environment(directory, "model")
    return str(caught.value)


def test_comments_order_and_repetition_make_no_difference(tmp_path: Path) -> None:
    """Two models that need the same share one environment."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    a = read_environment(model(tmp_path / "a", requirements_txt="b==1\na==2  # why\n\n"), "model")
    b = read_environment(model(tmp_path / "b", requirements_txt="\ufeff# hello\r\na==2\r\nb==1\r\na==2\r\n"), "model")
    assert a == b
    assert a.requirements == ("a==2", "b==1")
    assert a.python == "3.11"
    assert a.digest == environment_digest("3.11", a.requirements, a.modelserver)


def test_another_python_package_or_server_is_another_environment() -> None:
    """Everything that goes into an environment goes into its digest."""
    base = environment_digest("3.11", ("a==1",), "0" * 64)
    others = {
        environment_digest("3.12", ("a==1",), "0" * 64),
        environment_digest("3.11", ("a==2",), "0" * 64),
        environment_digest("3.11", ("a==1",), "1" * 64),
    }
    assert len(others | {base}) == 4


def test_the_host_environment_has_no_digest_of_its_own(tmp_path: Path) -> None:
    """`environment = "host"` means the product's interpreter, whatever the model lists."""
    assert read_environment(model(tmp_path), "host").digest == "host"


@pytest.mark.parametrize(
    ("files", "python"),
    [
        ({"python_env_yaml": "python: 3.10.13\n"}, "3.10"),
        ({"python_env_yaml": "", "conda_yaml": "dependencies:\n- python=3.9.1\n- pip\n- pip: [tiny]\n"}, "3.9"),
        ({"python_env_yaml": "", "MLmodel": "flavors:\n  python_function:\n    python_version: 3.12.0rc1\n"}, "3.12"),
        ({"python_env_yaml": "python: odd\n", "conda_yaml": "dependencies: [python=3.8]\n"}, "3.8"),
    ],
)
def test_the_python_minor_comes_from_the_first_file_that_says_it(
    tmp_path: Path, files: dict[str, str], python: str
) -> None:
    """Models logged by older clients say it elsewhere."""
    assert read_environment(model(tmp_path, **files), "model").python == python


@pytest.mark.parametrize(
    "line",
    [
        "tiny",
        "tiny==1.0",
        "tiny[extra,more]>=1,<2",
        "tiny ~= 1.0",
        "tiny (>=1.0)",
        "tiny; python_version < '3.9'",
        "tiny==1.0+cpu",
        "a.b_c-d==1.*",
    ],
)
def test_names_with_versions_and_markers_are_accepted(tmp_path: Path, line: str) -> None:
    """What MLflow writes, and what people write by hand."""
    assert read_environment(model(tmp_path, requirements_txt=line), "model").requirements == (line,)


@pytest.mark.parametrize(
    ("lines", "added"),
    [
        ("mlflow==2.9.2", True),
        ("mlflow-skinny == 1.30.0", True),
        ("mlflow==2.9.2\nsetuptools==66", False),
        ("mlflow==3.1.0", False),
        ("mlflow", False),
    ],
)
def test_an_old_mlflow_gets_the_setuptools_that_it_imports(tmp_path: Path, lines: str, added: bool) -> None:
    """It does not require them, because its own environments always have them."""
    found = read_environment(model(tmp_path, requirements_txt=lines), "model").requirements
    assert ("setuptools<81" in found) is added


@pytest.mark.parametrize(
    "line",
    [
        "-e .",
        "--index-url http://evil.example/simple",
        "--find-links /tmp",
        "--extra-index-url=http://evil.example",
        "./local",
        "/etc/passwd",
        "tiny @ file:///tmp/tiny.whl",
        "tiny@http://evil.example/tiny.whl",
        "git+https://evil.example/tiny.git",
        "https://evil.example/tiny.whl",
        "tiny.whl/",
        "tiny==1.0 --hash=sha256:00",
        "tiny==1.0 --hash=md5:d41d8cd98f00b204e9800998ecf8427e",
        f"tiny==1.0 --hash=sha256:{64 * '0'}x",
        f"--hash=sha256:{64 * '0'}",
        "tiny=\\=1.0",
        "tiny==1.0 --no-binary :all:",
        "tiny\x1b[31m==1",
    ],
)
def test_options_addresses_and_paths_are_refused(tmp_path: Path, line: str) -> None:
    """Where packages come from is the host's decision, never the model's."""
    message = refusal(model(tmp_path, requirements_txt=f"fine==1\n{line}\n"))
    assert message.startswith("cannot use the model's requirement ")
    assert "\x1b" not in message


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"MLmodel": ""}, "it has no file MLmodel"),
        ({"requirements_txt": ""}, "it has no requirements.txt"),
        ({"python_env_yaml": ""}, "cannot tell which Python the model needs"),
        ({"python_env_yaml": "a: [b\n"}, "python_env.yaml: it is not YAML"),
        ({"requirements_txt": "a==1\n" * 300_000}, "requirements.txt: it has more than a megabyte"),
        ({"requirements_txt": "\n".join(f"a{n}==1" for n in range(1500))}, "more than 1000 lines"),
    ],
)
def test_a_model_that_cannot_be_understood_gets_a_plain_reason(tmp_path: Path, files: dict[str, str], why: str) -> None:
    """The sentence says what is missing and how to log it again."""
    message = refusal(model(tmp_path, **files))
    assert message.startswith("cannot ")
    assert why in message


A, B = (f"--hash=sha256:{digit * 64}" for digit in "ab")


def test_hashes_are_taken_as_tools_write_them(tmp_path: Path) -> None:
    """Over several lines, in any order, with comments."""
    text = f"tiny[x]==1.0 ; python_version >= '3' \\\n    {B} \\\r\n  {A} \\\n    {B}\n    # via something\nplain\n"
    found = read_environment(model(tmp_path, requirements_txt=text), "model")
    assert found.requirements == ("plain", f"tiny[x]==1.0 ; python_version >= '3' {A} {B}")
    assert found.pins is None


@pytest.mark.parametrize("line", ["tiny", "tiny>=1", "tiny==1.*", "tiny==1,<2", "tiny ==1 ; odd marker"])
def test_a_hash_goes_with_one_version(tmp_path: Path, line: str) -> None:
    """uv passes over others without a word."""
    assert f"requirement {line!r}: hashes (at most 500) go with one" in refusal(
        model(tmp_path, requirements_txt=f"{line} {A}")
    )


def test_a_marker_of_hundreds_of_brackets_is_a_plain_reason(tmp_path: Path) -> None:
    """Whoever reads markers goes into each of them."""
    line = f"tiny==1 ; {'(' * 900} {A}"
    assert "hashes (at most 500) go with one version" in refusal(model(tmp_path, requirements_txt=line))


def test_a_host_that_requires_hashes_refuses_what_has_none(tmp_path: Path) -> None:
    """By name; what it takes is another environment than without, and the host's own needs none."""
    files = model(tmp_path, requirements_txt=f"tiny==1.0 {A}\nplain==2\n")
    with pytest.raises(StepError, match=r"^cannot use the model's requirement 'plain==2': this host installs nothing"):
        read_environment(files, "model", require_hashes=True)
    assert read_environment(files, "host", require_hashes=True).digest == "host"
    files = model(tmp_path, requirements_txt=f"tiny==1.0 {A}\n")
    strict, plain = (read_environment(files, "model", require_hashes=strict) for strict in (True, False))
    assert strict.requirements == plain.requirements
    assert strict.digest != plain.digest
