"""A data scientist with a browser, by the words of docs/first-model.md: MLflow's own pages, and that of the model."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, Browser
from tests.host import CHECKOUT_INSIDE, Layers, Registry, installed_host
from tests.system.conftest import SETTINGS
from tests.system.site import Site, code

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium: no browser was tried"),
]
RECORDING = Path(__file__).resolve().parents[2] / "examples" / "pauses" / "recording.wav"
SELECTORS = "[registry]\nselectors = ['stage:Production', 'alias:champion']\n"
ANSWERED = "!document.querySelector('#result').hidden && document.querySelector('#verdict').textContent"
DIALOGUE = "[role=dialog]"
# The items of an open menu: they are in the page before they can be seen.
SHOWN_ITEMS = """[...document.querySelectorAll("[role=menuitem]")].filter((one) => one.checkVisibility(
  {opacityProperty: true, visibilityProperty: true}))"""
WIDTH, HEIGHT = 1280, 720


@pytest.fixture(scope="module")
def site(image: Layers) -> Iterator[Site]:
    """A host that follows the stage, and an alias."""
    with installed_host(image, "inference1", settings=SETTINGS + SELECTORS) as host:
        registry = Registry(host, host.registry_port)
        registry.start()
        yield Site(host, registry)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all of them: it remembers which of the two views of the registry is on."""
    with Browser(tmp_path_factory.mktemp("browser")) as started:
        started.screen(WIDTH, HEIGHT)
        yield started


def open_version(browser: Browser, address: str) -> None:
    """Open the page of a version, or open it anew, as the button of the browser does."""
    browser.open(address)
    browser.reload()  # where only what is behind the # is another one, nothing was loaded
    browser.wait_for("document.body.innerText.includes('Registered At')")
    close = "[data-component-id='mlflow.assistant.chat_panel.close']"  # an assistant that hides a third of the page
    if browser.evaluate(f"document.querySelector({close!r})?.checkVisibility()"):
        browser.click(close)


def tag_on_page(browser: Browser, site: Site, address: str, word: str) -> str:
    """Open the page of a version again and again until the host's tag on it begins with this word; gives the tag."""
    key = f"deployed.{site.host.name}"
    cells = "[...document.querySelectorAll('tr')].map((row) => row.innerText)"

    def told() -> str | None:
        open_version(browser, address)
        rows = [row for row in browser.evaluate(cells) if key in row]
        found = rows[0].partition(key)[2].strip() if rows else ""
        return found if found.startswith(word) else None

    return site.host.wait_for(told, 300, f"the page to show a tag that begins with {word}", interval=1)


def address_of(site: Site, name: str, version: int) -> str:
    """Return the page of a version."""
    return f"{site.registry.uri}/#/models/{name}/versions/{version}"


def test_a_version_is_set_to_production_and_its_page_says_that_it_serves(
    site: Site, browser: Browser, pictures: Path
) -> None:
    """From the address that pipeline.py printed to a diagnosis of a recording."""
    printed = site.pipeline("--name", "pauses", "--model", f"{CHECKOUT_INSIDE}/examples/pauses/pauses.py:Pauses")
    found = re.search(rf"{re.escape(site.registry.uri)}/#/models/pauses/versions/1", printed)
    assert found is not None, printed
    open_version(browser, found[0])
    assert "Promote model" in browser.evaluate("document.body.innerText")
    browser.screenshot(pictures / "1-new-view.png")
    browser.click("[role=switch]")
    browser.click_words("Disable", where=DIALOGUE)
    browser.wait_for("!document.body.innerText.includes('Stage (deprecated)')")
    browser.click_words("None")
    browser.wait_for(f"{SHOWN_ITEMS}.length === 3")
    browser.screenshot(pictures / "2-transition.png")
    browser.click_words("Production", where="[role=menuitem]")
    browser.wait_for("!!document.querySelector('[role=dialog] input[type=checkbox]')")
    assert not browser.evaluate("document.querySelector('[role=dialog] input[type=checkbox]').checked")
    browser.screenshot(pictures / "3-confirm.png")
    browser.click_words("OK", where=DIALOGUE)
    browser.wait_for("/Stage\\s*:\\s*Production/.test(document.body.innerText)")
    tag = tag_on_page(browser, site, found[0], "serving")
    assert site.statuses()["pauses"]["url"] in tag
    browser.screenshot(pictures / "4-serving.png")


def test_its_page_takes_the_recording_and_shows_the_diagnosis(site: Site, browser: Browser, pictures: Path) -> None:
    """The form begins as the author's example; the recording can be heard."""
    site.wait_for("pauses", "serving")
    browser.open(f"{site.statuses()['pauses']['url']}/")
    parts = ("aceite", "sustentada")
    for part in parts:
        player = f"audio[aria-label='Recording {part}']"
        browser.choose(f".part:has({player}) input[type=file]", [RECORDING])
        browser.wait_for(f'document.querySelector("{player}").duration > 1')
    browser.click("#send")
    diagnosis = browser.wait_for(ANSWERED)
    told = json.loads(browser.text("#answer"))
    assert told == site.predict("pauses", {"age": 23}, dict.fromkeys(parts, RECORDING.read_bytes())).json()
    assert (diagnosis, len(told["output"])) == (told["diagnosis"], 4)
    assert "answered by pauses@1." in browser.text("#facts")
    browser.screenshot(pictures / "5-try.png")
    assert browser.complaints == []


def test_an_alias_is_given_in_the_new_view(site: Site, browser: Browser, pictures: Path) -> None:
    """And takes effect as the stage does."""
    version = site.register({"name": "cough", "code": code()})["cough"]
    address = address_of(site, "cough", version)
    open_version(browser, address)
    browser.click("[role=switch]")
    browser.wait_for("document.body.innerText.includes('Stage (deprecated)')")
    browser.click("[data-component-id$='modelversionviewaliaseditor.tsx_29']")
    browser.wait_for("!!document.querySelector('[role=dialog] [role=combobox]')")
    browser.click(f"{DIALOGUE} [role=combobox]")
    browser.call("Input.insertText", text="champion")
    browser.press("Enter")
    browser.screenshot(pictures / "6-alias.png")
    browser.click_words("Save aliases", where=DIALOGUE)
    tag = tag_on_page(browser, site, address, "serving")
    assert "no logged example" in tag


def test_the_page_of_a_broken_version_says_what_is_wrong(site: Site, browser: Browser, pictures: Path) -> None:
    """In the words of the exception, for who made the model."""
    version = site.register({"name": "cough", "code": code(on_load="raise KeyError('thresholds')")})["cough"]
    site.registry.set_alias("cough", "champion", version)
    tag = tag_on_page(browser, site, address_of(site, "cough", version), "degraded")
    assert "KeyError" in tag
    assert "thresholds" in tag
    browser.screenshot(pictures / "7-degraded.png")
