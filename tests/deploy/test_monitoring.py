"""Dashboard and alerts use metrics that the service has, in valid queries."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import Client
from tests.deploy.files import ROOT, Yaml, read_yaml

FOLDER = ROOT / "deploy" / "prometheus"
ALERTS: list[Yaml] = read_yaml("deploy/prometheus/alerts.yml")["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/dashboards/dikte.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
VARIABLE = DASHBOARD["templating"]["list"][0]["definition"]
EXPRESSIONS = [*QUERIES, *(alert["expr"] for alert in ALERTS)]
OF_PROMETHEUS = {"up"}
"""Metrics of Prometheus itself."""
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool, of Debian's prometheus")


def names_in(query: str) -> set[str]:
    """The metrics in a query."""
    return set(re.findall(r"\b(?:dikte|process)_\w+|\bup\b", query))


def labels_in(query: str) -> Iterator[tuple[str, str, str]]:
    """Metric, label and value of each matcher in a query."""
    for metric, matchers in re.findall(r"\b((?:dikte|process)_\w+)\{([^}]*)\}", query):
        for label, value in re.findall(r'(\w+)[=!]~?"([^"]*)"', matchers):
            yield metric, label, value


def exposed(client: Client) -> dict[str, dict[str, set[str]]]:
    """Metric -> label -> values, for all metrics of the service."""
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


def test_every_metric_in_a_query_exists(client: Client) -> None:
    metrics = exposed(client)
    for query in [*EXPRESSIONS, VARIABLE]:
        names = names_in(query)
        assert names, query
        assert names <= metrics.keys() | OF_PROMETHEUS, query


def test_every_label_in_a_query_exists(client: Client) -> None:
    metrics = exposed(client)
    for query in EXPRESSIONS:
        for metric, label, value in labels_in(query):
            if label not in {"job", "instance"}:
                assert set(value.split("|")) <= metrics[metric][label], query


def test_every_metric_of_the_service_is_on_the_dashboard(client: Client) -> None:
    shown = {name for query in QUERIES for name in names_in(query)}
    for name in exposed(client):
        if name.startswith("dikte_"):
            assert re.sub(r"_(bucket|sum|count)$", "", name) in {re.sub(r"_(bucket|sum|count)$", "", s) for s in shown}


def test_panels_do_not_overlap_and_have_unique_ids() -> None:
    cells = [
        (x, y)
        for grid in (panel["gridPos"] for panel in PANELS)
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)


def test_the_dashboard_finds_its_data_source() -> None:
    (source,) = read_yaml("deploy/grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert {panel["datasource"]["uid"] for panel in PANELS} == {source["uid"]}
    (provider,) = read_yaml("deploy/grafana/provisioning/dashboards/dikte.yml")["providers"]
    grafana = read_yaml("docker-compose.yml")["services"]["grafana"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
    assert source["url"] == "http://prometheus:9090"


def test_the_job_is_that_of_the_queries() -> None:
    (job,) = read_yaml("deploy/prometheus/prometheus.yml")["scrape_configs"]
    assert {value for query in EXPRESSIONS for _, label, value in labels_in(query) if label == "job"} == {
        job["job_name"]
    }


def test_alerts_say_what_happened_and_what_to_do() -> None:
    for alert in ALERTS:
        assert alert["labels"]["severity"] in {"page", "ticket"}
        assert set(alert["annotations"]) == {"summary", "description"}


def test_every_alert_is_tested_firing_and_not_firing() -> None:
    tests = read_yaml("deploy/prometheus/alerts_test.yml")["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    names = {alert["alert"] for alert in ALERTS}
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == names
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == names


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [["check", "config", "prometheus.yml"], ["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]],
)
def test_prometheus_accepts_its_configuration_and_rules(arguments: list[str]) -> None:
    checked = subprocess.run(["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_promtool
def test_prometheus_accepts_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "5m").replace("$instance", ".*")}
        for number, query in enumerate(QUERIES)
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    checked = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
