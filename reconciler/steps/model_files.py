"""Reads single files of a fetched model, without following a link: text up to a limit, digests."""

import os
import stat
from pathlib import Path

from reconciler.core.text.quote import one_line
from reconciler.steps.check_files import OddFileError, sha256_of
from reconciler.steps.step_report import StepError

MAX_FILE_BYTES = 1024 * 1024


def read_text(model: Path, name: str) -> str | None:
    """Read a text file of the model, by its path in it; None when there is none.

    Raises StepError for a link, another thing than a file, more than a megabyte, and what is not UTF-8.
    """
    shown = one_line(name, 200)
    try:
        descriptor = os.open(model / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:  # a link
        raise StepError(f"cannot read the model's {shown}: {error.strerror}; log the model again") from error
    # Looked at first: of a directory no stream can be made.
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StepError(f"cannot read the model's {shown}: it is not a file; log the model again")
    with os.fdopen(descriptor, "rb") as stream:
        raw = stream.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        raise StepError(f"cannot read the model's {shown}: it has more than a megabyte; log the model again")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise StepError(f"cannot read the model's {shown}: it is not UTF-8 text; log the model again") from None


def digest_of(model: Path, name: str) -> str | None:
    """Return the SHA-256 of a file of the model, in hex; None when there is none. Raises StepError for a link."""
    try:
        return sha256_of(model / name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OddFileError, OSError) as error:  # a link is an OSError
        why = str(error) if isinstance(error, OddFileError) else "it is not a file of the model"
        raise StepError(f"cannot use the model's {one_line(name, 200)}: {why}; log the model again") from error
