"""uv, run in a closed environment, and its refusals in words for the person who made the model."""

import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from reconciler.adapters.credentials import CredentialError, user_and_password
from reconciler.core.text.quote import one_line
from reconciler.core.text.urls import is_readable_on_the_way
from reconciler.steps import subprocesses
from reconciler.steps.step_report import StepError, say
from reconciler.steps.subprocesses import Room
from reconciler.steps.tree import free_bytes

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_PASSED_ON = (*_PROXIES, "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR")
_PATH = "/usr/local/bin:/usr/bin:/bin"
CACHE = "cache"
"""uv's, below the room."""
_LEAST = 1024 * 1024
"""Bytes that uv needs to keep what it learnt of the interpreters."""


@dataclass(frozen=True)
class Sources:
    """Where packages may come from; the host's settings, never the model's."""

    index_url: str = ""
    find_links: tuple[str, ...] = ()
    offline: bool = False
    allow_source: bool = False

    @property
    def server(self) -> str:
        """The index's address where it is one that credentials could be for."""
        return self.index_url if self.index_url.startswith(("http://", "https://")) else ""

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


def run(*arguments: str, room: Room, login: str = "") -> str:
    """Run the product's own uv and return what it prints; raises UvError with its words, or as programs.run does.

    `login`: a netrc text with the index's credentials, which only this process can read.
    """
    uv = Path(sys.prefix) / "bin" / "uv"
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment |= {
        "PATH": _PATH,
        # The unit hides homes: nothing may be looked for or kept there.
        "HOME": str(room.directory),
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        # Of this build alone: what one build could do to it, no other one would see. uv does not look again at what it
        # once unpacked.
        "UV_CACHE_DIR": str(room.directory / CACHE),
        "UV_PYTHON_INSTALL_DIR": str(room.directory / "no-pythons"),
        "UV_PYTHON_PREFERENCE": "only-system",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_SYSTEM_CERTS": "1",
        "UV_NATIVE_TLS": "1",
        # The cache goes when the build is done, so that nobody is left to share a file with.
        "UV_LINK_MODE": "hardlink",
        "UV_HTTP_TIMEOUT": "30",
        "UV_HTTP_RETRIES": "2",
    }
    try:
        with _in_memory(login) as netrc:
            # Also without credentials: uv would look for a file in somebody's home.
            environment["NETRC"] = f"/proc/self/fd/{netrc}" if netrc is not None else "/dev/null"
            done = subprocesses.run(
                [uv, "--color", "never", *arguments],
                room=room,
                environment=environment,
                descriptors=[] if netrc is None else [netrc],
            )
    except FileNotFoundError as error:
        raise StepError(f"cannot build an environment: {uv} is missing; run ./dev install") from error
    for line in done.stderr.splitlines():
        if not line.startswith(" + "):  # every package; the record of the environment lists them
            say(f"uv: {line}")
    if done.returncode != 0:
        raise UvError(done.stderr)
    return done.stdout


@contextmanager
def _in_memory(text: str) -> Iterator[int | None]:
    """Give a descriptor of a file that has no name: a secret in it is in no environment, argument or directory."""
    if not text:
        yield None
        return
    descriptor = os.memfd_create("netrc")
    try:
        os.write(descriptor, text.encode())
        yield descriptor
    finally:
        os.close(descriptor)


def index_login(sources: Sources) -> str:
    """Write the index's credentials as a netrc text; "" when there are none. Raises StepError."""
    try:
        pair = user_and_password("index")
    except CredentialError as error:
        raise StepError(f"cannot build the environment: {error}; mend the credential on the host") from None
    if pair is None or not sources.server or sources.allow_source:
        return ""  # where foreign code is built nobody's secret is; the unit does not even load it then
    if is_readable_on_the_way(sources.server):
        raise StepError(
            f"cannot build the environment: {sources.server} would get the credentials in plain text; "
            "have build.index_url changed to https"
        )
    if odd := next((word for word in pair if not re.fullmatch(r"[!$-~]+", word)), None):
        which = "username" if odd is pair[0] else "password"
        raise StepError(
            f"cannot build the environment: the credential 'index.{which}' has a space, a quote, a '#' or a letter "
            "outside ASCII, which uv cannot take; have another one made"
        )
    return f"machine {urlsplit(sources.server).hostname} login {pair[0]} password {pair[1]}\n"


def find_python(minor: str, room: Room) -> str:
    """Find an interpreter of this minor on the host; raises StepError with the ones that are there."""
    listed = json.loads(run("python", "list", "--only-installed", "--output-format", "json", room=room))
    there: dict[str, str] = {}
    for each in listed:  # python3.11 comes before python3, whose minor changes with an upgrade of the host
        there.setdefault(f"{each['version_parts']['major']}.{each['version_parts']['minor']}", str(each["path"]))
    if not there and free_bytes(room.directory) < _LEAST:  # uv lists only what it could write into its cache
        raise _no_space()
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
        return _no_space()
    if "Hash mismatch" in text:
        return StepError(
            f"cannot build the environment: {why}; the index has another file than {what} name, find out why"
        )
    if "no trusted hash was provided" in text or "hash-checking" in text.lower() or "--require-hashes" in text:
        return StepError(
            f"cannot build the environment: {why}; list that package too, with its version and hash, as "
            "`uv pip compile --generate-hashes` does, and log the model again"
        )
    if "network was disabled" in text or "not found in the cache" in text:
        return StepError(f"cannot build the environment: {why}; this host is offline, put the wheels into find_links")
    if re.search(r"40[13] (Unauthorized|Forbidden)", text):
        return StepError(
            f"cannot build the environment: {index} does not let this host in; "
            + (
                "no credentials are used where build.allow_source has foreign code run, so choose one of the two"
                if sources.allow_source
                else "see that the credentials index.username and index.password are right"
            )
        )
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


def _no_space() -> StepError:
    return StepError("cannot build the environment: no space left on this host's disk; make room on the host")


def because(error: UvError) -> str:
    """Take the sentence out of uv's report, without its drawing and its hints."""
    text = str(error).partition("\nhint:")[0]
    text = text[max(text.find("error: "), 0) :]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    joined = " ".join(line.removeprefix("error: ").removeprefix("cause: ") for line in lines)
    joined = joined.removeprefix("No solution found when resolving dependencies ")
    joined = joined.replace(", we can conclude that your requirements are unsatisfiable.", "").removeprefix("Because ")
    return one_line(joined.rstrip("."), 260)
