"""`python -m tests.pictures`: make the pictures of the documents anew, with the real programs, by a system test."""

# ruff: noqa: T201 - it talks to people

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

CHECKOUT = Path(__file__).resolve().parents[1]
MADE_BY = CHECKOUT / "tests" / "system" / "test_in_the_browser.py"
KEPT_IN = CHECKOUT / "docs" / "pictures"
# What the test calls a picture, and what the documents call it.
PICTURES = {
    "3-confirm.png": "stage.png",
    "4-serving.png": "serving.png",
    "5-try.png": "try.png",
    "6-alias.png": "alias.png",
    "7-degraded.png": "degraded.png",
}
COLOURS = 128
MOST_BYTES = 150_000


def keep(made: Path, kept: Path) -> None:
    """Write a picture with few colours, which look the same. Raises ValueError if it is too large all the same."""
    with Image.open(made) as picture:
        picture.convert("RGB").quantize(COLOURS).save(kept, optimize=True)
    if kept.stat().st_size > MOST_BYTES:
        raise ValueError(f"cannot keep {kept.name}: it has more than {MOST_BYTES} bytes; show less in it")


def main() -> int:
    """Run the test, and keep its pictures if it passes."""
    directory = Path(tempfile.mkdtemp(prefix="pictures-"))
    try:
        made = directory / "made"  # pytest empties this directory
        command = [sys.executable, "-m", "pytest", "-q", f"--basetemp={made}", str(MADE_BY)]
        status = subprocess.run(command, cwd=CHECKOUT, check=False).returncode
        if status:
            return status
        KEPT_IN.mkdir(exist_ok=True)
        for theirs, ours in PICTURES.items():
            keep(made / "pictures0" / theirs, KEPT_IN / ours)
            print(f"made docs/pictures/{ours}; look at it before you commit it")
    finally:
        shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
