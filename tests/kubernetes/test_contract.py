"""What the reconciler relies on of a cluster, held by the fake in every run and by a real one by hand."""

import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from reconciler.adapters.kubernetes_cluster import KubernetesCluster
from reconciler.core.cluster.objects import Object
from reconciler.core.cluster.observed import observed
from reconciler.ports.cluster import Cluster, Manifest
from tests.fakes.cluster import FakeCluster
from tests.kubernetes import cluster as clusters
from tests.unit.test_manifests import OF_ITS_OWN, PLAIN, SETTINGS, manifests

NAMESPACE = SETTINGS["plain"].kubernetes.namespace
SCALED = "Deployment/model-pauses"


class Subject(NamedTuple):
    """A namespace, and what somebody else may do in it."""

    cluster: Cluster
    edit: Callable[[str, Manifest], None]
    """Merge something into what an object asks for, by kind and name."""
    wait: Callable[[Callable[[], bool]], None]


@pytest.fixture(
    scope="module",
    params=[
        "fake",
        pytest.param(
            "real",
            marks=[
                pytest.mark.by_hand,
                pytest.mark.timeout(900),
                pytest.mark.skipif(clusters.missing() is not None, reason=f"no Kubernetes: {clusters.missing()}"),
            ],
        ),
    ],
)
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """The fake, or a namespace of a real cluster."""
    if request.param == "fake":
        fake = FakeCluster()

        def at_once(is_so: Callable[[], bool]) -> None:
            assert is_so()

        yield Subject(fake, lambda unit, more: fake.tamper(unit, **more), at_once)
        return
    with clusters.booted() as real:
        real.kubectl("create", "namespace", NAMESPACE)

        def edit(unit: str, more: Manifest) -> None:
            merged = json.dumps({"spec": more})
            real.kubectl("--namespace", NAMESPACE, "patch", unit, "--type=merge", f"--patch={merged}")

        def wait(is_so: Callable[[], bool]) -> None:
            real.node.wait_for(lambda: is_so() or None, 120, "the namespace to follow")

        yield Subject(KubernetesCluster(str(real.kubeconfig), NAMESPACE), edit, wait)


@pytest.fixture
def applied(subject: Subject) -> Iterator[dict[str, str]]:
    """The markers of everything that is made for a release, right after it was applied."""
    made = manifests(PLAIN, OF_ITS_OWN, SETTINGS["plain"])
    found = [Object.model_validate(subject.cluster.apply(one)) for one in made]
    yield {one.unit: one.marker for one in found}
    for one in found:
        subject.cluster.delete(one.kind, one.metadata.name)
    subject.wait(lambda: not subject.cluster.list())


def markers(subject: Subject) -> dict[str, str]:
    """The markers of what the namespace shows, without pods."""
    seen = observed(subject.cluster.list()).of("pauses")
    return {unit: one.marker for unit, one in seen.objects.items()}


def test_what_is_applied_is_shown_as_it_was_applied(subject: Subject, applied: dict[str, str]) -> None:
    """Those of its kinds that change by themselves, a claim and a Job, are made once and never compared."""
    made_once = ("PersistentVolumeClaim", "Job")
    shown = markers(subject)
    assert shown.keys() == applied.keys()
    assert {unit for unit in shown if shown[unit] != applied[unit]} <= {
        unit for unit in shown if unit.startswith(made_once)
    }


def test_to_apply_the_same_again_changes_nothing(subject: Subject, applied: dict[str, str]) -> None:
    """So a reconciler that does not know what it applied before may do so."""
    for one in manifests(PLAIN, OF_ITS_OWN, SETTINGS["plain"]):
        if one["kind"] in ("Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget"):
            again = Object.model_validate(subject.cluster.apply(one))
            assert again.marker == applied[again.unit]


def test_what_somebody_else_changes_shows_and_can_be_taken_back(subject: Subject, applied: dict[str, str]) -> None:
    """By its marker, whatever it was."""
    subject.edit(SCALED, {"replicas": 0})
    assert markers(subject)[SCALED] != applied[SCALED]
    deployment = next(one for one in manifests(PLAIN, OF_ITS_OWN, SETTINGS["plain"]) if one["kind"] == "Deployment")
    assert subject.cluster.apply(deployment)["spec"]["replicas"] == 1


def test_what_is_not_asked_for_any_more_is_taken_out(subject: Subject, applied: dict[str, str]) -> None:
    """A label that an earlier manifest had."""
    assert SCALED in applied
    deployment = next(one for one in manifests(PLAIN, OF_ITS_OWN, SETTINGS["plain"]) if one["kind"] == "Deployment")
    labelled = {**deployment["metadata"]["labels"], "mlflow-systemd/more": "yes"}
    with_more = {**deployment, "metadata": {**deployment["metadata"], "labels": labelled}}
    assert "mlflow-systemd/more" in subject.cluster.apply(with_more)["metadata"]["labels"]
    assert "mlflow-systemd/more" not in subject.cluster.apply(deployment)["metadata"]["labels"]


@pytest.mark.parametrize(
    ("unit", "more"),
    [
        ("NetworkPolicy/model-pauses", {"egress": [{}]}),
        ("NetworkPolicy/prepare-pauses", {"ingress": [{}]}),
        ("NetworkPolicy/model-pauses", {"podSelector": {"matchLabels": {"of": "nobody"}}}),
        (SCALED, {"paused": True}),
        (SCALED, {"template": {"spec": {"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["mlflow"]}]}}}),
        ("Service/model-pauses", {"externalIPs": ["10.0.0.1"]}),
    ],
    ids=["way out", "way in", "selects nobody", "paused", "other names", "other addresses"],
)
def test_what_somebody_else_adds_is_taken_out(
    subject: Subject, applied: dict[str, str], unit: str, more: dict[str, object]
) -> None:
    """An apply alone would leave it: it is theirs, and in no manifest of ours."""
    kind, _, name = unit.partition("/")
    ours = next(
        one
        for one in manifests(PLAIN, OF_ITS_OWN, SETTINGS["plain"])
        if (one["kind"], one["metadata"]["name"]) == (kind, name)
    )
    before = subject.cluster.apply(ours)
    subject.edit(unit, more)
    assert markers(subject)[unit] != applied[unit]
    after = subject.cluster.apply(ours)
    assert after["spec"] == before["spec"]
    again = Object.model_validate(subject.cluster.apply(ours))
    assert again.marker == Object.model_validate(after).marker


def test_what_is_not_there_is_deleted(subject: Subject) -> None:
    """Somebody else may have been faster."""
    subject.cluster.delete("Service", "nosuch")
