"""People try a model in a real browser: what they send arrives as it was, and they see what comes back."""

from __future__ import annotations

import ast
import http.server
import json
import re
import shlex
import subprocess
import sys
import threading
import wave
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, Browser, BrowserError
from tests.modelserver.conftest import Address

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium: no browser was tried")
ANSWERED = "!document.querySelector('#result').hidden && document.querySelector('#verdict').textContent"
EVIL = "evil.example"
# What a page of somebody else's does: a form with files needs no leave.
ATTACK = """<!doctype html><title>waiting</title><script>
const form = new FormData();
form.append("metadata", JSON.stringify({behave: "raise"}));
fetch("http://127.0.0.1:PORT/predict", {method: "POST", body: form, mode: "no-cors"})
  .then(() => { document.title = "sent"; }, (error) => { document.title = `failed ${error}`; });
</script>"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all of them; the name of an attacker leads to this machine."""
    directory = tmp_path_factory.mktemp("browser")
    with Browser(directory, f"--host-resolver-rules=MAP {EVIL} 127.0.0.1") as started:
        yield started


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A second of a tone."""
    file = tmp_path / "aceite.wav"
    with wave.open(str(file), "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(8000)
        written.writeframes(b"".join((3000 * (i // 20 % 2)).to_bytes(2, "little") for i in range(8000)))
    return file


def address(server: Address, host: str = "127.0.0.1") -> str:
    """Of a server, as a person types it."""
    return f"http://{host}:{server.client.base_url.port}/"


def run(directory: Path, *command: str) -> str:
    """What a command prints that runs in a directory."""
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True).stdout


def test_a_recording_is_uploaded_heard_and_diagnosed(
    browser: Browser, echo: Address, recording: Path, pictures: Path
) -> None:
    """Every byte arrives with the metadata of the form, which begins as the author's example."""
    browser.screen(1000, 900)
    browser.open(address(echo))
    labels = browser.evaluate("[...document.querySelectorAll('label')].map((one) => one.textContent)")
    assert labels == ["aceite file", "age number", "gender text", "mask_type text", "More metadata a JSON object"]
    breaks = "[...document.querySelectorAll('label')].map((one) => one.innerHTML).find((one) => one.includes('mask'))"
    assert "mask_<wbr>type" in browser.evaluate(breaks)  # a long name breaks there
    browser.choose("input[type=file]", [recording])
    browser.wait_for("document.querySelector('audio').duration > 0.9")
    browser.write("input[inputmode=decimal]", "47")
    browser.click("#send")
    assert browser.wait_for(ANSWERED) == "negative"
    answer = json.loads(browser.text("#answer"))
    sent = recording.read_bytes()
    assert answer["output"] == [47, len(sent), zlib.crc32(sent), zlib.crc32(b"aceite.wav"), 1]
    assert re.fullmatch(
        r"Status 200, \d\.\d{3} s with the way there and back, answered by echo@1\.0badcafe", browser.text("#facts")
    )
    browser.screenshot(pictures / "recording.png")
    assert browser.complaints == []


def test_a_recording_is_made_with_the_microphone(browser: Browser, echo: Address, pictures: Path) -> None:
    """As a WAV file with what the microphone said, which the page also plays."""
    browser.open(address(echo))
    browser.click(".part button")
    browser.wait_for("/Stop .[1-9] s/.test(document.querySelector('.part button').innerText)")
    browser.screenshot(pictures / "recording-under-way.png")
    browser.click(".part button")
    browser.wait_for("document.querySelector('audio').duration > 0.9")
    assert re.fullmatch(r"recorded \d\.\d s", browser.text(".part [role=status]"))
    browser.click("#send")
    assert browser.wait_for(ANSWERED) == "negative"
    size, name = (json.loads(browser.text("#answer"))["output"][at] for at in (1, 3))
    assert size > 44 + 2 * 8000
    assert name == zlib.crc32(b"aceite.wav")
    loud = """(async () => {
      const bytes = await (await fetch(document.querySelector("audio").src)).arrayBuffer();
      const samples = new Int16Array(bytes.slice(44));
      return [new TextDecoder().decode(bytes.slice(0, 4)), Math.max(...samples.slice(0, 40000)) > 1000];
    })()"""
    with pytest.raises(BrowserError, match="fetch"):  # the policy holds: a page connects to its server only
        browser.evaluate(loud)


def test_a_table_is_filled_in_and_answered(browser: Browser, ridge: Address, pictures: Path) -> None:
    """With the rows and the parameters of the example."""
    browser.screen(1000, 900)
    browser.open(address(ridge))
    assert browser.evaluate("document.querySelectorAll('.record').length") == 4
    browser.write(".record input", "2,5")
    browser.click("#send")
    browser.wait_for("/age is not a number/.test(document.querySelector('#note').innerText)")
    assert browser.evaluate("document.activeElement.getAttribute('aria-invalid')") == "true"
    browser.write(".record input", "2.5")
    browser.click("#send")
    predictions = [float(one) for one in browser.wait_for(ANSWERED).split(", ")]
    assert predictions == json.loads(browser.text("#answer"))["predictions"]
    rows = [[2.5, 0.5], [2, 1], [3, 0.25], [4, 1]]
    asked = {"dataframe_split": {"columns": ["age", "spo2"], "data": rows}, "params": {"threshold": 0.5}}
    assert ridge.client.post("/invocations", json=asked).json()["predictions"] == predictions
    browser.screenshot(pictures / "table.png")
    assert browser.complaints == []


