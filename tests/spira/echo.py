"""The model of the stand-in: it answers what tests/modelserver/echo_model.py answers."""

import zlib
from typing import Any


class Model:
    """Numbers that depend on every byte of the request."""

    def predict(self, model_input: list[Any]) -> tuple[list[float], str]:
        """The contract of SPIRA's models."""
        metadata, files = model_input
        output = [float(metadata.get("age") or 0)]
        for kind in sorted(files):
            content = files[kind]["content"]
            output += [len(content), zlib.crc32(content), zlib.crc32(files[kind]["filename"].encode()), 1]
        return output, "negative"
