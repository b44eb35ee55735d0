"""A namespace of a cluster: what is made for what the registry selects, and what becomes of it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.core.operators.verbs import Verb
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import State, Status
from reconciler.daemon import cluster_wiring
from reconciler.files.plan_file import read_plan
from reconciler.settings.load import SettingsError
from reconciler.settings.model import Settings
from tests.unit.conftest import CHECKOUT
from tests.unit.namespace import GRACE, IMAGE, Site, change


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A host that looks after an empty namespace."""
    return Site(tmp_path)


def test_a_version_comes_into_service_step_by_step(site: Site) -> None:
    """Files first, servers when these are verified, good when the cluster says that all have been ready long enough."""
    site.select(pauses=1)
    assert site.kinds() == ["Job", "NetworkPolicy", "PersistentVolumeClaim"]
    assert site.status().state is State.PREPARING
    site.prepare(example="answered")
    assert site.asked_version() == "1"
    assert site.status().state is State.ROLLING_OUT
    assert site.status().active_version is None
    site.cluster.roll_out("pauses")
    site.settle()
    status = site.status()
    assert (status.state, status.active_version, status.message) == (State.SERVING, "1", "")
    assert status.url == "http://model-pauses.mlflow-models.svc"


def test_nothing_is_done_when_nothing_is_to_do(site: Site) -> None:
    """Also after a restart, but that everything is applied once more: nobody knows what happened meanwhile."""
    site.serve(1)
    before = len(site.cluster.calls)
    assert not site.reconciler.one_pass()
    assert len(site.cluster.calls) == before
    site.restarted()
    site.settle()
    again = site.cluster.calls[before:]
    assert sorted(again) == [
        "apply Deployment/model-pauses",
        "apply NetworkPolicy/model-pauses",
        "apply PodDisruptionBudget/model-pauses",
        "apply Service/model-pauses",
    ]
    assert site.status().state is State.SERVING


def test_the_next_version_takes_over_and_the_one_before_is_kept(site: Site) -> None:
    """With its files and what it was rendered from."""
    site.serve(1)
    site.select(pauses=2)
    assert site.asked_version() == "1"  # it serves while the next one is prepared
    assert site.status().active_version == "1"
    site.prepare()
    assert site.asked_version() == "2"
    status = site.status()
    assert (status.state, status.active_version, status.standby_version) == (State.ROLLING_OUT, "1", "1")
    site.cluster.roll_out("pauses")
    site.settle()
    assert site.status().active_version == "2"
    claims = [unit for unit in site.cluster.objects if unit.startswith("PersistentVolumeClaim/")]
    assert len(claims) == 2
    site.serve(3)
    claims = [unit.split("-v")[1][0] for unit in site.cluster.objects if unit.startswith("PersistentVolumeClaim/")]
    assert sorted(claims) == ["2", "3"]


@pytest.mark.parametrize(
    ("fail", "words"),
    [
        (lambda site: site.cluster.start_in_vain("pauses", "cannot load the model: no module 'x'"), "no module 'x'"),
        (lambda site: site.cluster.start_in_vain("pauses", "boom", exit_code=1, restarts=3), "exit status 1"),
        (lambda site: site.cluster.miss_deadline("pauses"), "not ready in time"),
    ],
    ids=["cannot be served", "ends again and again", "too late"],
)
def test_a_release_that_fails_is_undone_and_remembered(site: Site, fail: Callable[[Site], None], words: str) -> None:
    """The good one is applied again, and the bad one is not tried again, not after a restart either."""
    site.serve(1)
    site.select(pauses=2)
    site.prepare()
    fail(site)
    site.settle()
    assert site.asked_version() == "1"
    site.cluster.roll_out("pauses")
    site.restarted()
    site.settle()
    status = site.status()
    assert (status.state, status.reason, status.active_version) == (State.DEGRADED, Reason.START_FAILED, "1")
    assert words in status.message
    assert site.asked_version() == "1"


