"""What docs/monitoring.md and its files for Prometheus and Grafana name is what the server writes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families as parsed

from modelserver.http.metrics import Identity, Metrics
from modelserver.systemd.counters import Counters

DOCS = Path(__file__).parents[2] / "docs"
PAGE, ALERTS, DASHBOARD = (
    DOCS / name for name in ("monitoring.md", "monitoring/models-alerts.yml", "monitoring/models-dashboard.json")
)
NAME = re.compile(r"\b(?:modelserver|process)_[a-z_]+\b")
OF_ITS_OWN = {"up", "job", "instance", "le"}
"""What Prometheus adds."""
LABEL = re.compile(r"by \(([^)]*)\)|([a-z_]+)=~?\"")
FIRES = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: 'up{{job="models", instance="a"}}'
        values: "0x20"
      - series: 'modelserver_counted_requests_total{{instance="a", deployment="spira", release="2.aa", pid="7"}}'
        values: "0+100x20"
      - series: 'modelserver_counted_errors_total{{instance="a", deployment="spira", release="2.aa", pid="7"}}'
        values: "0+10x20"
      - series: 'modelserver_counted_requests_total{{instance="a", deployment="iris", release="1.bb", pid="8"}}'
        values: "0+100x20"
      - series: 'modelserver_counted_errors_total{{instance="a", deployment="iris", release="1.bb", pid="8"}}'
        values: "0+1x20"
      - series: 'modelserver_requests_total{{instance="a", deployment="iris", route="/invocations", status="503"}}'
        values: "0+1x20"
      - series: 'modelserver_requests_total{{instance="a", deployment="iris", route="/invocations", status="504"}}'
        values: "0x20"
      - series: 'modelserver_refused_requests_total{{instance="a", deployment="iris", status="403"}}'
        values: "0x10 1x10"
      - series: 'modelserver_request_duration_seconds_bucket{{deployment="iris", route="/invocations", le="10"}}'
        values: "0+1x25"
      - series: 'modelserver_request_duration_seconds_bucket{{deployment="iris", route="/invocations", le="30"}}'
        values: "0+9x25"
      - series: 'modelserver_request_duration_seconds_bucket{{deployment="iris", route="/invocations", le="+Inf"}}'
        values: "0+9x25"
    promql_expr_test:
      - expr: count by (alertname, deployment) (ALERTS{{alertstate="firing"}})
        eval_time: 20m
        exp_samples:
          - labels: '{{alertname="ModelDoesNotAnswer"}}'
            value: 1
          - labels: '{{alertname="ModelFails", deployment="spira"}}'
            value: 1
          - labels: '{{alertname="ModelIsBusy", deployment="iris"}}'
            value: 1
          - labels: '{{alertname="ForeignPageAsksModel", deployment="iris"}}'
            value: 1
          - labels: '{{alertname="ModelIsSlow", deployment="iris"}}'
            value: 1
"""


def written() -> tuple[set[str], set[str]]:
    """Names of metrics as the page lists them, and of labels, that a server writes."""
    software = {"mlflow": "3", "python": "3.11", "runtime": "compose"}
    metrics = Metrics(Identity("m", "1.aa", "1", software), Counters())
    families = list(parsed(metrics.text()))
    names = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    return names, {label for family in families for sample in family.samples for label in sample.labels}


def expressions() -> Iterator[str]:
    """Every query of the rules and of the dashboard."""
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    board = json.loads(DASHBOARD.read_text())
    yield from (target["expr"] for panel in board["panels"] for target in panel["targets"])
    yield from (variable["query"]["query"] for variable in board["templating"]["list"] if variable["type"] == "query")


def test_queries_name_what_the_server_writes() -> None:
    """A metric or a label that is renamed is renamed there, too."""
    names, labels = written()
    known = names | {f"{name}_bucket" for name in names}
    asked = list(expressions())
    assert len(asked) > 12
    for expression in asked:
        assert set(NAME.findall(expression)) <= known, expression
        assert NAME.search(expression) or expression.startswith("up{"), expression
        found = {label.strip() for groups in LABEL.findall(expression) for label in ",".join(groups).split(",")}
        assert found - {""} <= labels | OF_ITS_OWN, expression


def test_the_page_lists_exactly_what_the_server_writes() -> None:
    """Each metric with its labels, and each alert."""
    names, labels = written()
    page = PAGE.read_text().partition("\n## The reconciler\n")[0]
    rows = {row[0]: set(re.findall(r"`(\w+)`", row[1])) for row in re.findall(r"^\| `(\w+)` \| (.*?) \|", page, re.M)}
    alerts = {rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]}
    assert set(rows) == names | alerts
    named = set().union(*(rows[name] for name in names)) | {"deployment", "release", "pid", "runtime"}
    assert named == labels


def test_every_rule_says_what_happened_and_what_to_do() -> None:
    """For the person whom it wakes."""
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("warning", "critical")
            assert set(rule["annotations"]) == {"summary", "description"}


def test_panels_of_the_dashboard_lie_side_by_side() -> None:
    """No two of them in one place, all within Grafana's 24 columns, each with a source and a letter for each query."""
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        place: dict[str, Any] = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + 8)}
        assert not cells & taken, panel["title"]
        taken |= cells
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        assert all(target["datasource"]["uid"] == "${source}" for target in panel["targets"])


def test_the_alerts_fire_when_they_should(tmp_path: Path) -> None:
    """Prometheus' own program evaluates them: one of two models fails, one is busy, none exceeds its limit."""
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool, of Debian's package prometheus")
    tests = tmp_path / "tests.yml"
    tests.write_text(FIRES.format(rules=ALERTS))
    done = subprocess.run(["promtool", "test", "rules", str(tests)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
