"""docker-compose.server.yml: names and values arrive in compose exactly as they were given, whatever is in them."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from containerserver import options, project_file
from containerserver.engine import Image
from containerserver.names import Project
from containerserver.yaml_text import yaml_text
from modelserver.errors import CannotServeError

TEMPLATES = Path(__file__).parents[2] / "templates"
IMAGE = f"sha256:{'0' * 64}"
FOUND = Image(IMAGE, ())


def told(*more: str, name: str = "Demo") -> options.Options:
    """What a server is told."""
    what, parsed = options.parse(
        [
            *("serve", "--name", name, "--release", "1.abcdef01", "--version", "1", "--directory", "/run/x"),
            *("--templates", str(TEMPLATES), "--user", "65532:65532", *more),
        ]
    )
    assert what == "serve"
    return options.server_options(parsed)


def compose_reads(text: str) -> dict[str, Any]:
    """What compose makes of the file: YAML, and `$$` is a `$`."""

    def undouble(value: Any) -> Any:
        match value:
            case str():
                assert "$" not in value.replace("$$", ""), "compose would put a variable there"
                return value.replace("$$", "$")
            case list():
                return [undouble(one) for one in value]
            case dict():
                return {undouble(key): undouble(one) for key, one in value.items()}
        return value

    (service,) = undouble(yaml.safe_load(text))["services"].values()
    found: dict[str, Any] = service
    return found


@given(st.recursive(st.text() | st.integers() | st.booleans(), lambda inner: st.lists(inner, max_size=4)))
def test_a_value_is_read_as_it_was_written(value: object) -> None:
    """Quotes, controls, dollars, what YAML takes for a number; a lone surrogate comes from no command line."""
    if "\\ud" in ascii(value):
        return
    written = yaml_text(value)
    assert "\n" not in written
    read = yaml.safe_load(written)

    def doubled(one: Any) -> Any:
        if isinstance(one, str):
            return one.replace("$", "$$")
        return [doubled(each) for each in one] if isinstance(one, list) else one

    assert read == doubled(value)


@pytest.mark.parametrize(
    "word", ["$HOME", "${HOME:-x}", "a: b", "- x", "# no", '"', "'", "\\", "{{ name }}", "é \U0001f600", "no", "1e3"]
)
def test_words_people_chose_arrive_as_they_are(word: str) -> None:
    """In the command and in the environment."""
    service = compose_reads(
        project_file.render(told("--image", IMAGE, f"--command={word}", "--env", f"value={word}"), FOUND, ())
    )
    assert service["command"] == [word]
    assert service["environment"] == {"value": word}


def test_a_container_may_do_nothing_that_it_was_not_given() -> None:
    """The lines that hold it, and no directory of the host to write to."""
    told_of = told(
        "--base", IMAGE, "--model-dir", "/m", "--venv", "/v", "--show", "/m", "--show", "/v", "--memory", "9"
    )
    service = compose_reads(project_file.render(told_of, FOUND, ()))
    assert (service["read_only"], service["init"], service["restart"]) == (True, True, "no")
    assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert (service["network_mode"], service["user"]) == ("none", "65532:65532")
    assert (service["mem_limit"], service["memswap_limit"]) == (9, 9)
    assert [(one["source"], one["read_only"]) for one in service["volumes"]] == [("/m", True), ("/v", True)]
    assert service["command"][:5] == ["/v/bin/python", "-I", "-m", "modelserver", "serve"]
    assert "unix:/run/model/http.sock" in service["command"]


def test_our_own_server_in_a_container_joins_requests_where_that_is_asked_for() -> None:
    """As one outside of it."""
    base = ("--base", IMAGE, "--model-dir", "/m", "--venv", "/v")
    for more, is_told in (((), False), (("--batch",), True)):
        service = compose_reads(project_file.render(told(*base, *more), FOUND, ()))
        assert ("--batch" in service["command"]) is is_told


def test_the_page_of_our_own_server_in_a_container_can_be_taken_away() -> None:
    """As that of one outside of it."""
    base = ("--base", IMAGE, "--model-dir", "/m", "--venv", "/v")
    for more, is_told in (((), False), (("--no-try-page",), True)):
        service = compose_reads(project_file.render(told(*base, *more), FOUND, ()))
        assert ("--no-try-page" in service["command"]) is is_told


def test_a_secret_is_named_and_not_written() -> None:
    """Compose takes its value out of its own environment."""
    text = project_file.render(told("--image", IMAGE, "--env", "plain=1"), FOUND, ["minio_secret_key"])
    assert compose_reads(text)["environment"] == {"plain": "1", "minio_secret_key": None}


def test_a_template_of_the_hosts_own_may_be_wrong(tmp_path: Path) -> None:
    """The sentence names it."""
    (tmp_path / "compose").mkdir()
    (tmp_path / "compose/docker-compose.server.yml.j2").write_text("{{ nothing }}")
    given_options = told("--image", IMAGE, "--templates", str(tmp_path))
    wrong = given_options.__class__(**{**vars(given_options), "templates": (tmp_path,)})
    with pytest.raises(CannotServeError, match="'nothing' is undefined; mend the template compose/docker-compose"):
        project_file.render(wrong, FOUND, ())


def test_each_server_has_a_project_of_its_own() -> None:
    """In the letters that compose takes: what differs in others is told apart by the digest."""
    servers = [("Demo", "1.a", 1), ("demo", "1.a", 1), ("demo", "1.a", 2), ("demo", "2.a", 1), ("_", "1.a", 1)]
    found = [Project(*server).id for server in servers]
    assert len({*found}) == len(servers)
    assert all(one == one.lower() and one[0].isalnum() for one in found)
    assert found[0].startswith("demo-")


def test_volumes_that_an_image_declares_are_memory() -> None:
    """The engine would make them on its disk, without a limit."""
    found = Image(IMAGE, ("/data", "/tmp"))  # noqa: S108 - in a container
    service = compose_reads(project_file.render(told("--image", IMAGE, "--temp", "1000"), found, ()))
    assert service["tmpfs"] == [f"{path}:mode=1777,size=1000" for path in ("/tmp", "/data")]  # noqa: S108 - likewise
