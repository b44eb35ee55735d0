"""Writes values into docker-compose.server.yml, so that compose reads exactly them."""

import json
import re

# What YAML takes in a quoted text but compose would replace, and what YAML does not take as it is.
_NOT_PLAIN = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufdcf\ufdf0-\ufffd\U00010000-\U0001fffd]|[\u2028\u2029\ufeff]")


def yaml_text(value: object) -> str:
    """Write a value as YAML on one line. A `$` is doubled, or compose would put a variable in its place.

    Raises TypeError for a value that has no form in JSON.
    """
    written = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return _NOT_PLAIN.sub(_escaped, written.replace("$", "$$"))


def _escaped(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
