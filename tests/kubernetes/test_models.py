"""Models on a real Kubernetes: from the promotion to the empty namespace, by a host that looks after the cluster."""

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.host import Registry, installed_host
from tests.host.host import CHECKOUT, CHECKOUT_INSIDE
from tests.host.image import INSTALL_SECONDS, installed_image
from tests.index import Index
from tests.kubernetes import cluster as clusters
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.image import product_image
from tests.load import Load
from tests.system.site import Site, code

NAMESPACE = "mlflow-models"
SETTINGS = "/etc/mlflow-reconciler/config.d/70-kubernetes.toml"
SETUP = CHECKOUT / "docs/fleet/kubernetes-namespace.yaml"
NAME, ODD_NAME = "pauses", "2026-01-01"
RATE = 50
pytestmark = [
    pytest.mark.by_hand,
    pytest.mark.system,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(clusters.missing() is not None, reason=f"no Kubernetes here: {clusters.missing()}"),
]


class Place(NamedTuple):
    """The cluster, and the host that looks after one of its namespaces."""

    cluster: Cluster
    site: Site

    def kubectl(self, *arguments: str, **options: Any) -> str:
        """Run kubectl in the namespace, as an administrator."""
        return self.cluster.kubectl("--namespace", NAMESPACE, *arguments, **options)

    def address(self, name: str) -> str:
        """The address of a model's Service, which this machine has a route to."""
        return self.kubectl("get", "service", f"model-{name}", "--output", "jsonpath={.spec.clusterIP}")

    def command(self, *arguments: str, check: bool = True) -> str:
        """What `reconciler …` prints on the host."""
        return self.site.host.run(["reconciler", *arguments], check=check).stdout

    def everything(self) -> str:
        """What is left of ours in the namespace."""
        kinds = "deployments,replicasets,pods,jobs,services,configmaps,persistentvolumeclaims,networkpolicies,pdb"
        labelled = "--selector=app.kubernetes.io/managed-by=mlflow-systemd"
        return self.kubectl("get", kinds, labelled, "--output=name")

    def settings(self, text: str) -> None:
        """Change the settings of the host and wait until they are in force."""
        self.site.host.write(SETTINGS, text)
        self.site.host.run(["systemctl", "restart", "mlflow-reconciler"])


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """A cluster with the namespace, and a host with the login to it."""
    with clusters.booted() as cluster, installed_image() as image:
        reference = cluster.import_image(product_image())
        cluster.kubectl("apply", "--filename=-", stdin=SETUP.read_text())
        settings = (
            f"[registry]\nuri = 'http://{cluster.outside}:{{port}}'\n[kubernetes]\nimage = '{reference}'\n"
            "storage = '1G'\nrequire_network_policy = false\n[deploy]\nsoak = 5\n"
        )
        with installed_host(image, "control") as host:
            host.run(
                [f"{CHECKOUT_INSIDE}/dev", "install", "--no-start", "--with", "kubernetes"], timeout=INSTALL_SECONDS
            )
            written = settings.format(port=host.registry_port)
            host.write(SETTINGS, written)
            host.write("/etc/credstore/kubernetes.kubeconfig", login(cluster), mode=0o600)
            registry = Registry(host, host.registry_port, address=cluster.outside)
            registry.start()
            # As docs/fleet/kubernetes.md says.
            drop_in = "/etc/systemd/system/mlflow-reconciler.service.d/kubernetes.conf"
            host.write(drop_in, (CHECKOUT / "docs/fleet/kubernetes-host.conf").read_text())
            host.run(["systemctl", "daemon-reload"])
            host.run(["systemctl", "restart", "mlflow-reconciler", "mlflow-registry-agent"])
            yield Place(cluster, Site(host, registry))


def login(cluster: Cluster) -> str:
    """The kubeconfig of the account that the namespace has for the product, as the page has people make it."""
    secret = json.loads(
        cluster.kubectl("--namespace", NAMESPACE, "get", "secret", "mlflow-systemd-login", "--output=json")
    )
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    server = config["clusters"][0]["cluster"]["server"]
    token = base64.b64decode(secret["data"]["token"]).decode()
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "models",
            "clusters": [
                {
                    "name": "models",
                    "cluster": {"server": server, "certificate-authority-data": secret["data"]["ca.crt"]},
                }
            ],
            "users": [{"name": "models", "user": {"token": token}}],
            "contexts": [{"name": "models", "context": {"cluster": "models", "user": "models"}}],
        }
    )


def answer(version: int) -> dict[str, object]:
    """What that version answers."""
    return {"output": [version / 100], "diagnosis": "negative"}


