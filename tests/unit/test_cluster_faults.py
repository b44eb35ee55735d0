"""What goes wrong in a namespace: calls that fail half-way, people who change things, releases that overtake others."""

import json
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.operators.verbs import Verb
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import State, Status
from reconciler.core.state.waiting import Outcome, waited
from tests.unit.conftest import CHECKOUT
from tests.unit.namespace import Site, change

BROKEN = "cannot load the model: no module 'x'"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A host that looks after an empty namespace."""
    return Site(tmp_path)


def fail_next(site: Site, version: int) -> None:
    """Promote a version whose servers end in vain."""
    site.select(pauses=version)
    site.prepare()
    site.cluster.start_in_vain("pauses", BROKEN)
    site.settle()


def go_back_to_1(site: Site) -> None:
    """Version 1 serves again after version 2 was rejected."""
    site.serve(1)
    fail_next(site, 2)
    site.cluster.roll_out("pauses")
    site.settle()


def outcome(site: Site) -> Outcome:
    """What `reconciler wait pauses` ends with."""
    document = Status.model_validate_json((site.directory / "status.json").read_bytes())
    return waited(document, "pauses", None).outcome


def of_release(site: Site, version: int) -> str:
    """Name the ConfigMap of what a release was rendered from."""
    [found] = [unit for unit in site.cluster.objects if unit.startswith(f"ConfigMap/model-pauses-{version}.")]
    return found


# Releases that overtake others.


def test_a_release_proves_itself_while_the_next_one_is_prepared(site: Site) -> None:
    """So the next one's failure costs nothing."""
    site.select(pauses=1)
    site.prepare()
    site.select(pauses=2)
    site.cluster.roll_out("pauses")
    site.settle()
    site.prepare()
    site.cluster.start_in_vain("pauses", BROKEN)
    site.settle()
    assert site.asked_version() == "1"
    assert (site.status().state, site.status().active_version) == (State.DEGRADED, "1")


def test_a_release_that_answers_is_gone_back_to_though_it_was_never_proved(site: Site) -> None:
    """It is better than nothing, and did not fail."""
    site.select(pauses=1)
    site.prepare()
    site.cluster.get_ready("pauses")
    fail_next(site, 2)
    assert site.asked_version() == "1"
    assert (site.status().state, site.status().active_version) == (State.DEGRADED, "1")


def test_a_complete_release_is_not_taken_back_for_the_next_one(site: Site) -> None:
    """Though nobody looked between its completion and the next promotion."""
    site.serve(1)
    site.select(pauses=2)
    site.prepare()
    site.cluster.roll_out("pauses")
    site.select(pauses=3)
    assert site.asked_version() == "2"
    assert site.status().active_version == "2"


# What is lost.


def test_without_the_ledger_what_serves_goes_on(site: Site) -> None:
    """The broken version is tried once more, and given up once more."""
    go_back_to_1(site)
    (site.directory / "ledger.json").unlink()
    site.restarted()
    site.settle()
    site.prepare()
    assert site.asked_version() == "2"
    site.cluster.start_in_vain("pauses", BROKEN)
    site.settle()
    assert site.asked_version() == "1"
    assert site.status().active_version == "1"


def test_what_serves_goes_on_though_nobody_knows_what_it_was_made_from(site: Site) -> None:
    """Only what was rejected is removed."""
    go_back_to_1(site)
    del site.cluster.objects[of_release(site, 1)]
    site.settle()
    assert site.asked_version() == "1"


@pytest.mark.parametrize("kind", ["report", "values"])
def test_what_is_kept_and_was_edited_is_made_again(site: Site, kind: str) -> None:
    """It is as if it were not there."""
    site.serve(1)
    [unit] = [unit for unit, one in site.cluster.objects.items() if kind in one.get("data", {})]
    site.cluster.edit(unit, kind, "{")
    site.settle()
    assert json.loads(site.cluster.objects[unit]["data"][kind])
    assert site.status().state is State.SERVING


@pytest.mark.parametrize("kind", ["ConfigMap/model-pauses-v1", "ConfigMap/model-pauses-1."])
def test_files_are_pinned_though_an_answer_was_lost(site: Site, kind: str) -> None:
    """Files that change later under the same number are refused."""
    site.cluster.loses_answer_to = f"apply {kind}"
    site.select(pauses=1)
    site.cluster.finish_job(site.job())
    site.reconciler.one_pass()
    site.cluster.loses_answer_to = ""
    site.now += 3600
    site.settle()
    assert list(site.reconciler.ledger.ledger.record("pauses").files.values()) == ["f" * 64]


def test_nobody_takes_the_volume_of_what_serves(site: Site) -> None:
    """Whatever else is lost of it: the files are verified again where they are."""
    site.serve(1)
    site.cluster.pods = {name: pod for name, pod in site.cluster.pods.items() if pod["owner"].startswith("Deployment/")}
    for unit in [unit for unit in site.cluster.objects if unit.startswith("ConfigMap/")]:
        del site.cluster.objects[unit]
    site.settle()
    site.prepare()
    assert not [call for call in site.cluster.calls if call.startswith("delete PersistentVolumeClaim/")]
    assert (site.status().state, site.status().active_version) == (State.SERVING, "1")


