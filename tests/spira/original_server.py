"""A stand-in of the server that ran SPIRA's models before: what it did on the wire, with its faults.

It subscribes by core NATS and without a queue group, answers one request after the other, and drops what fails. Its
settings come from the environment. The model is a Python file with a class `Model`, whose `predict` takes no context.

    receiving_channel=demo-topic central_channel=result_updates … python -m tests.spira.original_server MODEL.py
"""

import asyncio
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import nats

SETTINGS = dict(os.environ)
"""In lower case, as it was."""
KINDS = ("aceite", "sustentada", "parlenda", "frase")


def _model(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("model", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Model()


def _store() -> Any:
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=f"http://{SETTINGS['minio_conn_url']}",
        region_name="us-east-1",
        aws_access_key_id=SETTINGS["minio_access_key"],
        aws_secret_access_key=SETTINGS["minio_secret_key"],
    )


def _answer(model: Any, store: Any, payload: bytes) -> bytes:
    metadata = json.loads(payload)
    files = {}
    for kind in KINDS:
        key = f"{metadata['id']}/{kind}{SETTINGS['default_extension']}"
        content = store.get_object(Bucket=SETTINGS["bucket_name"], Key=key)["Body"].read()
        files[kind] = {"content": content, "filename": f"{kind}.wav"}
    output, diagnosis = model.predict([metadata, files])
    return json.dumps({"inference_id": metadata["id"], "output": output, "diagnosis": diagnosis}).encode()


async def serve(model: Any) -> None:
    """Answer until killed."""
    store = _store()
    connection = await nats.connect(SETTINGS["nats_conn_url"], max_reconnect_attempts=-1)
    requests = await connection.subscribe(SETTINGS["receiving_channel"])
    await connection.flush()
    print("listening", flush=True)  # noqa: T201 - whoever started it waits for it
    while True:
        try:
            message = await requests.next_msg(timeout=1)
            result = await asyncio.to_thread(_answer, model, store, message.data)
            await connection.publish(SETTINGS["central_channel"], result)
        except Exception as error:  # noqa: BLE001 - as the original does: whatever fails is dropped
            if not isinstance(error, nats.errors.TimeoutError):
                print(f"dropped: {type(error).__name__}", flush=True)  # noqa: T201 - its only log


if __name__ == "__main__":
    asyncio.run(serve(_model(Path(sys.argv[1]))))