def register(place: Place, version: int, **about: str) -> None:
    """Register the next version of the one model, whose answer tells its number."""
    made = place.site.register({"name": NAME, "code": code(([version / 100], "negative"), **about)})
    assert made == {NAME: version}


def test_a_promotion_is_served(place: Place) -> None:
    """Fetched and verified by a Job, and answered through the Service."""
    register(place, 1)
    place.site.registry.promote(NAME, 1)
    place.site.wait_for(NAME, "serving", 1, deadline=600)
    with Load({"1": answer(1)}, tcp=(place.address(NAME), 80), rate=RATE) as load:
        load.wait_for_more(100, "1")
    assert not load.totals.failed
    assert place.command("wait", NAME, "--version", "1").startswith(f"version 1 of {NAME} serves")
    tag = place.site.registry.version(NAME, 1)["tags"]
    assert any(one["key"].startswith("deployed.") and one["value"].startswith("serving") for one in tag)


def test_an_update_under_load_loses_no_request(place: Place) -> None:
    """Both versions answer during the soak; nothing is refused and nothing is cut off."""
    register(place, 2)
    with Load({"1": answer(1), "2": answer(2)}, tcp=(place.address(NAME), 80), rate=RATE) as load:
        load.wait_for_more(50, "1")
        place.site.registry.promote(NAME, 2, archive=True)
        place.site.wait_for(NAME, "serving", 2, deadline=600)
        load.wait_for_more(200, "2")
    assert not load.totals.failed, str(load.totals)
    assert load.totals.right_from("1")
    assert "version 2" in place.command("history", NAME)


def test_a_broken_release_is_undone_and_remembered(place: Place) -> None:
    """Its sentence is in the status, and nobody tries it again, not after a restart either."""
    register(place, 3, on_load="raise RuntimeError('no such file: weights.bin')")
    with Load({"2": answer(2)}, tcp=(place.address(NAME), 80), rate=RATE) as load:
        place.site.registry.promote(NAME, 3, archive=True)
        found = place.site.wait_for(NAME, "degraded", 3, deadline=600)
        load.wait_for_more(100, "2")
    assert not load.totals.failed, str(load.totals)
    assert "no such file: weights.bin" in found["message"]
    assert found["active_version"] == "2"
    assert place.site.host.run(["reconciler", "wait", NAME, "--version", "3"], check=False).returncode == 1
    place.site.host.run(["systemctl", "restart", "mlflow-reconciler"])
    place.site.host.wait_for(lambda: place.command("plan", check=False) or None, 60, "a plan")
    found = place.site.wait_for(NAME, "degraded", 3)
    assert found["active_version"] == "2"


def test_a_rollback_goes_to_the_version_before(place: Place) -> None:
    """And a retry brings the selected one back."""
    place.site.registry.promote(NAME, 2, archive=True)
    place.site.wait_for(NAME, "serving", 2)
    assert "goes back to version 1" in place.command("rollback", NAME)
    place.site.host.wait_for(
        lambda: place.site.statuses()[NAME]["active_version"] == "1" or None, 300, "version 1 to be back"
    )
    with Load({"1": answer(1)}, tcp=(place.address(NAME), 80), rate=RATE) as load:
        load.wait_for_more(50, "1")
    assert not load.totals.failed
    place.command("retry", NAME)
    place.site.wait_for(NAME, "serving", 2, deadline=600)


def test_what_somebody_changes_is_undone(place: Place) -> None:
    """A count of servers, and a policy that is gone."""
    place.kubectl("scale", f"deployment/model-{NAME}", "--replicas=3")
    place.kubectl("delete", "networkpolicy", f"model-{NAME}")

    def is_mended() -> bool | None:
        asked = place.kubectl("get", f"deployment/model-{NAME}", "--output=jsonpath={.spec.replicas}")
        return (asked == "1" and f"model-{NAME}" in place.kubectl("get", "networkpolicy", "--output=name")) or None

    place.site.host.wait_for(is_mended, 120, "the drift to be undone")
    place.site.wait_for(NAME, "serving", 2, deadline=300)


def test_what_somebody_adds_is_taken_out(place: Place) -> None:
    """A way out of the policy, and a pause, after which no rollout and no return would have an effect."""
    place.kubectl("patch", "networkpolicy", f"model-{NAME}", "--type=merge", '--patch={"spec": {"egress": [{}]}}')
    place.kubectl("rollout", "pause", f"deployment/model-{NAME}")

    def is_mended() -> bool | None:
        policy = json.loads(place.kubectl("get", "networkpolicy", f"model-{NAME}", "--output=json"))
        paused = place.kubectl("get", f"deployment/model-{NAME}", "--output=jsonpath={.spec.paused}")
        return (not policy["spec"].get("egress") and paused != "true") or None

    place.site.host.wait_for(is_mended, 120, "the drift to be undone")
    place.site.wait_for(NAME, "serving", 2, deadline=300)