def test_a_first_release_that_fails_leaves_no_servers(site: Site) -> None:
    """They would be started again and again for nothing."""
    site.select(pauses=1)
    site.prepare()
    site.cluster.start_in_vain("pauses", "cannot load the model: no module 'x'")
    site.settle()
    assert "Deployment/model-pauses" not in site.cluster.objects
    assert (site.status().state, site.status().reason) == (State.FAILED, Reason.START_FAILED)


def test_it_is_tried_again_when_somebody_asks(site: Site) -> None:
    """As on a host."""
    site.select(pauses=1)
    site.prepare()
    site.cluster.start_in_vain("pauses", "cannot load the model: no module 'x'")
    site.settle()
    site.ask(Verb.RETRY, "pauses")
    assert site.asked_version() == "1"


def test_a_failed_step_tells_why_and_is_tried_again_later(site: Site) -> None:
    """Each time after a longer wait; the version that serves goes on."""
    site.serve(1)
    site.select(pauses=2)
    job = site.job()
    site.cluster.fail_job(job, "build", "cannot build the environment: no package 'nosuch'; mend the requirements")
    site.settle()
    status = site.status()
    assert (status.state, status.reason, status.active_version) == (State.DEGRADED, Reason.BUILD_FAILED, "1")
    assert "no package 'nosuch'" in status.message
    assert (status.tries, status.next_try is not None) == (1, True)
    assert f"delete Job/{job}" not in site.cluster.calls
    site.now += 601
    site.settle()
    assert f"delete Job/{job}" in site.cluster.calls
    assert site.status().state is State.PREPARING
    site.prepare()
    assert site.asked_version() == "2"


def test_what_was_fetched_first_is_what_later_fetches_must_bring(site: Site) -> None:
    """The digest goes to the Job, and to the servers, which compare before each start."""
    site.serve(1)
    pod = site.cluster.objects["Deployment/model-pauses"]["spec"]["template"]
    assert pod["metadata"]["annotations"]["mlflow-systemd/files"] == "f" * 64
    site.ask(Verb.ROLLOUT, "pauses")
    job = site.cluster.objects[f"Job/{site.job()}"]
    pinned = {one["name"]: one["value"] for one in job["spec"]["template"]["spec"]["initContainers"][0]["env"]}[
        "PINNED"
    ]
    assert pinned == "f" * 64


def test_what_somebody_changes_is_undone(site: Site) -> None:
    """As on a host."""
    site.serve(1)
    site.cluster.tamper("Deployment/model-pauses", replicas=0)
    del site.cluster.objects["NetworkPolicy/model-pauses"]
    site.settle()
    assert site.cluster.objects["Deployment/model-pauses"]["spec"]["replicas"] == 1
    assert "NetworkPolicy/model-pauses" in site.cluster.objects


def test_a_model_that_is_taken_out_goes_with_all_it_had(site: Site) -> None:
    """Its servers at once, its files after the time of grace; nothing is left."""
    site.serve(1)
    site.select()
    assert site.kinds() == ["ConfigMap", "PersistentVolumeClaim"]
    assert (site.status().state, site.status().reason) == (State.REMOVING, Reason.KEPT_FOR_A_WHILE)
    site.now += GRACE
    site.settle()
    assert site.cluster.objects == {}
    assert Status.model_validate_json((site.directory / "status.json").read_bytes()).deployments == ()


def test_many_removals_at_once_wait_for_a_person(site: Site) -> None:
    """The guard is the same as on a host."""
    for name in ("a", "b", "c"):
        site.known.add(name)
    site.select(a=1, b=1, c=1)
    for name in ("a", "b", "c"):
        site.prepare(name)
        site.cluster.roll_out(name)
    site.settle()
    site.select()
    assert {site.status(name).state for name in ("a", "b", "c")} == {State.HELD}
    assert sum(unit.startswith("Deployment/") for unit in site.cluster.objects) == 3
    site.ask(Verb.CONFIRM_PRUNE)
    assert not [unit for unit in site.cluster.objects if unit.startswith("Deployment/")]


