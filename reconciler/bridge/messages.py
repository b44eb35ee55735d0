"""Reads requests and writes results, in the JSON that the SPIRA API speaks; docs/nats.md has it for developers."""

import base64
import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from reconciler.bridge.outcome import Outcome, RequestFailedError
from reconciler.ports.broker import Delivery

# It becomes a part of a key in the bucket.
_ID = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,128}")
_MEND = "publish what docs/nats.md says"
DIAGNOSES = ("positive", "negative", "inconclusive")


@dataclass(frozen=True)
class Request:
    """One request for an inference."""

    inference: str
    """Its id."""
    metadata: str
    """What the model is told beside the recordings: the whole message, as it came."""


def read_request(data: bytes, largest: int) -> Request:
    """Read a message of at most `largest` bytes. Raises RequestFailedError."""
    if len(data) > largest:
        raise RequestFailedError(
            Outcome.MESSAGE_TOO_LARGE,
            f"cannot read the request: it has {len(data)} bytes, at most {largest} are read; "
            "raise nats.max_message on the host",
        )
    try:
        text = data.decode()
        found: object = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise _invalid("it is no JSON in UTF-8") from None
    if not isinstance(found, dict):
        raise _invalid("it is no JSON object")
    inference = found.get("id")
    if not isinstance(inference, str):
        raise _invalid("it has no text as 'id'")
    if _ID.fullmatch(inference) is None:
        raise _invalid("its id has other characters than letters, digits, '.', '_' and '-', or is too long")
    return Request(inference, text)


def _refuse_constant(_constant: str) -> None:
    raise ValueError("NaN and Infinity are no JSON")


def _invalid(why: str) -> RequestFailedError:
    return RequestFailedError(Outcome.INVALID_MESSAGE, f"cannot read the request: {why}; {_MEND}")


def read_answer(body: bytes, release: str) -> dict[str, Any]:
    """Read what the server answered to /predict. Raises RequestFailedError where it cannot be told as a result."""
    try:
        answer: object = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    output = answer.get("output") if isinstance(answer, dict) else None
    diagnosis = answer.get("diagnosis") if isinstance(answer, dict) else None
    if not isinstance(output, list) or diagnosis not in DIAGNOSES:
        raise RequestFailedError(
            Outcome.MODEL_ERROR,
            "cannot use the model's answer: it is no list of numbers with a diagnosis; mend the model's predict",
            release,
        )
    numbers = [_number(value) for value in output]
    if None in numbers:
        # The server says null where the model said NaN, and whoever reads results expects numbers.
        raise RequestFailedError(
            Outcome.MODEL_ERROR,
            "cannot use the model's answer: its numbers have NaN or infinity among them; mend the model's predict",
            release,
        )
    return {"output": numbers, "diagnosis": diagnosis}


def _number(value: object) -> float | None:
    """Read a number that JSON and the API know; None for any other."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def result(inference: str, answer: dict[str, Any]) -> bytes:
    """Write the result of an inference: exactly the three keys that the API reads."""
    return json.dumps({"inference_id": inference, **answer}).encode()


def failed(delivery: Delivery, error: RequestFailedError, name: str, attempts: int) -> bytes:
    """Write why a request was given up, with the request itself, so that it can be published again."""
    document: dict[str, object] = {
        "inference_id": id_of(delivery.data),
        "outcome": error.outcome.value,
        "reason": str(error),
        "attempts": attempts,
        "failed_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "model": name,
        "release": error.release or None,
        "message": base64.b64encode(delivery.data).decode(),
    }
    return json.dumps(document).encode()


def id_of(data: bytes) -> str | None:
    """Read the id of a message; None where it has none that could be one."""
    try:
        return read_request(data, len(data)).inference
    except RequestFailedError:
        return None