def test_a_volume_that_goes_is_waited_for(site: Site) -> None:
    """The cluster keeps it as long as a pod has it."""
    site.select(pauses=1)
    job = site.job()
    site.cluster.fail_job(job, "fetch", "cannot fetch: no space left; make the volume larger")
    site.settle()
    site.cluster.objects[f"PersistentVolumeClaim/{job}"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    site.now += 3600
    site.settle()
    assert site.status().message == "its volume goes; then it is made again"
    site.cluster.delete("PersistentVolumeClaim", job)
    site.settle()
    site.prepare()
    assert site.asked_version() == "1"


# What answers, in the status and in the history.


def test_a_rollback_tells_what_answers_until_the_former_version_does(site: Site) -> None:
    """Who waits for the odd version to be gone must not be told so before."""
    site.serve(1)
    site.serve(2)
    site.ask(Verb.ROLLBACK, "pauses")
    assert (site.status().state, site.status().active_version) == (State.DEGRADED, "2")
    site.cluster.start_in_vain("pauses", "cannot serve these files")
    site.settle()
    assert site.status().active_version == "2"
    assert "version 1 does not get ready either: cannot serve these files" in site.status().message
    site.cluster.roll_out("pauses")
    site.settle()
    assert site.status().active_version == "1"
    runs = site.reconciler.desk.history.history.runs
    assert [(run.version, run.ended is None) for run in runs] == [(1, False), (2, False), (1, True)]


def test_more_servers_are_no_failure(site: Site) -> None:
    """Nor are servers that went with their node: the cluster makes others."""
    site.serve(1)
    change(site, deploy={"replicas": 3})
    assert (site.status().state, site.status().reason) == (State.ROLLING_OUT, Reason.STARTING)
    assert (site.status().active_version, outcome(site)) == ("1", Outcome.NOT_YET)
    site.cluster.roll_out("pauses")
    site.settle()
    assert outcome(site) is Outcome.SERVES
    site.cluster.lose_servers("pauses", 3)
    site.settle()
    assert (site.status().state, site.status().active_version) == (State.FAILED, None)
    assert outcome(site) is Outcome.NOT_YET


def test_a_rejected_version_is_told_though_the_good_one_lacks_a_server(site: Site) -> None:
    """That another server is started again and again is no reason to wait for the version."""
    change(site, deploy={"replicas": 3})
    go_back_to_1(site)
    site.cluster.lose_servers("pauses", 1)
    site.settle()
    assert (site.status().tries, outcome(site)) == (0, Outcome.REJECTED)


def test_what_nobody_sees_is_said_to_nobody(site: Site) -> None:
    """The status stays, but neither who waits nor another host may take it for the present."""
    site.serve(1)
    assert outcome(site) is Outcome.SERVES
    site.cluster.refuses = "cannot reach the cluster at https://10.0.0.1: refused"
    site.settle()
    assert outcome(site) is Outcome.NOT_YET
    document = Status.model_validate_json((site.directory / "status.json").read_bytes())
    assert not document.is_current
    site.cluster.refuses = ""
    site.settle()
    assert outcome(site) is Outcome.SERVES


# What people do.


@pytest.mark.parametrize("then", ["prepares", "is refused"])
def test_servers_that_somebody_removed_come_back_whatever_is_wanted_next(site: Site, then: str) -> None:
    """Until something takes their place."""
    site.serve(1)
    site.select(pauses=2)
    if then == "is refused":
        change(site, policy={"names": ("others",)})
    site.cluster.delete("Deployment", "model-pauses")
    site.settle()
    assert site.asked_version() == "1"


def test_a_release_without_servers_proves_nothing(site: Site) -> None:
    """None of none is ready, but that is no proof."""
    site.serve(1)
    site.select(pauses=2)
    site.prepare()
    site.cluster.scale_to_nothing("pauses")
    site.settle()
    assert site.cluster.objects["Deployment/model-pauses"]["spec"]["replicas"] == 1
    site.cluster.start_in_vain("pauses", BROKEN)
    site.settle()
    assert site.asked_version() == "1"
    assert site.status().reason is Reason.START_FAILED


def test_a_held_deployment_is_kept_as_it_is(site: Site) -> None:
    """Nobody has taken it out of service, whatever becomes of its objects."""
    site.serve(1)
    site.known.clear()
    site.select()
    assert site.status().state is State.HELD
    site.cluster.delete("Deployment", "model-pauses")
    del site.cluster.objects["NetworkPolicy/model-pauses"]
    site.settle()
    assert site.status().state is State.HELD
    assert {"Deployment/model-pauses", "NetworkPolicy/model-pauses"} <= site.cluster.objects.keys()
    site.ask(Verb.CONFIRM_PRUNE)
    assert "Deployment/model-pauses" not in site.cluster.objects


def test_a_version_that_was_taken_out_does_not_come_back_for_the_next_one(site: Site) -> None:
    """It is gone, though its files are kept for a while."""
    site.serve(1)
    site.select()
    site.select(pauses=2)
    assert "Deployment/model-pauses" not in site.cluster.objects
    assert site.status().state is State.PREPARING


def test_servers_that_end_are_held_to_their_policy(site: Site) -> None:
    """They have some seconds for the requests under way."""
    site.serve(1)
    pod = {"kind": "Pod", "owner": "", "metadata": {"name": "old", "labels": labels_of_a_server(site)}, "status": {}}
    site.cluster.pods["old"] = pod
    site.select()
    assert "NetworkPolicy/model-pauses" in site.cluster.objects
    del site.cluster.pods["old"]
    site.settle()
    assert "NetworkPolicy/model-pauses" not in site.cluster.objects


def labels_of_a_server(site: Site) -> dict[str, Any]:
    """The labels that the pods of the Deployment have."""
    found: dict[str, Any] = site.cluster.objects["Deployment/model-pauses"]["spec"]["template"]["metadata"]["labels"]
    return found


# What keeps a preparation from its beginning, or its end.


def test_a_preparation_that_cannot_begin_says_so_and_begins_anew_with_other_settings(site: Site) -> None:
    """The volume, too: its class and size are given once."""
    site.select(pauses=1)
    assert "no pod was made for it yet" in site.status().message
    site.cluster.leave_pending(site.job(), "pod has unbound immediate PersistentVolumeClaims")
    site.settle()
    assert site.status().message == "cannot start: pod has unbound immediate PersistentVolumeClaims"
    change(site, kubernetes={"storage_class": "fast"})
    [claim] = [one for unit, one in site.cluster.objects.items() if unit.startswith("PersistentVolumeClaim/")]
    assert claim["spec"]["storageClassName"] == "fast"
    site.prepare()
    assert site.asked_version() == "1"


def test_servers_that_the_cluster_refuses_to_make_are_told(site: Site) -> None:
    """A quota is full, or an admission rule forbids them: there is no pod that could say so."""
    site.select(pauses=1)
    site.prepare()
    one = site.cluster.objects["Deployment/model-pauses"]
    refused = {"type": "ReplicaFailure", "status": "True", "message": "pods are forbidden: exceeded quota: models"}
    one["status"] = {"observedGeneration": one["metadata"]["generation"], "conditions": [refused]}
    site.settle()
    assert site.status().message == "cannot start: pods are forbidden: exceeded quota: models"
    assert site.status().state is State.ROLLING_OUT


def test_a_preparation_that_failed_begins_anew_with_other_settings(site: Site) -> None:
    """Once somebody asks for it, or its time has come."""
    site.select(pauses=1)
    site.cluster.fail_job(site.job(), "fetch", "cannot fetch: no space left; make the volume larger")
    site.settle()
    change(site, kubernetes={"storage": 2**40})
    site.ask(Verb.RETRY, "pauses")
    [claim] = [one for unit, one in site.cluster.objects.items() if unit.startswith("PersistentVolumeClaim/")]
    assert claim["spec"]["resources"]["requests"]["storage"] == str(2**40)
    site.prepare()
    assert site.asked_version() == "1"


# Odd names.


@pytest.mark.parametrize("name", ["2026-01-01", "123", "0123", "0x1f", "true", "no", "null", "1e3"])
def test_a_name_that_yaml_reads_as_something_else_is_a_name(site: Site, name: str) -> None:
    """And keeps nobody else from their turn."""
    site.select(**{name: 1, "pauses": 1})
    for each in (name, "pauses"):
        site.prepare(each)
        site.cluster.roll_out(each)
    site.settle()
    assert [site.status(each).state for each in (name, "pauses")] == [State.SERVING] * 2
    labelled = site.cluster.objects[f"Deployment/model-{name}"]["spec"]["template"]["metadata"]["labels"]
    assert labelled["mlflow-systemd/deployment"] == name


def test_a_template_that_keeps_something_else_is_rendered_once(site: Site, tmp_path: Path) -> None:
    """Nobody can go back to such a release, but nothing is made again and again."""
    own = tmp_path / "own/kubernetes"
    own.mkdir(parents=True)
    template = (CHECKOUT / "templates/kubernetes/release.yaml.j2").read_text()
    (own / "release.yaml.j2").write_text(template.replace("  values: ", "  other: "))
    site.use_templates(tmp_path / "own")
    site.serve(1)
    assert site.status().state is State.SERVING


def test_a_template_that_makes_what_the_api_has_not_is_refused(site: Site, tmp_path: Path) -> None:
    """In words, and for its own deployment alone."""
    site.serve(1)
    own = tmp_path / "own/kubernetes"
    own.mkdir(parents=True)
    (own / "service.yaml.j2").write_text("kind: Service\nmetadata: {name: {{ object }}}\nspec: {since: 2026-01-01}\n")
    site.use_templates(tmp_path / "own")
    del site.cluster.objects["Service/model-pauses"]
    site.settle()
    assert "mend the template" in site.status().message