def test_a_rollback_goes_to_the_release_before(site: Site) -> None:
    """And stays there, though the registry selects the other one."""
    site.serve(1)
    site.serve(2)
    said = site.ask(Verb.ROLLBACK, "pauses")
    assert "goes back to version 1" in said
    assert site.asked_version() == "1"
    site.cluster.roll_out("pauses")
    site.settle()
    assert (site.status().state, site.status().reason) == (State.DEGRADED, Reason.ROLLED_BACK)
    site.ask(Verb.RETRY, "pauses")
    site.prepare()  # its files went when it was given up
    assert site.asked_version() == "2"


def test_a_suspended_deployment_is_left_alone(site: Site) -> None:
    """Also when somebody changes it."""
    site.serve(1)
    site.ask(Verb.SUSPEND, "pauses")
    before = len(site.cluster.calls)
    site.cluster.tamper("Deployment/model-pauses", replicas=0)
    site.select(pauses=2)
    assert len(site.cluster.calls) == before
    assert site.status().state is State.SUSPENDED


@pytest.mark.parametrize(
    ("name", "tags", "words"),
    [
        ("Pauses", {}, "lower-case letters"),
        ("p" * 37, {}, "at most 36"),
        ("pauses", {"idle_timeout": "60"}, "idle"),
    ],
    ids=["upper case", "long", "idle"],
)
def test_what_a_pod_cannot_keep_is_refused(site: Site, name: str, tags: dict[str, str], words: str) -> None:
    """With the reason in the status, and not passed over."""
    site.tags[name] = tags
    site.select(**{name: 1})
    assert site.status(name).state is State.FAILED
    assert words in site.status(name).message
    assert site.cluster.objects == {}


def test_only_so_many_jobs_run_at_once(site: Site) -> None:
    """The others wait for their turn, and say so."""
    rhythm = site.settings.reconcile.model_copy(update={"parallel_steps": 2})
    site.reconciler.settings = site.settings.model_copy(update={"reconcile": rhythm})
    site.select(a=1, b=1, c=1)
    assert sum(unit.startswith("Job/") for unit in site.cluster.objects) == 2
    assert site.status("c").reason is Reason.WAITING
    site.prepare("a")
    assert sum(unit.startswith("Job/") for unit in site.cluster.objects) == 3


def test_a_cluster_that_does_not_answer_changes_nothing(site: Site) -> None:
    """The last status stays, with the reason why there is no newer one."""
    site.serve(1)
    site.cluster.refuses = "cannot reach the cluster at https://10.0.0.1: refused"
    assert not site.reconciler.one_pass()
    document = Status.model_validate_json((site.directory / "status.json").read_bytes())
    assert document.trouble == site.cluster.refuses
    assert document.deployments[0].state is State.SERVING
    site.cluster.refuses = ""
    site.settle()
    assert Status.model_validate_json((site.directory / "status.json").read_bytes()).trouble == ""


def test_the_plan_shows_what_is_done_next(site: Site) -> None:
    """In the same form as on a host."""
    site.serve(1)
    site.ask(Verb.SUSPEND, "pauses")
    site.select(pauses=2)
    site.ask(Verb.PLAN)
    waits = read_plan(site.directory / "plan.json").waits
    assert [(one.name, one.state) for one in waits] == [("pauses", State.SUSPENDED)]
    site.cluster.tamper("Deployment/model-pauses", replicas=0)
    site.ask(Verb.RESUME, "pauses")
    assert site.cluster.objects["Deployment/model-pauses"]["spec"]["replicas"] == 1


def test_the_history_tells_what_served(site: Site) -> None:
    """From which files, and why it ended."""
    site.serve(1)
    site.now += 60
    site.serve(2)
    runs = site.reconciler.desk.history.history.runs
    assert [(run.version, run.ended is None) for run in runs] == [(1, False), (2, True)]
    lines = [
        json.loads(line) for file in (site.directory / "audit").iterdir() for line in file.read_text().splitlines()
    ]
    began = [line for line in lines if line["event"] == "began"]
    assert began[0]["origin"]["files"] == "f" * 64


