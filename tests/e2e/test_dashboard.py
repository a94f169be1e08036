"""Every query of the dashboard against a real Prometheus that scrapes a real controller with a real host and real faults."""

from __future__ import annotations

import math

import pytest

from deploy.demo import shop
from deploy.demo.process import wait_for
from deploy.grafana import generate
from tests.e2e import fleet
from tests.tools import prometheus

PANELS = [(row.title, panel, query) for row in generate.ROWS for panel in row.panels for query in panel.queries]
RULES = generate.TARGET.parents[1] / "prometheus" / "fleetmend.rules.yml"
FILLED = {"$host": ".*", "$__rate_interval": "10s", "$__range": "5m", "[1h]": "[5m]"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A Prometheus that saw one fault healed and one handed over."""
    with (
        fleet.running("healed", "cursed", attempts_max=2) as (world, shops),
        prometheus.running(tmp_path_factory.mktemp("prometheus"), f"127.0.0.1:{world.metrics_port}", RULES) as running,
    ):
        wait_for("the first scrape", lambda: bool(running.query('up{job="fleetmend"} == 1')), 15, every_s=0.2)
        host = world.hosts[shop.HOST]
        host.policy.write_text(host.policy.read_text().replace(str(shops[1].pid_file), f"{world.directory}/elsewhere/pid"))
        watches = [fleet.Watch.begin(world, one.name) for one in shops]
        for one in shops:
            one.kill()
        watches[0].until("healed", fleet.healed)
        watches[1].until("escalated", fleet.escalated)
        seen = 'fleetmend_incidents_open{phase="escalated"} == 1 and on() fleetmend_incidents_closed_total >= 1'
        wait_for("both ends to be scraped", lambda: bool(running.query(seen)), 15, every_s=0.2)
        yield running


def filled(expr: str) -> str:
    for name, value in FILLED.items():
        expr = expr.replace(name, value)
    return expr


@pytest.mark.parametrize(("row", "panel", "query"), PANELS, ids=[f"{panel.title}-{query.legend}" for _, panel, query in PANELS])
def test_a_query_answers_with_numbers(server, row, panel, query):
    series = server.query(filled(query.expr))
    assert series, f"{row} / {panel.title}: no series for {query.expr}"
    values = [float(one["value"][1]) for one in series]
    assert [value for value in values if math.isnan(value)] == []


def test_every_legend_names_labels_that_the_series_have(server):
    for _, panel, query in PANELS:
        wanted = {word.split("}}")[0] for word in query.legend.split("{{")[1:]}
        for one in server.query(filled(query.expr)):
            assert wanted <= set(one["metric"]), f"{panel.title}: {query.legend}"


def test_the_alert_rules_are_evaluated_without_error(server):
    wait_for("all rules to be evaluated", lambda: {rule["health"] for rule in server.rules()} == {"ok"}, 15, every_s=0.2)
    assert "FleetmendIncidentWaiting" in {rule["name"] for rule in server.rules()}
