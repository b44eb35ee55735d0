"""Runs uv in a closed environment, and says its errors in words for the person who made the model."""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from reconciler.adapters.credentials import CredentialError, user_and_password
from reconciler.core.text.quote import one_line
from reconciler.core.text.urls import is_readable_on_the_way
from reconciler.steps import subprocesses
from reconciler.steps.step_report import StepError, print_line
from reconciler.steps.subprocesses import Room

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_PASSED_ON = (*_PROXIES, "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR")
_PATH = "/usr/local/bin:/usr/bin:/bin"
CACHE = "cache"
"""uv's, below the room."""

_NO_SPACE = r"No space left on device|os error 28|Disk quota exceeded"
_UNREACHABLE = r"dns error|tcp connect error|Connection refused|timed out|error sending request|Failed to fetch"
_CONFLICT = r"No solution found"
_UNUSABLE = r"invalid package format|no wheels with a matching"
_NO_LOGIN = "no credentials are used where build.allow_source has foreign code run, so choose one of the two"
_CHECK_LOGIN = "see that the credentials index.username and index.password are right"
_UNKNOWN = "{why}; see this unit's journal"
_SENTENCES = (
    (r"Hash mismatch", "{why}; the index has another file than {what} name, find out why"),
    (
        r"no trusted hash was provided|(?i:hash-checking)|--require-hashes",
        "{why}; list that package too, with its version and hash, as `uv pip compile --generate-hashes` does, and log "
        "the model again",
    ),
    (
        r"network was disabled|not found in the cache",
        "{why}; this host is offline, put the wheels into find_links",
    ),
    (r"40[13] (Unauthorized|Forbidden)", "{index} does not let this host in; {login}"),
    (
        _UNREACHABLE,
        "cannot reach {index}: {cause}; it is tried again by itself, or mend build.index_url",
    ),
    (
        r"invalid package format|Wheel version does not match|malformed wheel",
        "{why}; a wheel of it is damaged, or was renamed: make it again, and log the model with it",
    ),
    (
        r"was included as a URL dependency",
        "a package names an address from which to take another: {why}; list that other package, too, by its version or "
        "as a wheel in the model, and log a wheel that requires it by its name",
    ),
    (
        r"no usable wheels|building from source is disabled",
        "{why}; this host installs wheels only, choose a version that has one or have build.allow_source switched on",
    ),
    (r"no wheels with a matching", "{why}; choose a version that has a wheel for this host's Python"),
    (
        r"was not found in|there is no version of|there are no versions of",
        "a package cannot be found: {why}; correct {what} and log the model again",
    ),
    (_CONFLICT, "{what} contradict each other: {why}; log the model again"),
)
"""A pattern in uv's report, and what follows "cannot build the environment: ".

The first match counts. The order goes from causes to consequences: an index that cannot be reached also ends with "No
solution found".
"""


@dataclass(frozen=True)
class Sources:
    """Where packages may come from: the host's settings, and wheels that the model ships itself."""

    index_url: str = ""
    find_links: tuple[str, ...] = ()
    offline: bool = False
    allow_source: bool = False
    in_the_model: str = ""
    """A directory with the model's own wheels, each of which is listed with its hash; "" for none."""
    is_model_alone: bool = False
    """Whether these are the model's own wheels and what the product brings, and nothing of the host's settings."""

    @property
    def server(self) -> str:
        """The index's address where it is one that credentials could be for."""
        return self.index_url if self.index_url.startswith(("http://", "https://")) else ""

    def arguments(self) -> list[str]:
        """Write them as uv's options."""
        options = ["--index-url", self.index_url] if self.index_url else []
        for place in filter(None, (self.in_the_model, *self.find_links)):
            options += ["--find-links", place]
        if self.offline:
            options.append("--offline")
            has_wheels_only = bool(self.find_links or self.in_the_model) and not self.index_url
            if has_wheels_only:
                options.append("--no-index")  # the default index would only be a name that cannot be looked up
        if not self.allow_source:
            options += ["--only-binary", ":all:"]
        return options


class UvError(Exception):
    """uv ended with an error; the message is its own."""