def test_a_report_that_is_lost_is_made_again(site: Site) -> None:
    """Its pod may be gone before it was read."""
    site.select(pauses=1)
    job = site.job()
    site.cluster.finish_job(job)
    site.cluster.pods.clear()
    site.settle()
    assert f"delete Job/{job}" in site.cluster.calls
    assert site.status().state is State.PREPARING


def test_a_template_of_the_hosts_own_is_used(site: Site, tmp_path: Path) -> None:
    """And one that makes something else is refused in words."""
    own = tmp_path / "own"
    (own / "kubernetes").mkdir(parents=True)
    template = (CHECKOUT / "templates/kubernetes/service.yaml.j2").read_text()
    (own / "kubernetes/service.yaml.j2").write_text(template.replace("spec:", "spec:\n  type: NodePort", 1))
    site.use_templates(own)
    site.serve(1)
    assert site.cluster.objects["Service/model-pauses"]["spec"]["type"] == "NodePort"
    (own / "kubernetes/service.yaml.j2").write_text("kind: Secret\nmetadata: {name: x}\n")
    del site.cluster.objects["Service/model-pauses"]
    site.settle()
    assert "makes Secret/x; mend the template" in site.status().message


def test_another_image_restarts_nothing_that_serves(site: Site) -> None:
    """A release stays as it was rolled out, until somebody promotes the next one or asks for a rollout."""
    site.serve(1)
    before = len(site.cluster.calls)
    newer = IMAGE.replace("1" * 64, "2" * 64)
    change(site, kubernetes={"image": newer})
    assert len(site.cluster.calls) == before
    site.ask(Verb.ROLLOUT, "pauses")
    site.prepare()
    pod = site.cluster.objects["Deployment/model-pauses"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == newer


def test_other_settings_of_the_host_replace_nothing_that_serves(site: Site) -> None:
    """The status says so; how many servers there are is no part of a release, and follows at once."""
    site.serve(1)
    change(site, deploy={"memory_max": 1024**3, "replicas": 2})
    deployment = site.cluster.objects["Deployment/model-pauses"]
    assert deployment["spec"]["replicas"] == 2
    limits = deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["memory"] == str(4 * 1024**3)
    site.cluster.roll_out("pauses")
    site.settle()
    assert (site.status().state, site.status().reason) == (State.SERVING, Reason.SETTINGS_CHANGED)


def test_a_volume_that_somebody_removed_is_made_again(site: Site) -> None:
    """What serves goes on meanwhile; its servers have read their files already."""
    site.serve(1)
    [claim] = [unit for unit in site.cluster.objects if unit.startswith("PersistentVolumeClaim/")]
    del site.cluster.objects[claim]
    site.settle()
    assert claim in site.cluster.objects
    assert site.status().state is State.PREPARING
    site.prepare()
    assert (site.status().state, site.status().active_version) == (State.SERVING, "1")


def test_another_namespace_needs_a_new_process(tmp_path: Path) -> None:
    """What is watched and what is made would be in two of them."""
    config = tmp_path / "config.toml"
    config.write_text('[kubernetes]\nnamespace = "wards"\n')
    with pytest.raises(SettingsError, match="namespace was changed: restart mlflow-reconciler"):
        cluster_wiring._reloaded(config, Settings())
    config.write_text('[reconcile]\nmode = "confirm"\n')
    with pytest.raises(SettingsError, match="cannot look after a cluster with"):
        cluster_wiring._reloaded(config, Settings())


def test_nothing_is_repeated_of_a_server_that_was_sent_something(site: Site) -> None:
    """Its last words may be a patient's. The status, the tag and the journal say how it ended, and no more."""
    site.serve(1)
    site.select(pauses=2)
    site.prepare()
    site.cluster.start_in_vain("pauses", "cannot say: Maria Silva, HIV", has_served=True)
    site.settle()
    message = site.status().message
    assert "Maria" not in message
    assert "its server ended with exit status 78" in message
