"""The main story: registered with pipeline.py, promoted in the registry, served by systemd, updated, demoted."""

import json
import re

import httpx
import pytest

from tests.host.host import CHECKOUT, CHECKOUT_INSIDE
from tests.prometheus import parse
from tests.system.site import PYTHON, SCIENTIST, Site

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

EXAMPLE = f"{CHECKOUT_INSIDE}/examples/pauses"
IN_PROCESS = """
import json, sys, mlflow
asked = json.load(sys.stdin)
model = mlflow.pyfunc.load_model(asked["model"])
parts = {part: bytearray.fromhex(content) for part, content in asked["parts"].items()}
files = {part: {"content": content, "filename": f"{part}.wav"} for part, content in parts.items()}
output, diagnosis = model.predict([asked["metadata"], files])
print(json.dumps({"output": [float(number) for number in output], "diagnosis": diagnosis}))
"""


def replay_of(site: Site, name: str, version: int) -> tuple[dict[str, object], dict[str, bytes]]:
    """The example that pipeline.py stored: the metadata, and the bytes of each part."""
    folder = f"/var/lib/mlflow-deploy/model_deploys/{name}/releases/{version}/model/artifacts/replay"
    request = json.loads(site.host.read(f"{folder}/request.json"))
    parts = {
        part: bytes.fromhex(site.host.output(f"od -An -v -tx1 {folder}/{about['file']}").replace("\n", ""))
        for part, about in request["parts"].items()
    }
    return request["metadata"], parts


def test_a_promoted_model_is_served_updated_and_removed(site: Site) -> None:
    """From pipeline.py to a prediction over HTTP that equals the one in-process, to version 2, to nothing left."""
    site.host.wait_for(lambda: site.registry_status()["reachable"] or None, 60, "the agent to read the registry")
    before = site.listing()
    site.pipeline("--name", "pauses", "--model", f"{EXAMPLE}/pauses.py:Pauses")
    assert "pauses" not in site.statuses()
    site.registry.promote("pauses", 1)
    site.wait_for("pauses", "serving", 1)

    metadata, parts = replay_of(site, "pauses", 1)
    answer = site.predict("pauses", metadata, parts)
    assert answer.status_code == 200
    assert re.fullmatch(r"pauses@1\.[0-9a-f]{8}", answer.headers["Model-Release"])
    # From within its sandbox and its own environment.
    url = site.statuses()["pauses"]["url"]
    pages = {path: httpx.get(url + path, trust_env=False) for path in ("/", "/try.js", "/page.css", "/metrics")}
    assert {path: page.status_code for path, page in pages.items()} == dict.fromkeys(pages, 200)
    assert '"parts": ["aceite"' in pages["/"].text
    assert 'route="/predict",status="200"} 1\n' in pages["/metrics"].text
    asked = {"model": "models:/pauses/1", "metadata": metadata, "parts": {key: one.hex() for key, one in parts.items()}}
    in_process = site.host.run(
        [PYTHON, "-I", "-c", IN_PROCESS],
        user=SCIENTIST,
        stdin=json.dumps(asked),
        environment={"MLFLOW_TRACKING_URI": site.registry.uri},
    )
    assert answer.json() == json.loads(in_process.stdout.splitlines()[-1])

    site.pipeline(
        *("--name", "pauses", "--model", f"{EXAMPLE}/pauses.py:Pauses"),
        *("--artifact", f"thresholds={EXAMPLE}/strict.json", "--update"),
    )
    site.registry.promote("pauses", 2)
    status = site.wait_for("pauses", "serving", 2)
    assert status["message"] == "stage:Production also has version 1; the highest serves"
    updated = site.predict("pauses", metadata, parts)
    assert updated.headers["Model-Release"].startswith("pauses@2.")
    assert updated.json()["diagnosis"] != answer.json()["diagnosis"]

    site.registry.promote("pauses", 1, "Archived")
    site.demote("pauses")
    site.wait_for_listing(before)


