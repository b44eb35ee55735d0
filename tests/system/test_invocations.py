"""A scikit-learn model in its unit answers every request format of MLflow as it does in-process."""

import io
import json

import httpx
import pandas as pd
import pytest

from tests.system.site import PYTHON, SCIENTIST, Site

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

ASKED = pd.DataFrame({"a": [0.5, 3.0, -1.25], "b": [2.0, 0.0, 7.5]})
IN_PROCESS = """
import io, json, sys, mlflow, pandas
model = mlflow.pyfunc.load_model("models:/linear/1")
table = pandas.read_json(io.StringIO(sys.stdin.read()), orient="split")
print(json.dumps([float(one) for one in model.predict(table)]))
"""


def parquet() -> bytes:
    """The table as Parquet."""
    buffer = io.BytesIO()
    ASKED.to_parquet(buffer)
    return buffer.getvalue()


FORMATS: dict[str, tuple[str, bytes]] = {
    "dataframe_split": (
        "application/json",
        json.dumps({"dataframe_split": json.loads(ASKED.to_json(orient="split"))}).encode(),
    ),
    "dataframe_records": (
        "application/json",
        json.dumps({"dataframe_records": json.loads(ASKED.to_json(orient="records"))}).encode(),
    ),
    "instances": (
        "application/json; charset=utf-8",
        json.dumps({"instances": json.loads(ASKED.to_json(orient="records"))}).encode(),
    ),
    "inputs": ("application/json", json.dumps({"inputs": ASKED.to_dict(orient="list")}).encode()),
    "csv": ("text/csv", ASKED.to_csv(index=False).encode()),
    "parquet": ("application/vnd.apache.parquet", parquet()),
}


@pytest.fixture(scope="module")
def in_process(site: Site) -> list[float]:
    """What the model answers without a server."""
    site.serve({"name": "linear", "kind": "sklearn"})
    done = site.host.run(
        [PYTHON, "-I", "-c", IN_PROCESS],
        user=SCIENTIST,
        stdin=ASKED.to_json(orient="split"),
        environment={"MLFLOW_TRACKING_URI": site.registry.uri},
    )
    answer: list[float] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.parametrize("kind", list(FORMATS))
def test_every_request_format_is_answered_as_in_process(site: Site, in_process: list[float], kind: str) -> None:
    """The numbers over HTTP are the numbers in-process, to the last bit."""
    media_type, body = FORMATS[kind]
    url = site.statuses()["linear"]["url"]
    answer = httpx.post(
        f"{url}/invocations", content=body, headers={"Content-Type": media_type}, timeout=60, trust_env=False
    )
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"predictions": in_process}
    assert answer.headers["Model-Release"].startswith("linear@1.")


def test_the_unix_socket_answers_the_same(site: Site, in_process: list[float]) -> None:
    """Both addresses lead to the same server."""
    media_type, body = FORMATS["csv"]
    path = f"/proc/{site.host.init}/root{site.statuses()['linear']['socket']}"
    with httpx.Client(transport=httpx.HTTPTransport(uds=path), timeout=60) as client:
        answer = client.post("http://localhost/invocations", content=body, headers={"Content-Type": media_type})
    assert answer.json() == {"predictions": in_process}
