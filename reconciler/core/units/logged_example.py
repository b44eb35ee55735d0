"""Whether a version has an example to be tried with before it serves, and the sentences for people if it has none."""

from enum import StrEnum


class LoggedExample(StrEnum):
    """What a fetch found in the files of a version. The words stand in status lines and unit files."""

    LOGGED = "logged"
    """The server answers it before it accepts a request, or does not start."""
    NONE = "none"
    UNUSABLE = "unusable"
    """The version has one, and no request can be made of it: a file is missing, or its form is not known."""

    @property
    def is_proof(self) -> bool:
        """Whether the server can try the model with it."""
        return self is LoggedExample.LOGGED


_WHAT_IS_MISSING = {
    LoggedExample.NONE: "no logged example",
    LoggedExample.UNUSABLE: "no logged example that can be replayed",
}
_REMEDY = "log it with input_example=… or with pipeline.py, and register a new version"


def beside_fetched(example: LoggedExample) -> str:
    """Say in a few words, as the end of a clause, what a fetch did not find; empty when nothing is missing."""
    missing = _WHAT_IS_MISSING.get(example)
    return f", {missing}" if missing else ""


def why_unproved(version: int, example: LoggedExample | None) -> str:
    """Say that a version serves though nothing was tried with it; empty when it was tried, or nobody knows.

    The first words are the same for all such versions, so that people can search for them.
    """
    missing = _WHAT_IS_MISSING.get(example) if example is not None else None
    if missing is None:
        return ""
    return f"{missing}: version {version} answered nothing before it took traffic; {_REMEDY}"


def why_refused(name: str, version: int, example: LoggedExample | None) -> str:
    """Say why a host that requires an example does not take a version whose `example` is no proof.

    None: the files were fetched by a version of this product that did not look for one.
    """
    where = f"cannot deploy version {version} of {name}"
    if example is None:
        return f"{where}: nobody has looked for its logged example; run reconciler rollout {name} on this host"
    missing = _WHAT_IS_MISSING[example]
    return f"{where}: it has {missing}, and this host requires one (policy.require_example); {_REMEDY}"
