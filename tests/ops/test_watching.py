"""Alarms, dashboard and documentation name what the server really reports, and each other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from backend.drift import REFERENCE_ANSWERS, WINDOW_ANSWERS
from inference.artefacts import Variant
from inference.classifier import Prediction
from tests import batches, pictures
from tests.cameras import answer, opened, refusal, wait_for
from tests.servers import serve

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "ops" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "ops" / "grafana" / "ninefold.json"
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
SELECTOR = re.compile(r"\b((?:ninefold|process)_\w+)(?:\{([^}]*)\})?")
OF_THE_SCRAPE = {"job", "instance", "le"}


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    return [rule["expr"] for rule in alerts()] + [target["expr"] for panel in panels() for target in panel["targets"]]


@pytest.fixture(scope="module")
def reported(models_dir: Path) -> dict[str, set[str]]:
    """What a server with batches reports after some answers: each sample's name, and the names of its labels."""
    with (
        batches.storage() as cloud,
        pytest.MonkeyPatch.context() as monkeypatch,
        serve(models_dir, model="resnet18-seeded", **batches.use(monkeypatch, cloud)) as server,
    ):
        server.predict(("koala.jpg", pictures.sample("koala.jpg")))
        with opened(server) as camera:
            camera.send(pictures.sample("koala.jpg"))
            answer(camera)
        wait_for(lambda: server.metric("ninefold_live_ended_total{") == 1)
        assert server.app is not None
        answers = server.app.state.metrics.answers
        for number in range(REFERENCE_ANSWERS + WINDOW_ANSWERS):
            answers.note(Variant("resnet18-seeded", "fp32"), Prediction("", number % 1000, 0.5))
        text = server.client.get("/metrics").text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {sample.name: set(sample.labels) for sample in samples}


def test_every_metric_and_label_that_is_asked_for_is_reported(reported: dict[str, set[str]]) -> None:
    asked = [(name, matchers) for expression in expressions() for name, matchers in SELECTOR.findall(expression)]
    assert len({name for name, _ in asked}) > 15
    for name, matchers in asked:
        assert name in reported, name
        assert set(re.findall(r"(\w+)\s*(?:=|!=)", matchers)) <= reported[name] | OF_THE_SCRAPE, (name, matchers)


def test_every_metric_is_watched_or_at_least_documented(reported: dict[str, set[str]]) -> None:
    ours = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in reported if name.startswith("ninefold_")}
    assert not [name for name in sorted(ours) if name not in OPERATIONS]


def test_a_live_connection_that_is_refused_is_counted_where_the_alarm_looks(models_dir: Path) -> None:
    (rule,) = [rule for rule in alerts() if rule["alert"] == "NinefoldLiveFull"]
    labels = re.search(r"\{(.+?)\}", rule["expr"])
    assert labels
    counted = f'ninefold_http_requests_total{{method="GET",{labels[1].replace(", ", ",")}}}'
    with serve(models_dir, model="resnet18-seeded", live_sessions=1) as server, opened(server):
        assert refusal(server)[:2] == (429, "too_many_sessions")
        assert server.metric(counted) == 2  # the WebSocket, and the GET of the same address


def test_every_label_that_is_grouped_by_is_reported(reported: dict[str, set[str]]) -> None:
    known = set().union(*reported.values()) | OF_THE_SCRAPE
    grouped = [names for expression in expressions() for names in re.findall(r"\bby \(([^)]*)\)", expression)]
    assert grouped and all(name.strip() in known for names in grouped for name in names.split(","))


def test_every_alarm_leads_to_what_is_to_be_done() -> None:
    headings = re.findall(r"^#+ (.+)$", OPERATIONS, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for rule in alerts():
        file, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert file == "docs/operations.md" and anchor == rule["alert"].lower() and anchor in anchors
        assert rule["labels"]["severity"] in {"page", "ticket"} and rule["annotations"]["summary"].endswith(".")


def test_the_dashboards_datasource_is_a_variable() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert dashboard["templating"]["list"][0]["type"] == "datasource"
    assert {panel["datasource"]["uid"] for panel in panels()} == {"${datasource}"}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


if shutil.which("promtool"):  # it is no Python package: without it the rules are as they were when it last ran

    def test_promtool_finds_the_alarms_sound_and_their_tests_pass(tmp_path: Path) -> None:
        rules = [{"record": f"panel:{number}", "expr": _plain(text)} for number, text in enumerate(expressions())]
        every = tmp_path / "expressions.yml"
        every.write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}), encoding="utf-8")
        for arguments in (
            ["check", "rules", str(every)],
            ["check", "config", "ops/prometheus/prometheus.yml"],
            ["test", "rules", "ops/prometheus/alerts_test.yml"],
        ):
            command = ["promtool", *arguments]
            done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=60, check=False)
            assert done.returncode == 0, done.stdout + done.stderr


def _plain(expression: str) -> str:
    """Grafana's own variable is no PromQL."""
    return expression.replace("$__rate_interval", "5m")
