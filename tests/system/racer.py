"""Runs inside a host as the deploy user, outside of any sandbox: swaps files of its own for links, back and forth.

Takes the name of a deployment; ends with SIGTERM or after TRIES, and prints what it tried and won.
"""

import ctypes
import json
import os
import random
import signal
import sys
from contextlib import suppress
from pathlib import Path

TRIES = 2_000_000
HOME = Path("/var/lib/mlflow-deploy")
TARGETS = (
    *("/root", "/root/canary", "/etc", "/etc/shadow", "/home/ada", "/home/ada/canary", "/etc/systemd/system", "/"),
    *("/var/lib/mlflow-reconciler", "/run/mlflow-reconciler/status.json", "/dev/zero", "/proc/self"),
)
AT_FDCWD, RENAME_EXCHANGE = -100, 2
BAIT = ".swapped"
_libc = ctypes.CDLL(None, use_errno=True)


def exchange(one: Path, other: Path) -> bool:
    """Swap two names at once; False when it was refused."""
    return not _libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE)


def bait(chance: random.Random, place: Path) -> Path:
    """Make something to swap in: a link, a FIFO, a directory with links."""
    made = place.with_name(f"{BAIT}-{chance.randrange(8)}")
    with suppress(OSError):
        match chance.randrange(8):
            case 0:
                os.mkfifo(made)
            case 1:
                made.mkdir()
                for target in TARGETS:
                    (made / Path(target).name).symlink_to(target)
            case 2:
                os.link(chance.choice(TARGETS), made)
            case _:
                made.symlink_to(chance.choice(TARGETS))
    return made


def attack(chance: random.Random, places: list[Path]) -> tuple[int, int]:
    """Try once all over; gives how many swaps of its own worked, and how many of root's directories."""
    swapped = won = 0
    for leaf in places:
        with suppress(OSError):
            leaf.chmod(chance.choice((0o700, 0o755, 0o777, 0o4755)))
        # A leaf's own name is in a directory of root's: nobody may swap it, or put anything beside it.
        won += exchange(leaf, bait(chance, leaf))
        with suppress(OSError):
            (leaf.parent / BAIT).symlink_to("/root")
            won += 1
        with suppress(OSError):
            entries = [entry for entry in [*leaf.iterdir(), *leaf.glob("*/*")] if not entry.name.startswith(BAIT)]
            for entry in chance.sample(entries, min(len(entries), 6)):
                other = bait(chance, entry)
                if exchange(entry, other):
                    swapped += 1
                    exchange(entry, other)
                if chance.random() < 0.3:
                    with suppress(OSError):
                        other.unlink()
    return swapped, won


def leaves(deployment: Path) -> list[Path]:
    """The directories of root's making; the deployment's alone while that leads to where we may not look."""
    with suppress(OSError):
        return [deployment, *deployment.glob("releases/*"), *(HOME / "environments").glob("*")]
    return [deployment]


def main() -> None:
    """Attack until told to stop."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopped.append(number))
    chance = random.Random(1)  # noqa: S311 - the same attack each time, no secret
    name = sys.argv[1]
    swapped = won = 0
    while not stopped and swapped < TRIES:
        deployment = HOME / "model_deploys" / name
        now, gained = attack(chance, leaves(deployment))
        swapped, won = swapped + now, won + gained
    print(json.dumps({"tried": swapped, "won": won}))  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main()
