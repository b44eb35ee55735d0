"""The real cluster and the product's image in it, judged with the official client before anything relies on them."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import httpx
import pytest
from kubernetes import client, config

from tests.host.host import CHECKOUT
from tests.kubernetes import cluster as clusters
from tests.kubernetes import image

MISSING = clusters.missing() or image.missing()
NAMESPACE = "tried"
LABELS = {"app": "tried"}
ANSWER = "from the claim"
DEADLINE = 300
PYTHON = "/opt/mlflow-reconciler/venv/bin/python"
LISTED = "deployments,replicasets,jobs,pods,services,persistentvolumeclaims"
# As strict as the product's own: any user, nothing to write to but what is mounted.
POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": 31337,
    "runAsGroup": 31337,
    "seccompProfile": {"type": "RuntimeDefault"},
}
SECURITY = {
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
}
VOLUMES = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "tmp", "emptyDir": {}}]
MOUNTS = [{"name": "data", "mountPath": "/data"}, {"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - of a pod
# What a Job of the product does at least: its program starts, its root is closed, its claim is open.
JOB = f"""set -eu
{PYTHON} -I -m reconciler.steps --help >/tmp/help
/usr/bin/python3 -c 'import sys; assert sys.version_info >= (3, 11)'
! touch /opt/mark 2>/dev/null
/usr/bin/python3 -c 'import os, urllib.request; urllib.request.urlopen(os.environ["OUTSIDE"], timeout=10)'
test "$(id -u)" = 31337
echo '{ANSWER}' >/data/answer.txt
printf 'done with %s lines' "$(wc -l </tmp/help)" >/dev/termination-log
"""

pytestmark = [
    pytest.mark.system,
    pytest.mark.by_hand,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(MISSING is not None, reason=f"cannot boot a Kubernetes: {MISSING}"),
]


class Place(NamedTuple):
    """A namespace of a cluster, and clients for it: in their types everything may be missing, so they are of none."""

    cluster: clusters.Cluster
    image: str
    core: Any
    apps: Any
    batch: Any

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait until a condition is true and give what it says; events of the namespace are told on failure."""
        try:
            return self.cluster.node.wait_for(condition, DEADLINE, what, interval=0.5)
        except AssertionError as error:
            told = self.cluster.kubectl("--namespace", NAMESPACE, "get", "pods,events", "--output=wide", check=False)
            raise AssertionError(f"{error}\n{told}") from error


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """A cluster that has the product's image."""
    archive = image.product_image()
    with clusters.booted() as cluster:
        reference = cluster.import_image(archive)
        api = config.new_client_from_config(str(cluster.kubeconfig))  # type: ignore[no-untyped-call]  # theirs
        place = Place(cluster, reference, client.CoreV1Api(api), client.AppsV1Api(api), client.BatchV1Api(api))
        place.core.create_namespace({"metadata": {"name": NAMESPACE}})
        claim = {
            "metadata": {"name": "data", "labels": LABELS},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }
        place.core.create_namespaced_persistent_volume_claim(NAMESPACE, claim)
        yield place


def pod(place: Place, command: list[str], **more: Any) -> dict[str, Any]:
    """Describe a pod of the product's image that runs a command."""
    container = {
        "name": "it",
        "image": place.image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "securityContext": SECURITY,
        "volumeMounts": MOUNTS,
    }
    spec = {
        "containers": [{**container, **more}],
        "volumes": VOLUMES,
        "securityContext": POD_SECURITY,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
    }
    return {"metadata": {"labels": LABELS}, "spec": spec}


