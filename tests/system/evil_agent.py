"""Runs inside a host as the agent's user, as somebody who has taken it over: replaces the snapshot at will.

Reads {"good": snapshot, "tries": count, "names": [...], "texts": [...]} from stdin; prints how many it put in place.
"""

import json
import os
import random
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

DIRECTORY = Path("/run/mlflow-registry-agent")
SNAPSHOT = DIRECTORY / "registry.json"
NEW = DIRECTORY / "new"
PAUSE = 0.02
"""Seconds for the reconciler to notice: some are read, some are swapped while they are read."""
SOURCES = (
    *("file:///etc/shadow", "file:///root/canary", "/root/canary", "../../../root/canary", "models:/", "models:/m-1"),
    *("http://169.254.169.254/latest/meta-data/", "http://[::1]:1/", "http://127.0.0.1:1/../../etc/shadow", "runs:/x"),
    *("dbfs:/x", "s3://", "mlflow-artifacts://evil/../..", "--source", "-", "ftp://127.0.0.1/x", "nfs://127.0.0.1/x"),
)
KEYS = (
    *("environment", "start_timeout", "stop_timeout", "memory_max", "cpu_quota", "max_body", "watchdog", "strategy"),
    *(
        "idle_timeout",
        "soak",
        "max_error_rate",
        "replicas",
        "runtime",
        "User",
        "network",
        "verify_command",
        "__class__",
    ),
)
TARGETS = ("/root/canary", "/etc/shadow", "/dev/zero", "/proc/self/mem", "/run/mlflow-reconciler/status.json", "x")


def hostile_model(chance: random.Random, name: str, texts: list[str]) -> dict[str, Any]:
    """One model as nobody should select it."""
    settings = {key: chance.choice([*texts, "-1", "0", "9" * 4400, "9" * 30 + "T", "1e999"]) for key in KEYS}
    few = dict(chance.sample(sorted(settings.items()), chance.choice((0, 1, 1, 2))))
    return {
        "name": name,
        "version": chance.choice((1, 2, 9_999_999_999, 9_999_999_999, 0, -1, 10**40, "1", 1.5, None)),
        "source": chance.choice((*SOURCES, *texts)),
        "selected_by": chance.choice(texts)[:1024],
        "settings": few,
    }


def content(chance: random.Random, good: dict[str, Any], names: list[str], texts: list[str]) -> bytes:
    """Write one hostile document; the models that serve stay in it, or nothing is."""
    name = chance.choice([*names, *texts, "../../etc/passwd", "a/b", "a b", "%i", "-x", "x" * 65, "", "."])
    extra = hostile_model(chance, name, texts)
    document = {**good, "models": [*good["models"], extra]}
    match chance.randrange(12):
        case 0:
            changed = {**good["models"][0], "settings": {chance.choice(KEYS): chance.choice(texts)[:5000]}}
            document = {**good, "models": [changed, *good["models"][1:]]}
        case 1:
            document = {**good, "models": []}
        case 2:
            document = {**document, "not_deployable": [{"name": text[:1024], "why": text[:1024]} for text in texts]}
        case 3:
            document = {**document, "schema": chance.choice([2, "1", None, True, 10**30])}
        case 4:
            return json.dumps(document).encode()[: chance.randrange(400)]
        case 5:
            return b'{"schema": 1, "models": ' + b"[" * 100_000
        case 6:
            return json.dumps(document).encode().replace(b'"name"', b'"name": "root", "name"')
        case 7:
            return json.dumps(document).encode() + chance.randbytes(40)
        case 8:
            document = {
                **document,
                "registry": chance.choice(texts)[:1024],
                "read_at": chance.choice(["", "9" * 40, 0]),
            }
    return json.dumps(document).encode(errors="replace")


def clear() -> None:
    """Make room: a directory is not replaced by a file."""
    for path in (NEW, SNAPSHOT):
        with suppress(OSError):
            path.rmdir()
    NEW.unlink(missing_ok=True)


def put(chance: random.Random, made: bytes) -> None:
    """Put it in the snapshot's place, or something that is no file."""
    clear()
    match chance.randrange(10):
        case 0:
            os.mkfifo(NEW)
        case 1:
            NEW.symlink_to(chance.choice(TARGETS))
        case 2:
            SNAPSHOT.unlink(missing_ok=True)
            NEW.mkdir()
        case 3:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(NEW))
        case 4:
            NEW.write_bytes(made)
            second = DIRECTORY / "second"
            second.unlink(missing_ok=True)
            os.link(NEW, second)
        case 5:
            SNAPSHOT.unlink(missing_ok=True)
            SNAPSHOT.write_bytes(made)  # in place: it grows while it is read
            SNAPSHOT.chmod(0o666)
            return
        case _:
            NEW.write_bytes(made)
    NEW.replace(SNAPSHOT)


def main() -> None:
    """Attack."""
    asked = json.load(sys.stdin)
    chance = random.Random(1)  # noqa: S311 - the same attack each time, no secret
    for _ in range(asked["tries"]):
        put(chance, content(chance, asked["good"], asked["names"], asked["texts"]))
        time.sleep(chance.random() * PAUSE)
    clear()
    NEW.write_text(json.dumps(asked["last"]))
    NEW.replace(SNAPSHOT)
    print(asked["tries"])  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main()
