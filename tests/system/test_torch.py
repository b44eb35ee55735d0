"""A model that computes with torch is served in the same sandbox as any other.

It needs Debian's torch and what that needs, some 180 packages: `apt-get install --no-install-recommends python3-torch`.
"""

from pathlib import Path

import pytest

from tests.system.site import Site
from tests.system.test_trust import exposure

TORCH = Path("/usr/lib/python3/dist-packages/torch")
pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not TORCH.exists(), reason="needs Debian's package python3-torch"),
]

NETWORK = """
import mlflow
import torch
from mlflow.pyfunc import PythonModel

class Network(PythonModel):
    def load_context(self, context):
        torch.manual_seed(7)
        self.network = torch.nn.Sequential(torch.nn.Linear(512, 512), torch.nn.ReLU(), torch.nn.Linear(512, 1))

    def predict(self, context, model_input, params=None):
        with torch.no_grad():
            out = self.network(torch.ones(64, 512))
        return [float(out.shape[0]), float(torch.get_num_threads())], "negative"

mlflow.models.set_model(Network())
"""


def test_torch_runs_in_the_sandbox(site: Site) -> None:
    """Loading, threads, a matrix product: nothing of it is forbidden, and the sandbox is as tight as any."""
    site.serve({"name": "network", "code": NETWORK})
    answer = site.predict("network", {}, {})
    assert answer.status_code == 200, answer.text
    assert answer.json()["output"][0] == 64.0
    unit = site.host.output(["systemctl", "show", "--property=Id", "--value", "model-network@*.service"])
    assert exposure(site, unit) <= 0.5