def test_a_name_that_yaml_reads_as_a_date_is_a_name(place: Place) -> None:
    """Anybody who may promote can register one."""
    place.site.register({"name": ODD_NAME, "code": code()})
    place.site.registry.promote(ODD_NAME, 1)
    place.site.wait_for(ODD_NAME, "serving", 1, deadline=600)
    assert place.site.statuses()[NAME]["state"] == "serving"
    place.site.registry.promote(ODD_NAME, 1, "Archived")
    place.site.wait_until_gone(ODD_NAME, deadline=300)


def test_the_account_can_do_no_more_than_it_needs(place: Place, tmp_path: Path) -> None:
    """No Secret, no pod of its own making, nothing in another namespace."""
    config = tmp_path / "kubeconfig"
    config.write_text(login(place.cluster))
    asked = {
        ("get", "secrets", NAMESPACE): "no",
        ("create", "pods", NAMESPACE): "no",
        ("create", "pods/exec", NAMESPACE): "no",
        ("create", "deployments", "default"): "no",
        ("get", "nodes", "default"): "no",
        ("patch", "deployments", NAMESPACE): "yes",
    }
    found = {
        one: place.cluster.kubectl(
            f"--kubeconfig={config}", "--namespace", one[2], "auth", "can-i", one[0], one[1], check=False
        ).strip()
        for one in asked
    }
    assert found == asked


def test_where_nothing_holds_a_policy_nothing_is_served(place: Place) -> None:
    """This cluster's plugin takes NetworkPolicies and does nothing with them: by default, no model is started on it."""
    former = place.site.host.read(SETTINGS)
    place.settings(former.replace("require_network_policy = false\n", ""))
    register(place, 4)
    place.site.registry.promote(NAME, 4, archive=True)
    found = place.site.wait_for(NAME, "degraded", 4, deadline=600)
    assert "this cluster does not hold pods to their NetworkPolicy" in found["message"]
    assert found["active_version"] == "2"
    place.site.registry.promote(NAME, 2, archive=True)
    place.settings(former)
    place.site.wait_for(NAME, "serving", 2)


def test_an_environment_is_built_in_the_cluster(place: Place, tmp_path: Path) -> None:
    """Of the packages that the model was logged with, from an index that the pods reach; its server runs in it."""
    versions = re.findall(r"^(mlflow-skinny|pandas)==([0-9.]+)", (CHECKOUT / "requirements.lock").read_text(), re.M)
    needed = [f"{name}=={version}" for name, version in dict(versions).items()]
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", f"--dest={tmp_path}"]
    server = f"--requirement={CHECKOUT}/modelserver/requirements.txt"  # an index has what the server needs, too
    subprocess.run([*download, server, *needed], check=True, timeout=900)
    former = place.site.host.read(SETTINGS)
    with Index(tmp_path, None, address=place.cluster.outside) as index:
        place.settings(f"{former}[build]\nindex_url = '{index.url}'\n")
        settings = {"environment": "model"}
        place.site.register({"name": "built", "code": code(), "requirements": needed, "settings": settings})
        place.site.registry.promote("built", 1)
        place.site.wait_for("built", "serving", 1, deadline=1200)
        assert index.let_in > len(needed)
    with Load({"1": {"output": [0.5], "diagnosis": "negative"}}, tcp=(place.address("built"), 80), rate=RATE) as load:
        load.wait_for_more(50, "1")
    assert not load.totals.failed, str(load.totals)
    command = place.kubectl("get", "deployment", "model-built", "--output=jsonpath={.spec.template.spec.containers[0]}")
    assert "/var/lib/mlflow-deploy/environments/" in command
    place.settings(former)
    place.site.registry.promote("built", 1, "Archived")
    place.site.wait_until_gone("built", deadline=300)


def test_a_removal_waits_for_a_person_and_leaves_the_namespace_empty(place: Place) -> None:
    """Deleted from the registry is no word of a person's; once there is one, nothing is left."""
    place.site.registry.delete(NAME)
    held = place.site.wait_for(NAME, "held", deadline=120)
    assert "no longer shows a model of that name" in held["message"]
    place.command("apply", "--confirm-prune")
    place.site.wait_until_gone(NAME, deadline=300)
    place.site.host.wait_for(lambda: not place.everything() or None, 120, "the namespace to be empty")
