"""What every endpoint hands back: a status, a body and its media type, and the shape of an error."""

from __future__ import annotations

import json
from dataclasses import dataclass

JSON = "application/json"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer that no web framework has touched yet; computed in a worker thread."""

    status: int
    body: str
    media_type: str = JSON
    model_raised: bool = False

    @property
    def failed(self) -> bool:
        """Whether the release is to blame, not the client; MLflow answers with 400 some of what the model raises."""
        return self.status >= 500 or self.model_raised


def error(status: int, code: str, message: str) -> Answer:
    """An error in the shape MLflow uses: `{"error_code": …, "message": …}`."""
    return Answer(status, json.dumps({"error_code": code, "message": message}))