def run(*arguments: str, room: Room, login: str = "", environment: Mapping[str, str] | None = None) -> str:
    """Run the product's own uv and return its output. Raises UvError with its words, or as subprocesses.run does.

    `login`: a netrc text with the index's credentials, which only this process can read. `environment`: variables in
    place of those that uv gets otherwise.
    """
    uv = Path(sys.prefix) / "bin" / "uv"
    process_env = {**_process_env(room), **(environment or {})}
    try:
        with _in_memory(login) as netrc:
            # Also without credentials: uv would look for a file in somebody's home.
            process_env["NETRC"] = f"/proc/self/fd/{netrc}" if netrc is not None else "/dev/null"
            done = subprocesses.run(
                [uv, "--color", "never", *arguments],
                room=room,
                environment=process_env,
                descriptors=[] if netrc is None else [netrc],
            )
    except FileNotFoundError as error:
        raise StepError(f"cannot build an environment: {uv} is missing; run ./dev install") from error
    for line in done.stderr.splitlines():
        if not line.startswith(" + "):  # every package; the record of the environment lists them
            print_line(f"uv: {line}")
    if done.returncode != 0:
        raise UvError(done.stderr)
    return done.stdout


def _process_env(room: Room) -> dict[str, str]:
    """Return the whole environment of a uv process: nothing of it comes from a user, a home or a file of uv's own."""
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return passed_on | {
        "PATH": _PATH,
        # The unit hides homes: nothing may be looked for or kept there.
        "HOME": str(room.directory),
        "UV_NO_CONFIG": "1",
        "UV_NO_PROGRESS": "1",
        # Of this build alone: uv does not look again at what it once unpacked, so a build that changes a shared cache
        # would change later environments.
        "UV_CACHE_DIR": str(room.directory / CACHE),
        "UV_PYTHON_INSTALL_DIR": str(room.directory / "no-pythons"),
        "UV_PYTHON_PREFERENCE": "only-system",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_SYSTEM_CERTS": "1",
        "UV_NATIVE_TLS": "1",
        # The cache goes when the build is done, so no other name of a file is left.
        "UV_LINK_MODE": "hardlink",
        "UV_HTTP_TIMEOUT": "30",
        "UV_HTTP_RETRIES": "2",
    }


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
    builds_foreign_code = sources.allow_source
    if pair is None or not sources.server or builds_foreign_code:
        return ""  # no secret is where foreign code runs; the unit does not even load it then
    if is_readable_on_the_way(sources.server):
        raise StepError(
            f"cannot build the environment: {sources.server} would get the credentials in plain text; "
            "have build.index_url changed to https"
        )
    for which, word in zip(("username", "password"), pair, strict=True):
        if not re.fullmatch(r"[!$-~]+", word):  # netrc has no quoting that uv reads
            raise StepError(
                f"cannot build the environment: the credential 'index.{which}' has a space, a quote, a '#' or a letter "
                "outside ASCII, which uv cannot take; have another one made"
            )
    return f"machine {urlsplit(sources.server).hostname} login {pair[0]} password {pair[1]}\n"


def is_for_want_of_space(error: UvError) -> bool:
    """Tell whether the disk was full."""
    return re.search(_NO_SPACE, str(error)) is not None


def is_unreachable(error: UvError) -> bool:
    """Tell whether a server did not answer."""
    return re.search(_UNREACHABLE, str(error)) is not None


def is_conflict(error: UvError) -> bool:
    """Tell whether the resolver found no set of versions, as opposed to an error before that."""
    return re.search(_CONFLICT, str(error)) is not None


def may_be_elsewhere(error: UvError) -> bool:
    """Tell whether other places could have what was lacking: no wheel that was there, and named by its hash, is bad."""
    return is_conflict(error) and re.search(_UNUSABLE, str(error)) is None


def as_step_error(error: UvError, what: str, sources: Sources) -> StepError:
    """Turn uv's error into the reason that a data scientist reads; `what` names whose requirements they are."""
    text = str(error)
    if is_for_want_of_space(error):
        return no_space()
    why = because(error)
    sentence = next((sentence for pattern, sentence in _SENTENCES if re.search(pattern, text)), _UNKNOWN)
    words = sentence.format(
        why=why,
        what=what,
        index=sources.index_url or "the package index",
        cause=next(reversed(re.findall(r"cause: (.*)", text)), "no answer"),
        login=_NO_LOGIN if sources.allow_source else _CHECK_LOGIN,
    )
    return StepError(f"cannot build the environment: {words}")


def no_space() -> StepError:
    """Make the error of a full disk."""
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
