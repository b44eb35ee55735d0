"""A real browser: Debian's chromium without a screen, driven over a pipe by the DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import selectors
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = shutil.which("chromium")
PATIENCE = 30.0
_OPTIONS = (
    *("--headless=new", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu", "--hide-scrollbars"),
    # It runs as root in a container; what it opens is of these tests.
    *("--no-sandbox", "--disable-dev-shm-usage"),
    # It asks no server of its makers.
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-pings"),
    # A microphone that beeps, and a person who allows it.
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
)

# Animations without an end, such as a logo's, are left alone.
_STANDS_STILL = """document.getAnimations().every(
  (one) => one.playState !== "running" || one.effect?.getComputedTiming().endTime === Infinity)"""


class BrowserError(Exception):
    """The browser, or a script in its page, says that something is wrong."""


class Browser:
    """One browser with one page."""

    def __init__(self, directory: Path, *options: str) -> None:
        """Starts it; `directory` takes what it writes."""
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        redirected = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        profile = f"--user-data-dir={directory / 'profile'}"
        command = [CHROMIUM or "chromium", *_OPTIONS, *options, profile, "about:blank"]
        with (directory / "chromium.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["bash", "-c", redirected, "bash", *command],
                pass_fds=(theirs_in, theirs_out),
                env={"PATH": os.environ["PATH"], "HOME": str(directory), "LANG": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        os.close(theirs_in)
        os.close(theirs_out)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._in, selectors.EVENT_READ)
        self._received = b""
        self._number = 0
        self._session: str | None = None
        self.complaints: list[str] = []
        """What the page's console has: scripts that failed, what the policy forbade, answers with an error."""
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._selector.close()
            os.close(self._in)
            os.close(self._out)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What the browser answers to a command of the DevTools protocol. Raises BrowserError."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self._next(deadline)
            if answer.get("id") == self._number:
                break
            self._note(answer)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, address: str) -> None:
        """Goes to a page, and waits until it is loaded."""
        self.complaints.clear()
        failure = self.call("Page.navigate", url=address).get("errorText")
        if failure:
            raise BrowserError(f"{address}: {failure}")
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def reload(self) -> None:
        """Loads the page anew, and waits until it is there."""
        self.evaluate("window.isTheFormerPage = true")
        self.call("Page.reload")
        self.wait_for("document.readyState === 'complete' && !window.isTheFormerPage")

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; a promise is awaited. It counts as done by a person."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        if "exceptionDetails" in done:
            raise BrowserError(str(done["exceptionDetails"].get("exception", {}).get("description")))
        return done["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """The value of an expression as soon as it is true."""
        deadline = time.monotonic() + PATIENCE
        while not (value := self.evaluate(script)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited in vain for {script}; the console has {self.complaints}")
            time.sleep(0.02)
        return value

    def text(self, selector: str) -> str:
        """What a person reads in an element."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def click(self, selector: str) -> None:
        """Presses and lets go of the mouse in the middle of an element, once it stands still."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        node = self._node(selector)
        deadline = time.monotonic() + PATIENCE
        corners, before = self._corners(node), None
        while corners != before:  # a dialogue moves while it appears, and a page while a part of it goes
            if time.monotonic() > deadline:
                raise TimeoutError(f"{selector} moves all the time")
            self.evaluate("new Promise((done) => setTimeout(done, 50))")
            corners, before = self._corners(node), corners
        place = {"x": (corners[0] + corners[4]) / 2, "y": (corners[1] + corners[5]) / 2}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def click_words(self, words: str, *, where: str = "body") -> None:
        """Waits until a person can read just these words somewhere, and clicks on them."""
        find = f"""(() => {{
          document.querySelectorAll("[data-clicked]").forEach((one) => one.removeAttribute("data-clicked"));
          const found = [...document.querySelectorAll({json.dumps(f"{where} *")})]
            .filter((one) => one.innerText?.trim() === {json.dumps(words)} && one.checkVisibility());
          found.at(-1)?.setAttribute("data-clicked", "");
          return found.length > 0;
        }})()"""
        self.wait_for(find)
        self.click("[data-clicked]")

    def press(self, key: str) -> None:
        """Presses a key: `Tab` or `Enter`."""
        code = {"Tab": 9, "Enter": 13}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def write(self, selector: str, text: str) -> None:
        """Writes into a field in the place of what is there."""
        self.evaluate(f"(() => {{const f = document.querySelector({json.dumps(selector)}); f.focus(); f.select();}})()")
        self.call("Input.insertText", text=text)

    def choose(self, selector: str, files: Sequence[Path]) -> None:
        """Chooses files, as in the browser's own dialogue."""
        self.call("DOM.setFileInputFiles", nodeId=self._node(selector), files=[str(file) for file in files])

    def screen(self, width: int, height: int, *, phone: bool = False, dark: bool = False) -> None:
        """What it shows itself on."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, file: Path) -> None:
        """A picture of the whole page, once nothing in it moves or fades any more."""
        self.wait_for(_STANDS_STILL)
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        file.write_bytes(base64.b64decode(picture))

    def _corners(self, node: int) -> list[float]:
        corners: list[float] = self.call("DOM.getBoxModel", nodeId=node)["model"]["border"]
        return corners

    def _node(self, selector: str) -> int:
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = int(self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"])
        if not node:
            raise BrowserError(f"there is no {selector}")
        return node

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._received:
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError("the browser does not answer")
            piece = os.read(self._in, 1 << 20)
            if not piece:
                raise BrowserError(f"the browser ended with {self._process.wait()}")
            self._received += piece
        message, _, self._received = self._received.partition(b"\0")
        told: dict[str, Any] = json.loads(message)
        return told

    def _note(self, event: dict[str, Any]) -> None:
        match event.get("method"):
            case "Log.entryAdded":
                entry = event["params"]["entry"]
                self.complaints.append(f"{entry['text']} {entry.get('url', '')}")
            case "Runtime.exceptionThrown":
                self.complaints.append(str(event["params"]["exceptionDetails"]))
            case "Runtime.consoleAPICalled":
                self.complaints.append(str(event["params"]["args"]))
