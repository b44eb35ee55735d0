"""What the templates of a cluster's objects make, checked against the schemas of Kubernetes itself."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import kubernetes_validate
import pytest

from reconciler.apply.manifests import ManifestRenderer
from reconciler.core.cluster.actions import Apply
from reconciler.core.cluster.inputs import ClusterInputs
from reconciler.core.cluster.observed import DeploymentObjects, Report
from reconciler.core.cluster.values import ClusterSettings
from reconciler.core.cluster.view import ClusterDeployment
from reconciler.core.state.ledger import Ledger
from reconciler.core.state.release import Parameters, Release, Rollout
from reconciler.daemon.desired import pick, step_settings
from reconciler.settings.model import BuildSettings, FetchSettings, KubernetesSettings, RegistrySettings, Settings
from tests.unit.conftest import CHECKOUT

RENDERER = ManifestRenderer([CHECKOUT / "templates"])
IMAGE = f"registry.example.org/mlflow-systemd@sha256:{'1' * 64}"
VERSIONS = (
    "1.37",
    pytest.param("1.34", marks=pytest.mark.exhaustive),
    pytest.param("1.31", marks=pytest.mark.exhaustive),
)
"""From the newest of which there is a schema to the oldest that clusters still have."""
PLAIN = Release("pauses", 3, "models:/m-1", Parameters(memory_max=4 * 1024**3, cpu_quota=400))
OF_ITS_OWN = Report(files="f" * 64, environment="e" * 32, content="c" * 64)
OF_THE_PRODUCT = Report(files="f" * 64, environment="host")
RELEASES = {
    "plain": (PLAIN, OF_ITS_OWN),
    "the product's environment": (PLAIN, OF_THE_PRODUCT),
    "several servers": (replace(PLAIN, rollout=Rollout(replicas=3, soak=0)), OF_ITS_OWN),
    "one after the other": (replace(PLAIN, rollout=Rollout(strategy="recreate")), OF_ITS_OWN),
    "no limits": (Release("pauses", 3, "models:/m-1", Parameters(watchdog=0)), OF_ITS_OWN),
    "all options": (replace(PLAIN, parameters=Parameters(batch=True, try_page=False)), OF_ITS_OWN),
}
SETTINGS = {
    "plain": Settings(kubernetes=KubernetesSettings(image=IMAGE)),
    "everything set": Settings(
        registry=RegistrySettings(uri="https://mlflow.example.org/a?b='\"{{x}}", workspace="ward"),
        fetch=FetchSettings(hosts=("s3://models",), s3_endpoint_url="https://minio.example.org"),
        build=BuildSettings(index_url="https://pypi.example.org/simple", find_links=("/srv/wheels",), offline=True),
        kubernetes=KubernetesSettings(
            image=IMAGE, storage_class="fast", access_mode="ReadWriteMany", require_network_policy=False
        ),
    ),
}


def manifests(release: Release, report: Report, settings: Settings) -> Iterator[dict[str, Any]]:
    """Everything that is made for a release."""
    inputs = ClusterInputs(pick(ClusterSettings, settings.kubernetes), step_settings(settings), Ledger(schema=1))
    one = ClusterDeployment(release.name, DeploymentObjects(release.name), inputs)
    one.prepare(release)
    one.keep_report(release, report)
    one.serve(release, report)
    for action in one.actions:
        if isinstance(action, Apply):
            yield RENDERER.render(action, settings.kubernetes.namespace)


def pods(made: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The specification of an object's pods, if it has some."""
    template = made.get("spec", {}).get("template")
    if template:
        yield template["spec"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize(("release", "report"), RELEASES.values(), ids=RELEASES.keys())
def test_kubernetes_takes_everything_that_is_made(
    release: Release, report: Report, settings: Settings, version: str
) -> None:
    """No field that it does not know, none of another type."""
    made = list(manifests(release, report, settings))
    assert len(made) == 9
    for manifest in made:
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize(("release", "report"), RELEASES.values(), ids=RELEASES.keys())
def test_every_pod_keeps_to_the_restricted_standard(release: Release, report: Report) -> None:
    """What a namespace with `pod-security.kubernetes.io/enforce: restricted` asks for, and more."""
    found = [pod for one in manifests(release, report, SETTINGS["plain"]) for pod in pods(one)]
    assert len(found) == 2
    for pod in found:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostPath"} & pod.keys()
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["image"] == IMAGE


def test_the_server_has_no_secret_and_cannot_write_to_its_files() -> None:
    """Nor can it where its volume would let it: it is another user."""
    made = {one["kind"]: one for one in manifests(PLAIN, OF_ITS_OWN, SETTINGS["plain"])}
    server, prepare = made["Deployment"]["spec"]["template"]["spec"], made["Job"]["spec"]["template"]["spec"]
    assert not [volume for volume in server["volumes"] if "secret" in volume]
    assert {volume["name"]: volume for volume in server["volumes"]}["files"]["persistentVolumeClaim"]["readOnly"]
    assert {mount["name"]: mount for mount in server["containers"][0]["volumeMounts"]}["files"]["readOnly"] is True
    assert server["securityContext"]["runAsUser"] != prepare["securityContext"]["runAsUser"]


def test_only_one_step_has_each_secret() -> None:
    """The fetch that of the registry, the build that of the index, the verification none."""
    job = next(one for one in manifests(PLAIN, OF_ITS_OWN, SETTINGS["plain"]) if one["kind"] == "Job")
    spec = job["spec"]["template"]["spec"]
    of_step = {
        container["name"]: {mount["name"] for mount in container["volumeMounts"]} - {"files", "scratch"}
        for container in (*spec["initContainers"], *spec["containers"])
    }
    assert of_step == {"fetch": {"registry"}, "build": {"index"}, "verify": set()}


def test_the_hosts_own_check_is_asked_in_the_cluster_too() -> None:
    """A host that has one starts nothing without its yes, wherever that runs."""
    settings = Settings(
        fetch=FetchSettings(verify_command=("/usr/local/bin/signed", "--strict")),
        kubernetes=KubernetesSettings(image=IMAGE),
    )
    job = next(one for one in manifests(PLAIN, OF_ITS_OWN, settings) if one["kind"] == "Job")
    [verify] = job["spec"]["template"]["spec"]["containers"]
    assert verify["args"][-2:] == ["--check=/usr/local/bin/signed", "--check=--strict"]


def test_servers_reach_nobody() -> None:
    """Their policy names no way out, and one way in."""
    made = list(manifests(PLAIN, OF_ITS_OWN, SETTINGS["plain"]))
    policy = next(one for one in made if one["metadata"]["name"] == "model-pauses" and one["kind"] == "NetworkPolicy")
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    # Not as an empty list either: each time it is applied, a cluster would count that as a change.
    assert "egress" not in policy["spec"]
    assert policy["spec"]["ingress"] == [{"ports": [{"port": 8080, "protocol": "TCP"}]}]


@pytest.mark.parametrize(
    "source", ['models:/m"\n: {evil: yes}', "s3://b/{{ 7*7 }}", "models:/- '%s'\u2028#x", "!!int 3"]
)
def test_what_the_registry_says_stays_a_text(source: str) -> None:
    """It adds no field to any object."""
    release = replace(PLAIN, source=source)
    job = next(one for one in manifests(release, OF_ITS_OWN, SETTINGS["plain"]) if one["kind"] == "Job")
    assert f"--source={source}" in job["spec"]["template"]["spec"]["initContainers"][0]["args"]
