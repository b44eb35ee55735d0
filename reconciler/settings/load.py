"""Reads the settings of a host from config.toml, its drop-ins and the environment.

Settings are right as a whole or refused: there is one error, with one sentence that names the place. A rejected value
is never part of the sentence. It may be a password that somebody put in the wrong place.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import pydantic_settings
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from reconciler.settings.model import ENVIRONMENT_PREFIX, Settings
from reconciler.settings.unknown_keys import unknown_key

DEFAULT_PATH = Path("/etc/mlflow-reconciler/config.toml")
PATH_VARIABLE = "MLFLOW_RECONCILER_CONFIG"
MAX_FILE_BYTES = 1024 * 1024

Tables = dict[str, dict[str, Any]]
"""The content of a file or of several: values by section and key."""


class SettingsError(Exception):
    """Settings that cannot be used; the message names the file and the key and says what would be right."""

    @classmethod
    def at(cls, place: object, what: str, mend: str = "mend the file") -> Self:
        """Make the error of a place, such as a file or `environment`."""
        return cls(f"cannot use the settings: {place}: {what}; {mend}")


def settings_files(path: Path | None = None) -> tuple[Path, ...]:
    """List the files that `load` reads, first the main one; a default file that is missing is not among them.

    Raises SettingsError when a file that was named is missing or a directory cannot be listed.
    """
    named = path or _path_in_environment()
    main = named or DEFAULT_PATH
    try:
        drop_ins = sorted(main.with_name("config.d").glob("*.toml"))
        is_there = main.exists()
    except OSError as error:
        raise SettingsError.at(main, str(error.strerror), "mend its permissions") from error
    if is_there:
        return (main, *drop_ins)
    # Without a file of its own a host has the defaults. But who names a file wants what is in it.
    if named is not None:
        raise SettingsError.at(main, "no such file", "create it or name another with --config")
    return tuple(drop_ins)


def _path_in_environment() -> Path | None:
    """Return the file that $MLFLOW_RECONCILER_CONFIG names; an empty variable names none."""
    name = os.environ.get(PATH_VARIABLE)
    return Path(name) if name else None


def load(path: Path | None = None) -> Settings:
    """Read the settings: `path` (or $MLFLOW_RECONCILER_CONFIG, or the default), config.d beside it, the environment.

    Later files win key by key; a list is replaced as a whole. Raises SettingsError.
    """
    contents = {file: _read(file) for file in settings_files(path)}
    _refuse_unknown_variables()
    try:
        return Settings(**_merged(contents))  # type: ignore[arg-type]  # the tables become sections by validation
    except ValidationError as error:
        # Without the input, so that no rejected value can come into a sentence or a log.
        first = error.errors(include_input=False, include_url=False)[0]
        raise _error(first, contents) from None
    except pydantic_settings.SettingsError:
        example = f'{ENVIRONMENT_PREFIX}REGISTRY__SELECTORS=["stage:Production"]'
        what = f"a list is written as JSON there, such as {example}"
        raise SettingsError.at("environment", what, "mend the variable") from None


def _merged(contents: Mapping[Path, Tables]) -> Tables:
    """Put the files together, the later over the earlier ones. Raises SettingsError for a key outside of a section.

    This comes before pydantic's own check of the sections: it could no longer say from which file a value is.
    """
    merged: Tables = {}
    for file, content in contents.items():
        for section, values in content.items():
            # TOML allows a value where we need a table; the type says what it should be.
            if not isinstance(values, dict):
                raise SettingsError.at(file, f"{section}: {_no_table(section)}")
            merged.setdefault(section, {}).update(values)
    return merged


def _no_table(key: str) -> str:
    """Say what is wrong with a key outside of all sections."""
    return "should be a table" if key in Settings.model_fields else unknown_key(key)


def _read(file: Path) -> dict[str, Any]:
    """Read one file, whose tables are not checked yet. Raises SettingsError.

    The agent and the reconciler read it at each reload: a file without end must not fill their memory.
    """
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SettingsError.at(file, error.strerror or "it cannot be read") from error
    if len(raw) > MAX_FILE_BYTES:
        raise SettingsError.at(file, "it has more than a megabyte")
    try:
        return tomllib.loads(raw.decode())
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SettingsError.at(file, f"line {line}: not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError.at(file, _syntax(str(error))) from None


def _syntax(message: str) -> str:
    """Put the place first in an error of tomllib's, as it is in the other errors."""
    # tomllib ends its message with "(at line 3, column 5)" or "(at end of document)".
    match = re.fullmatch(r"(.*) \(at (.*)\)", message, re.DOTALL)
    if match is None:
        return f"syntax: {message}"
    why, where = match.groups()
    return f"{where}: {why}"


def _error(error: ErrorDetails, contents: Mapping[Path, Tables]) -> SettingsError:
    """Make the error that names the place of one of pydantic's errors and says in our words what is wrong."""
    section, key = (*map(str, error["loc"]), "", "")[:2]
    what = _in_our_words(error, section, key)
    is_of_a_whole_section = not key and ": " in what
    if is_of_a_whole_section and error["type"] != "extra_forbidden":
        # A check of several keys says in its message which one to mend.
        key, what = what.split(": ", 1)
    variable = _variable(section, key)
    if variable is not None:
        return SettingsError.at("environment", f"{variable}: {what}", "mend the variable")
    dotted = f"{section}.{key}" if key else section
    return SettingsError.at(_file_of(section, key, contents), f"{dotted}: {what}")


def _in_our_words(error: ErrorDetails, section: str, key: str) -> str:
    """Say what is wrong; the words of our own checks stay as they are."""
    match error["type"]:
        case "extra_forbidden":
            return unknown_key(f"{section}.{key}" if key else section)
        case "setting":
            return error["msg"]
        case "literal_error":
            return f"should be {error['ctx']['expected']}"
        case "string_pattern_mismatch":
            # Of a runtime: the only kind of value that is checked by a pattern alone.
            return "should be a name of lower-case letters, digits, '_' and '-'"
    what = error["msg"].removeprefix("Value error, ").replace("Input should", "should")
    # A list of TOML is a tuple of Python, and only we know that.
    return what.replace("a valid tuple", "a list").replace("Tuple", "the list")


def _file_of(section: str, key: str, contents: Mapping[Path, Tables]) -> Path | None:
    """Find the file that a value comes from: the last one that sets the key, or else that has the section.

    The latter for a check of several keys, where the one to mend may be a default. None when no file has the section.
    """
    last_first = list(contents.items())[::-1]
    for file, tables in last_first:
        if key in tables.get(section, {}):
            return file
    for file, tables in last_first:
        if section in tables:
            return file
    return None


def _variable(section: str, key: str) -> str | None:
    """Find the variable of the environment that sets a key, or its whole section.

    Variables win over files, so that a wrong value comes from one if there is one.
    """
    wanted = {f"{ENVIRONMENT_PREFIX}{section}__{key}".upper(), f"{ENVIRONMENT_PREFIX}{section}".upper()}
    return next((name for name in os.environ if name.upper() in wanted), None)


def _refuse_unknown_variables() -> None:
    """Raise SettingsError for a variable of a section that does not exist.

    pydantic-settings passes over it; unknown keys of a section that exists it reports by itself.
    """
    for name in os.environ:
        section, delimiter, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
        is_a_setting = name.startswith(ENVIRONMENT_PREFIX) and bool(delimiter)
        if is_a_setting and section not in Settings.model_fields:
            raise SettingsError.at("environment", f"{name}: {unknown_key(f'{section}.{key}')}", "mend the variable")