def test_the_journal_tells_the_whole_story_in_order(site: Site) -> None:
    """journalctl MODEL=… has every program's part: noticed, fetched, built, verified, started, ready, removed."""
    story = [(entry.get("SYSLOG_IDENTIFIER", ""), str(entry["MESSAGE"])) for entry in site.story("pauses")]
    wanted = [
        ("registry-agent", r"version 1 of pauses is now selected"),
        ("reconciler", r"version 1 of pauses is wanted here"),
        ("fetch", r"fetched \d+ files"),
        ("build", r"built environment"),
        ("verify", r"verified \d+ files"),
        ("reconciler", r"pauses is rolling-out: version 1 is loading"),
        ("model-pauses", r"answering as pauses@1\."),
        ("reconciler", r"version 1 of pauses is serving at http"),
        ("registry-agent", r"version 2 of pauses is now selected"),
        ("reconciler", r"version 2 of pauses is serving at http"),
        ("registry-agent", r"pauses is no longer selected"),
        ("reconciler", r"pauses is removed"),
    ]
    rest = iter(story)
    for who, pattern in wanted:
        assert any(name == who and re.search(pattern, text) for name, text in rest), f"{who}: {pattern} in {story}"
    assert all(entry["MODEL"] == "pauses" for entry in site.story("pauses"))


def test_what_is_needed_to_understand_a_line_is_in_the_catalog(site: Site) -> None:
    """Every MESSAGE_ID of the story has an explanation."""
    ids = {entry["MESSAGE_ID"] for entry in site.story("pauses") if "MESSAGE_ID" in entry}
    ours = {one for one in ids if one.startswith("2a6f0cf0b6b24f0d8e3a5a4f6c1d9e")}
    assert len(ours) >= 5
    known = site.host.output(["journalctl", "--list-catalog", *sorted(ours)])
    assert all(one in known for one in ours)


def test_the_audit_log_says_which_version_answered(site: Site) -> None:
    """Also after the removal, and with what MLflow tells of each; an auditor checks it with plain tools."""
    entries = [json.loads(line) for line in site.host.output("reconciler history --export pauses").splitlines()]
    assert [(entry["event"], entry["version"]) for entry in entries] == [
        ("began", 1),
        ("ended", 1),
        ("began", 2),
        ("ended", 2),
    ]
    origin = entries[2]["origin"]
    assert origin["selected_by"] == "stage:Production"
    assert origin["registered_at"] < origin["changed_at"] < entries[2]["at"]
    assert len(origin["files"]) == 64
    at = json.loads(site.host.output(["reconciler", "history", "--at", entries[2]["at"], "pauses", "--json"]))
    assert [run["release"] for run in at["runs"]] == [entries[2]["release"]]
    page = (CHECKOUT / "docs" / "audit.md").read_text()
    check = page.partition("```sh\n")[2].partition("```")[0]
    told = site.host.output(["sh", "-euc", f"cd /root && reconciler history --export >audit.jsonl && {check}"])
    assert told.startswith("the last line has the hash ")


def test_metrics_are_where_node_exporter_reads_them(site: Site) -> None:
    """The sandbox opens this directory, and anybody may read what is in it."""
    directory = "/var/lib/prometheus/node-exporter"
    site.host.run(f"install -d {directory} && systemctl restart mlflow-reconciler")
    site.change_settings("70-metrics.toml", f"[metrics]\ntextfile = '{directory}/mlflow_reconciler.prom'\n")
    file = f"{directory}/mlflow_reconciler.prom"
    site.host.wait_for(lambda: not site.host.run(f"test -e {file}", check=False).returncode or None, 30, "the metrics")
    samples = {one.metric: one.value for one in parse(site.host.run(["cat", file], user="nobody").stdout)}
    assert samples["mlflow_reconciler_registry_fresh"] == 1
    assert samples["mlflow_reconciler_last_pass_duration_seconds"] > 0