@pytest.fixture
def outside(place: Place) -> Iterator[str]:
    """Serve something on this machine; gives the URL for pods."""
    with ThreadingHTTPServer(
        (place.cluster.outside, 0), partial(SimpleHTTPRequestHandler, directory=CHECKOUT)
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{place.cluster.outside}:{server.server_port}/README.md"
        server.shutdown()


def test_a_job_of_the_product_tells_how_it_ended(place: Place, outside: str) -> None:
    """It reaches this machine; its termination message is read from its pod, and its claim keeps what it wrote."""
    template = pod(place, ["/bin/sh", "-c", JOB], env=[{"name": "OUTSIDE", "value": outside}])
    template["spec"]["restartPolicy"] = "Never"
    job = {"metadata": {"name": "prepare", "labels": LABELS}, "spec": {"backoffLimit": 0, "template": template}}
    place.batch.create_namespaced_job(NAMESPACE, job)

    def ended() -> Any:
        status = place.batch.read_namespaced_job_status("prepare", NAMESPACE).status
        return status if status.succeeded or status.failed else None

    status = place.wait(ended, "the job to end")
    [made] = place.core.list_namespaced_pod(NAMESPACE, label_selector="job-name=prepare").items
    state = made.status.container_statuses[0].state.terminated
    log = place.core.read_namespaced_pod_log(made.metadata.name, NAMESPACE)
    assert (status.succeeded, state.exit_code) == (1, 0), f"{state.message}\n{log}"
    assert state.message.startswith("done with ")


def test_a_server_of_the_product_answers_this_machine(place: Place) -> None:
    """At the port of the node and at the address of its service, with what the job wrote."""
    serve = ["/usr/bin/python3", "-m", "http.server", "8080", "--directory", "/data"]
    probe = {"httpGet": {"path": "/answer.txt", "port": 8080}, "periodSeconds": 1}
    template = pod(place, serve, readinessProbe=probe)
    deployment = {
        "metadata": {"name": "server", "labels": LABELS},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"part": "server"}}, "template": template},
    }
    template["metadata"]["labels"] = {**LABELS, "part": "server"}
    place.apps.create_namespaced_deployment(NAMESPACE, deployment)
    service = {
        "metadata": {"name": "server", "labels": LABELS},
        "spec": {"type": "NodePort", "selector": {"part": "server"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    made = place.core.create_namespaced_service(NAMESPACE, service)

    def available() -> Any:
        return place.apps.read_namespaced_deployment_status("server", NAMESPACE).status.available_replicas

    place.wait(available, "the server to be available")
    urls = [f"http://{place.cluster.address}:{made.spec.ports[0].node_port}", f"http://{made.spec.cluster_ip}"]
    for url in urls:
        answer = place.wait(partial(asked, f"{url}/answer.txt"), f"{url} to lead to the server")
        assert (answer.status_code, answer.text.strip()) == (200, ANSWER)


def asked(url: str) -> httpx.Response | None:
    """What a URL answers; None while nothing does: the node forwards a little later than the server is available."""
    try:
        return httpx.get(url, trust_env=False, timeout=30)
    except httpx.TransportError:
        return None


def test_nothing_is_left_of_what_is_deleted(place: Place) -> None:
    """Pods end with what made them, and the volume's directory goes with the claim."""
    volumes = "/var/lib/volumes"
    assert place.cluster.node.output(["ls", volumes])
    listed = ("--namespace", NAMESPACE, "get", LISTED, "--output=name")
    assert {line.partition("/")[0] for line in place.cluster.kubectl(*listed).split()} >= {"pod", "service"}
    for one in (place.apps.delete_collection_namespaced_deployment, place.batch.delete_collection_namespaced_job):
        one(NAMESPACE, label_selector="app=tried", propagation_policy="Foreground")
    # What 1.20 answers here is not of the type that the client reads.
    place.core.delete_namespaced_service("server", NAMESPACE, _preload_content=False)
    place.core.delete_collection_namespaced_persistent_volume_claim(NAMESPACE, label_selector="app=tried")
    place.wait(lambda: not place.cluster.kubectl(*listed).strip(), "the namespace to be empty")
    place.wait(lambda: not place.core.list_persistent_volume().items, "the volume to be deleted")
    assert place.cluster.node.output(["ls", volumes]) == ""
