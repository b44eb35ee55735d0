"""uv, run in a closed environment, and its refusals in words for the person who made the model."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from reconciler.core.quote import one_line
from reconciler.release.outcome import StepError, say

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_PASSED_ON = (*_PROXIES, "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR")
_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class Sources:
    """Where packages may come from; the host's settings, never the model's."""

    index_url: str = ""
    find_links: tuple[str, ...] = ()
    offline: bool = False
    allow_source: bool = False

    def arguments(self) -> list[str]:
        """Write them as uv's options."""
        options = ["--index-url", self.index_url] if self.index_url else []
        options += [word for place in self.find_links for word in ("--find-links", place)]
        # Offline and with wheels at hand, an index would only be a name that cannot be looked up.
        options += (
            ["--offline", *(["--no-index"] if self.find_links and not self.index_url else [])] if self.offline else []
        )
        return options if self.allow_source else [*options, "--only-binary", ":all:"]


class UvError(Exception):
    """uv ended with an error; the message is its own."""


def run(*arguments: str, cwd: Path) -> str:
    """Run the product's own uv and return what it prints; raises UvError with its words."""
    uv = Path(sys.prefix) / "bin" / "uv"
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment |= {
        "PATH": _PATH,
        # The unit hides homes: nothing may be looked for or kept there.
        "HOME": str(cwd),
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        "UV_CACHE_DIR": os.environ.get("CACHE_DIRECTORY") or str(cwd / "cache"),
        "UV_PYTHON_INSTALL_DIR": str(cwd / "no-pythons"),
        "UV_PYTHON_PREFERENCE": "only-system",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_SYSTEM_CERTS": "1",
        "UV_NATIVE_TLS": "1",
        # Hard links would let whoever writes into one environment change the cache and all others.
        "UV_LINK_MODE": "copy",
        "UV_HTTP_TIMEOUT": "30",
        "UV_HTTP_RETRIES": "2",
    }
    try:
        done = subprocess.run(  # noqa: S603 - our uv, and arguments that are options or checked requirements
            [str(uv), "--color", "never", *arguments],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise StepError(f"cannot build an environment: {uv} is missing; run ./dev install") from error
    for line in done.stderr.splitlines():
        if not line.startswith(" + "):  # every package; the record of the environment lists them
            say(f"uv: {line}")
    if done.returncode != 0:
        raise UvError(done.stderr)
    return done.stdout


def find_python(minor: str, cwd: Path) -> str:
    """Find an interpreter of this minor on the host; raises StepError with the ones that are there."""
    listed = json.loads(run("python", "list", "--only-installed", "--output-format", "json", cwd=cwd))
    there: dict[str, str] = {}
    for each in listed:  # python3.11 comes before python3, whose minor changes with an upgrade of the host
        there.setdefault(f"{each['version_parts']['major']}.{each['version_parts']['minor']}", str(each["path"]))
    if minor not in there:
        have = ", ".join(sorted(there, key=lambda minor: int(minor.partition(".")[2]))) or "none"
        raise StepError(
            f"cannot build the environment: the model wants Python {minor}, this host has {have}; "
            f"log the model with one of these, or have python{minor} installed in /usr/bin or /usr/local/bin"
        )
    return there[minor]


def is_conflict(error: UvError) -> bool:
    """Tell whether the resolver found no set of versions, as opposed to not getting so far."""
    return "No solution found" in str(error)


def explain(error: UvError, what: str, sources: Sources) -> StepError:
    """Turn uv's error into the reason that a data scientist reads; `what` names whose requirements they are."""
    text = str(error)
    why = because(error)
    index = sources.index_url or "the package index"
    if re.search(r"No space left on device|os error 28|Disk quota exceeded", text):
        return StepError("cannot build the environment: no space left on this host's disk; make room on the host")
    if "network was disabled" in text or "not found in the cache" in text:
        return StepError(f"cannot build the environment: {why}; this host is offline, put the wheels into find_links")
    if re.search(
        r"dns error|tcp connect error|Connection refused|timed out|error sending request|Failed to fetch", text
    ):
        causes = re.findall(r"cause: (.*)", text)
        return StepError(
            f"cannot build the environment: cannot reach {index}: {causes[-1] if causes else 'no answer'}; "
            "it is tried again by itself, or mend build.index_url"
        )
    if "no usable wheels" in text or "building from source is disabled" in text:
        return StepError(
            f"cannot build the environment: {why}; this host installs wheels only, "
            "choose a version that has one or have build.allow_source switched on"
        )
    if "no wheels with a matching" in text:
        return StepError(
            f"cannot build the environment: {why}; choose a version that has a wheel for this host's Python"
        )
    if re.search(r"was not found in|there is no version of|there are no versions of", text):
        return StepError(
            f"cannot build the environment: a package cannot be found: {why}; correct {what} and log the model again"
        )
    if is_conflict(error):
        return StepError(f"cannot build the environment: {what} contradict each other: {why}; log the model again")
    return StepError(f"cannot build the environment: {why}; see this unit's journal")


def because(error: UvError) -> str:
    """Take the sentence out of uv's report, without its drawing and its hints."""
    text = str(error).partition("\nhint:")[0]
    text = text[max(text.find("error: "), 0) :]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    joined = " ".join(line.removeprefix("error: ").removeprefix("cause: ") for line in lines)
    joined = joined.removeprefix("No solution found when resolving dependencies ")
    joined = joined.replace(", we can conclude that your requirements are unsatisfiable.", "").removeprefix("Because ")
    return one_line(joined.rstrip("."), 260)
