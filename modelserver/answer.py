"""What every endpoint hands back: a status, a body and its media type, and the shape of an error."""

from __future__ import annotations

import json
from dataclasses import dataclass

JSON = "application/json"


@dataclass(frozen=True)
class HttpAnswer:
    """An HTTP answer that no web framework has touched yet; computed in a worker thread.

    `release_failed`: the release is to blame for it. modelserver.model.blame decides that; the status does not tell.
    """

    status: int
    body: str
    media_type: str = JSON
    release_failed: bool = False


def error_answer(status: int, code: str, message: str, release_failed: bool = False) -> HttpAnswer:
    """An error in the shape MLflow uses: `{"error_code": …, "message": …}`."""
    return HttpAnswer(status, json.dumps({"error_code": code, "message": message}), release_failed=release_failed)
