"""Reads the settings of a host from config.toml, its drop-ins and the environment; says in a sentence what is wrong."""

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pydantic_settings
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from reconciler.settings.model import ENVIRONMENT_PREFIX, Settings, known_keys

DEFAULT_PATH = Path("/etc/mlflow-reconciler/config.toml")
PATH_VARIABLE = "MLFLOW_RECONCILER_CONFIG"
MAX_FILE_BYTES = 1024 * 1024

_SECRET_WORDS = ("password", "passwd", "token", "secret", "username", "credential")


class SettingsError(Exception):
    """Settings that cannot be used; the message names the file and the key and says what would be right."""


def settings_files(path: Path | None = None) -> tuple[Path, ...]:
    """List the files that `load` reads, first the main one; a default file that is missing is not among them.

    Raises SettingsError when a file that was named is missing or a directory cannot be listed.
    """
    named = path or (Path(os.environ[PATH_VARIABLE]) if os.environ.get(PATH_VARIABLE) else None)
    main = named or DEFAULT_PATH
    try:
        drop_ins = sorted(main.with_name("config.d").glob("*.toml"))
        present = main.exists()
    except OSError as error:
        raise SettingsError(f"cannot use the settings: {main}: {error.strerror}; mend its permissions") from error
    if not present and named is not None:
        raise SettingsError(f"cannot use the settings: {main}: no such file; create it or name another with --config")
    return (*((main,) if present else ()), *drop_ins)


def load(path: Path | None = None) -> Settings:
    """Read the settings: `path` (or $MLFLOW_RECONCILER_CONFIG, or the default), config.d beside it, the environment.

    Raises SettingsError with one sentence that names the file and the key.
    """
    contents = {file: _read(file) for file in settings_files(path)}
    _refuse_unknown_sections()
    merged: dict[str, dict[str, Any]] = {}
    for file, content in contents.items():
        for section, values in content.items():
            if section in Settings.model_fields and not isinstance(values, dict):
                raise SettingsError(f"cannot use the settings: {file}: {section}: should be a table; mend the file")
            if not isinstance(values, dict):
                raise SettingsError(f"cannot use the settings: {file}: {section}: {_unknown(section)}; mend the file")
            merged.setdefault(section, {}).update(values)
    try:
        return Settings(**merged)  # type: ignore[arg-type]  # the tables become sections by validation
    except ValidationError as error:
        raise SettingsError(_explain(error.errors(include_input=False, include_url=False)[0], contents)) from None
    except pydantic_settings.SettingsError:
        raise SettingsError(
            "cannot use the settings: environment: a list is written as JSON there, such as "
            f'{ENVIRONMENT_PREFIX}REGISTRY__SELECTORS=["stage:Production"]; mend the variable'
        ) from None


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            raise SettingsError(f"cannot use the settings: {file}: it has more than a megabyte; mend the file")
        return tomllib.loads(raw.decode())
    except OSError as error:
        why = error.strerror or "it cannot be read"
        raise SettingsError(f"cannot use the settings: {file}: {why}; mend the file") from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"cannot use the settings: {file}: line {line}: not UTF-8 text; mend the file") from None
    except tomllib.TOMLDecodeError as error:
        # tomllib ends its message with "(at line 3, column 5)" or "(at end of document)".
        match = re.fullmatch(r"(.*) \(at (.*)\)", str(error), re.DOTALL)
        why, where = (match[1], match[2]) if match else (str(error), "syntax")
        raise SettingsError(f"cannot use the settings: {file}: {where}: {why}; mend the file") from None


def _explain(error: ErrorDetails, contents: dict[Path, dict[str, Any]]) -> str:
    """Turn one of pydantic's errors into a sentence that names the place."""
    section, key = (*map(str, error["loc"]), "", "")[:2]
    what = error["msg"]
    if error["type"] == "extra_forbidden":
        what = _unknown(f"{section}.{key}" if key else section)
    elif not key and ": " in what:  # a check of a whole section says which key it is about
        key, what = what.split(": ", 1)
    elif error["type"] == "literal_error":
        what = f"should be {error['ctx']['expected']}"
    elif error["type"] == "string_pattern_mismatch":
        what = "should be a name of lower-case letters, digits, '_' and '-'"
    elif error["type"] != "setting":
        what = what.removeprefix("Value error, ").replace("Input should", "should")
        what = what.replace("a valid tuple", "a list").replace("Tuple", "the list")
    dotted = f"{section}.{key}" if key else section
    variable = _variable(section, key)
    if variable is not None:
        return f"cannot use the settings: environment: {variable}: {what}; mend the variable"
    origin = next((file for file, tables in reversed(contents.items()) if key in tables.get(section, {})), None)
    origin = origin or next((file for file, tables in reversed(contents.items()) if section in tables), None)
    return f"cannot use the settings: {origin}: {dotted}: {what}; mend the file"


def _variable(section: str, key: str) -> str | None:
    wanted = {f"{ENVIRONMENT_PREFIX}{section}__{key}".upper(), f"{ENVIRONMENT_PREFIX}{section}".upper()}
    return next((name for name in os.environ if name.upper() in wanted), None)


def _refuse_unknown_sections() -> None:
    # pydantic-settings reports unknown keys of a section, but passes over variables of a section that does not exist.
    for name in os.environ:
        section, delimiter, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
        if name.startswith(ENVIRONMENT_PREFIX) and delimiter and section not in Settings.model_fields:
            what = _unknown(f"{section}.{key}")
            raise SettingsError(f"cannot use the settings: environment: {name}: {what}; mend the variable")


def _unknown(dotted: str) -> str:
    if any(word in dotted.lower() for word in _SECRET_WORDS):
        return "no such key: credentials are not settings; pass them as systemd credentials (LoadCredential=)"
    known = known_keys()
    leaf = dotted.rpartition(".")[2]
    near = difflib.get_close_matches(dotted, (*known, *Settings.model_fields), n=1, cutoff=0.75)
    near = near or [key for key in known if key.rpartition(".")[2] == leaf]
    near = near or difflib.get_close_matches(dotted, known, n=1, cutoff=0.5)
    return (
        f"no such key; did you mean {near[0]}?"
        if near
        else f"no such key; the sections are {', '.join(Settings.model_fields)}"
    )