def test_what_is_copied_asks_the_same(
    browser: Browser, echo: Address, ridge: Address, recording: Path, pictures: Path
) -> None:
    """The command and the program are run as they stand there."""
    for server, picture in ((echo, "copy-recording.png"), (ridge, "copy-table.png")):
        browser.open(address(server))
        if server is echo:
            browser.choose("input[type=file]", [recording])
            browser.write("input[autocomplete=off]:not([inputmode])", 'it\'s;type=x "ç"')
        browser.click("#send")
        browser.wait_for(ANSWERED)
        answer = json.loads(browser.text("#answer"))
        browser.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        command, program = browser.text("#curl"), browser.text("#python")
        assert shlex.split(command)[0] == "curl"
        assert json.loads(run(recording.parent, "bash", "-c", command.replace("curl", "curl -s", 1))) == answer
        printed, _, release = run(recording.parent, sys.executable, "-c", program).rpartition(" ")
        assert (ast.literal_eval(printed), release) == (answer, "echo@1.0badcafe\n")
        browser.screenshot(pictures / picture)


def test_an_error_of_the_model_is_told(browser: Browser, echo: Address, pictures: Path) -> None:
    """In its own words."""
    browser.open(address(echo))
    browser.evaluate("document.querySelector('#fields details').open = true")
    browser.write("#fields details textarea", '{"behave": "raise"}')
    browser.click("#send")
    assert "no breath was found" in browser.wait_for(ANSWERED)
    browser.screenshot(pictures / "error.png")


def test_the_keyboard_is_enough(browser: Browser, ridge: Address) -> None:
    """Every field has a label and is reached by Tab, and Enter sends."""
    browser.open(address(ridge))
    unlabelled = "[...document.querySelectorAll('input, select, textarea')].filter((one) => !one.labels.length).length"
    assert browser.evaluate(unlabelled) == 0
    reached = []
    for _ in range(30):
        browser.press("Tab")
        reached.append(browser.evaluate("document.activeElement.id || document.activeElement.tagName"))
        if reached[-1] == "send":
            break
    assert reached[-1] == "send"
    browser.press("Enter")
    assert browser.wait_for(ANSWERED)
    live = "document.querySelector('#result').getAttribute('aria-live') + document.querySelector('#note').role"
    assert browser.evaluate(live) == "politestatus"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("kind", ["echo", "ridge"])
def test_it_fits_a_phone(
    kind: str, dark: bool, browser: Browser, request: pytest.FixtureRequest, pictures: Path
) -> None:
    """Nothing is wider than the screen, and what is touched is large enough; the text stands out from its ground."""
    server: Address = request.getfixturevalue(kind)
    browser.screen(390, 844, phone=True, dark=dark)
    for path in ("", "docs"):
        browser.open(address(server) + path)
        assert browser.evaluate("document.documentElement.scrollWidth") <= 390
        small = "[...document.querySelectorAll('button')].filter((one) => one.offsetParent && one.offsetHeight < 40)"
        assert browser.evaluate(f"{small}.length") == 0
        assert browser.evaluate(CONTRASTS) >= 4.5
        browser.screenshot(pictures / f"phone-{kind}-{path or 'try'}{'-dark' if dark else ''}.png")
        assert browser.complaints == []


# The least contrast of any text with what is behind it, as WCAG counts it.
CONTRASTS = """(() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = numbers(colour).slice(0, 3).map((one) => one / 255)
      .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    for (let one = node; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (numbers(colour)[3] !== 0) return colour;
    }
    return getComputedStyle(document.documentElement).colorScheme === "dark" ? "rgb(0,0,0)" : "rgb(255,255,255)";
  };
  const shown = [...document.querySelectorAll("body *")].filter((one) => one.offsetParent && one.innerText);
  return Math.min(...shown.map((one) => {
    const [a, b] = [light(getComputedStyle(one).color), light(ground(one))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }));
})()"""


@pytest.fixture
def attacker(echo: Address) -> Iterator[int]:
    """A web page of somebody else's; its port."""
    page = ATTACK.replace("PORT", str(echo.client.base_url.port)).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Sends the page."""
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("host", [EVIL, "127.0.0.1"])
def test_a_page_of_somebody_else_reaches_no_model(host: str, browser: Browser, echo: Address, attacker: int) -> None:
    """A real browser sends its request, and the server refuses it before the model sees it."""
    counted = re.compile(r'modelserver_(?:requests_total\{.*"/predict",status="500"|refused.*"403")\} (\d+)')
    before = [int(number) for number in counted.findall(echo.client.get("/metrics").text)]
    browser.open(f"http://{host}:{attacker}/")
    browser.wait_for("document.title !== 'waiting'")
    after = [int(number) for number in counted.findall(echo.client.get("/metrics").text)]
    assert [new - old for new, old in zip(after, before, strict=True)] == [0, 1]


def test_a_name_that_was_made_to_mean_this_host_opens_nothing(browser: Browser, echo: Address) -> None:
    """Neither the page nor an answer of the model."""
    browser.open(address(echo, EVIL))
    assert "the request is for another host" in browser.text("body")
