"""A model that computes with torch is served in the same sandbox as any other."""

import pytest

from tests.system.site import Site
from tests.system.test_trust import exposure

pytestmark = [pytest.mark.system, pytest.mark.exhaustive, pytest.mark.timeout(1200)]

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


@pytest.fixture(scope="module")
def with_torch(site: Site) -> Site:
    """Debian's torch, for the processor, in the host's Python."""
    options = "-o Dpkg::Options::=--force-unsafe-io -o APT::Install-Recommends=false"
    site.host.run(f"apt-get update -qq && apt-get install -qq -y {options} python3-torch >/dev/null", timeout=900)
    return site


def test_torch_runs_in_the_sandbox(with_torch: Site) -> None:
    """Loading, threads, a matrix product: nothing of it is forbidden, and the sandbox is as tight as any."""
    with_torch.serve({"name": "network", "code": NETWORK})
    answer = with_torch.predict("network", {}, {})
    assert answer.status_code == 200, answer.text
    assert answer.json()["output"][0] == 64.0
    unit = with_torch.host.output(["systemctl", "show", "--property=Id", "--value", "model-network@*.service"])
    assert exposure(with_torch, unit) <= 0.5
