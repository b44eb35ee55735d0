"""The pages for a browser: what they say for each kind of model, what they forbid, and what is there without them."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import httpx
import pytest

from modelserver.http.metrics import Identity
from modelserver.http.web import docs_page, try_page
from modelserver.model.request_form import FormKind, RequestForm
from tests.modelserver.conftest import EXAMPLE_METADATA, Address
from tests.modelserver.process import ServerProcess, listen, start, url

HOSTILE = "</script><script>alert(1)</script>\"'&"
FORM = re.compile(r'<script type="application/json" id="model">(.*?)</script>', re.DOTALL)


def test_the_page_to_try_it_says_what_the_model_takes(echo: Address, ridge: Address) -> None:
    """As JSON, of which the page makes its form."""
    told = [json.loads(FORM.findall(server.client.get("/").text)[0]) for server in (echo, ridge)]
    assert (told[0]["kind"], told[0]["path"], told[0]["metadata"]) == ("recordings", "/predict", EXAMPLE_METADATA)
    assert (told[1]["kind"], told[1]["path"]) == ("table", "/invocations")
    assert [column["name"] for column in told[1]["columns"]] == ["age", "spo2"]


def test_the_page_may_load_nothing_from_elsewhere_and_nobody_may_frame_it(echo: Address) -> None:
    """By its policy; and there is no script, style or handler within it."""
    answer = echo.client.get("/")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert {source for value in policy.values() for source in value.split()} == {"'none'", "'self'", "blob:"}
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not re.findall(r"\son\w+=|style=|<style|javascript:|//", answer.text)
    for name in re.findall(r'(?:src|href)="([^"]+)"', answer.text):
        assert echo.client.get(f"/{name}").status_code == 200, name


def test_an_icon_and_a_style_are_there_for_both_pages(echo: Address) -> None:
    """A browser asks for an icon whatever it shows."""
    assert echo.client.get("/favicon.ico").headers["content-type"] == "image/svg+xml"
    assert echo.client.get("/page.css").headers["content-type"].startswith("text/css")
    assert echo.client.get("/try.js").headers["content-type"].startswith("text/javascript")


def test_without_the_page_the_address_leads_to_the_description(
    models: Path, short: Path, processes: list[ServerProcess]
) -> None:
    """The setting deploy.try_page takes page and scripts away, and nothing else."""
    listener = listen()
    processes.append(start(short / "notry", models / "ridge", [listener], ["--no-try-page"]))
    processes[0].wait_for("READY=1")
    with httpx.Client(base_url=url(listener)) as client:
        answer = client.get("/")
        assert (answer.status_code, answer.headers["location"]) == (307, "docs")
        assert client.get("/try.js").status_code == client.get("/recorder.js").status_code == 404
        assert client.get("/page.css").status_code == client.get("/favicon.ico").status_code == 200
        assert "Try it" not in client.get("/docs").text


def test_the_description_begins_with_what_the_model_takes(echo: Address, ridge: Address) -> None:
    """A model of tables does not show /predict, which it refuses."""
    pages = [server.client.get("/docs").text for server in (echo, ridge)]
    headings = [re.findall(r"<h2><code>(\w+ [^<]+)</code></h2>", page) for page in pages]
    assert headings[0][:2] == ["POST /predict", "POST /invocations"]
    assert headings[1][0] == "POST /invocations"
    assert "POST /predict" not in headings[1]
    assert "takes no recordings" in pages[1]
    for page in pages:
        assert "`" not in page
        assert "?." not in page
        assert "4 MiB" in page
        assert "<script" not in page


@pytest.mark.parametrize("kind", ["echo", "ridge"])
def test_the_request_in_the_description_can_be_copied(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """As it stands there, it is answered."""
    server: Address = request.getfixturevalue(kind)
    (tmp_path / "aceite.wav").write_bytes(bytes(range(256)))
    page = server.client.get("/docs").text
    shown = re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)[0]
    command = shown.replace("&quot;", '"').replace("&#x27;", "'").replace("&amp;", "&")
    done = subprocess.run(
        ["bash", "-c", command.replace("curl", "curl -s", 1)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert set(json.loads(done.stdout)) in ({"output", "diagnosis"}, {"predictions"}), done.stdout


def test_what_an_author_wrote_is_no_markup() -> None:
    """Names, values and words of a model go into pages as text."""
    form = RequestForm(FormKind.RECORDINGS, metadata={HOSTILE: HOSTILE}, parts=(HOSTILE,))
    page = try_page.html_page(Identity("m", "1.aa", "1", {}), form, 1)
    assert page.count("</script>") == 2
    assert json.loads(FORM.findall(page)[0])["metadata"] == {HOSTILE: HOSTILE}
    described = docs_page.html_page("m@1.aa", 1, form, takes_files=True, address="http://x", has_page=True)
    assert "<script" not in described


def test_halves_of_characters_do_not_break_the_description() -> None:
    """JSON may have them, and a page may not."""
    form = RequestForm(FormKind.RECORDINGS, metadata={"a": "\ud83d"}, parts=("b\udc00",))
    described = docs_page.html_page("m@1.aa", 1, form, takes_files=True, address="http://x", has_page=True)
    assert described.encode()
    assert FORM.findall(try_page.html_page(Identity("m", "1.aa", "1", {}), form, 1))[0].isascii()


def test_a_command_line_says_what_was_meant() -> None:
    """Quotes and the semicolons that curl looks for are the shell's and the server's, not theirs."""
    form = RequestForm(FormKind.RECORDINGS, metadata={"a": "it's;type=x"}, parts=("two words",))
    page = docs_page.html_page("m@1.aa", 1, form, takes_files=True, address="http://x", has_page=True)
    shown = re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)[0]
    words = shlex.split(shown.replace("&quot;", '"').replace("&#x27;", "'").replace("\\\n", ""))
    assert words[:3] == ["curl", "http://x/predict", "--form-string"]
    assert json.loads(words[3].removeprefix("metadata=")) == {"a": "it's;type=x"}
    assert words[5] == "two words=@two words.wav"


@pytest.mark.parametrize("host", ["a b", "x';rm -rf /", "<b>", ""])
def test_a_host_that_a_client_made_up_is_in_no_command_line(host: str, echo: Address) -> None:
    """Whoever reads the page has sent it, but may not have meant to."""
    page = echo.client.get("/docs", headers={"host": host}).text
    assert "curl http://127.0.0.1/predict" in page


@pytest.mark.parametrize(
    ("size", "text"),
    [(64 << 20, "64 MiB"), (3 << 29, "1.5 GiB"), (100 << 10, "100 KiB"), (1000, "1000 bytes")],
)
def test_sizes_are_told_in_units_of_people(size: int, text: str) -> None:
    """As far as they are even."""
    form = RequestForm(FormKind.JSON, body="{}")
    page = docs_page.html_page("m@1.aa", size, form, takes_files=False, address="http://x", has_page=False)
    assert f"A request may have {text}." in page
