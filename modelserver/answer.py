"""What every endpoint hands back: a status, a body and its media type, and the shape of an error."""

from __future__ import annotations

import json
from dataclasses import dataclass

JSON = "application/json"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer that no web framework has touched yet; computed in a worker thread.

    `failed` when the release is to blame for it, which modelserver.model.blame decides: its status does not say that.
    """

    status: int
    body: str
    media_type: str = JSON
    failed: bool = False


def error(status: int, code: str, message: str, failed: bool = False) -> Answer:
    """An error in the shape MLflow uses: `{"error_code": …, "message": …}`."""
    return Answer(status, json.dumps({"error_code": code, "message": message}), failed=failed)
