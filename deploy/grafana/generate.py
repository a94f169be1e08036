#!/usr/bin/env python3
"""Writes the dashboard `fleet.json` beside this file. Panels are data below; places and ids follow from their order.

Import fleet.json into Grafana and choose the Prometheus that scrapes the controller.
`generate.py --check` says whether the file is current.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent / "fleet.json"
WIDTH = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
HOST = 'host=~"$host"'


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression and how its series are named in the legend."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `steps` are (from value, colour) pairs; `words` replaces numbers by text."""

    title: str
    kind: str
    unit: str
    about: str
    queries: tuple[Query, ...]
    width: int = 8
    height: int = 8
    steps: tuple[tuple[float, str], ...] = ((0, "green"),)
    words: tuple[tuple[int, str, str], ...] = ()
    stacked: bool = False
    columns: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A heading and its panels, laid out from left to right."""

    title: str
    panels: tuple[Panel, ...]


def stat(title: str, about: str, expr: str, unit: str = "short", **more: Any) -> Panel:
    """One number."""
    return Panel(title, "stat", unit, about, (Query(expr),), width=3, height=4, **more)


BAD_ABOVE_0 = ((0, "green"), (1, "red"))
WORTH_A_LOOK = ((0, "green"), (1, "orange"))
STATUS_WORDS = ((0, "OK", "green"), (1, "WARN", "orange"), (2, "CRIT", "red"), (3, "UNKNOWN", "purple"))
TRUST_WORDS = ((0, "observe", "blue"), (1, "suggest", "orange"), (2, "act", "green"))


def quantile(q: float, metric: str, by: str = "", window: str = "$__rate_interval") -> str:
    """A quantile of a histogram over a window."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket[{window}])))"


NOW = Row(
    "Now",
    (
        stat("Hosts up", "Enrolled hosts that send heartbeats.", 'sum(fleetmend_hosts{state="up"})'),
        stat(
            "Hosts lost",
            "Hosts without heartbeat; nothing is done there.",
            'sum(fleetmend_hosts{state="lost"})',
            steps=BAD_ABOVE_0,
        ),
        stat(
            "In repair",
            "Open incidents that Fleetmend works on or holds.",
            'sum(fleetmend_incidents_open{phase!="escalated"})',
            steps=WORTH_A_LOOK,
        ),
        stat(
            "Waiting for people", "Escalated incidents.", 'sum(fleetmend_incidents_open{phase="escalated"})', steps=BAD_ABOVE_0
        ),
        stat(
            "Longest wait",
            "Age of the oldest escalated incident.",
            'max(fleetmend_incidents_oldest_seconds{phase="escalated"})',
            "s",
            steps=((0, "green"), (900, "red")),
        ),
        stat(
            "Healed",
            "Incidents that were healed and proved in the time shown.",
            'round(sum(increase(fleetmend_incidents_closed_total{reason=~"healed|healed_alone"}[$__range])))',
        ),
        stat(
            "Journal",
            "Whether the journal takes rows; if not, no orders are given.",
            "min(fleetmend_journal_writable)",
            words=((0, "stuck", "red"), (1, "writable", "green")),
        ),
        stat(
            "Healing paused",
            "Scopes in which an operator switched healing off.",
            "sum(fleetmend_pauses)",
            steps=WORTH_A_LOOK,
        ),
    ),
)

HEALING = Row(
    "Healing",
    (
        Panel(
            "Open incidents",
            "timeseries",
            "short",
            "By phase. Held means that a gate said not now; `fleetmend explain` tells which.",
            (Query("sum by (phase) (fleetmend_incidents_open)", "{{phase}}"),),
            stacked=True,
        ),
        Panel(
            "Time to heal",
            "timeseries",
            "s",
            "From the first sight of a fault to its proved end, incidents that ended in the time shown.",
            (
                Query(quantile(0.5, "fleetmend_incident_phase_seconds", "phase", "$__range"), "{{phase}}, median"),
                Query(quantile(0.95, "fleetmend_incident_phase_seconds", "phase", "$__range"), "{{phase}}, 95 %"),
            ),
        ),
        Panel(
            "Ended incidents",
            "timeseries",
            "short",
            "By reason, over the last hour.",
            (Query("sum by (reason) (increase(fleetmend_incidents_closed_total[1h]))", "{{reason}}"),),
            stacked=True,
        ),
        Panel(
            "Actions",
            "timeseries",
            "short",
            "Orders that ended over the last hour, by action and outcome.",
            (Query("sum by (action, outcome) (increase(fleetmend_actions_total[1h]))", "{{action}} {{outcome}}"),),
            stacked=True,
        ),
        Panel(
            "Withheld",
            "bargauge",
            "short",
            "Candidate actions that a gate held or refused in the time shown.",
            (Query("sum by (gate, reason) (increase(fleetmend_actions_withheld_total[$__range]))", "{{gate}}: {{reason}}"),),
            steps=((0, "blue"),),
        ),
        Panel(
            "Handed to people",
            "bargauge",
            "short",
            "Escalations in the time shown.",
            (Query("sum by (severity, reason) (increase(fleetmend_escalations_total[$__range]))", "{{severity}}: {{reason}}"),),
            steps=((0, "orange"),),
        ),
        Panel(
            "Budget in use",
            "bargauge",
            "percentunit",
            "Hosts of a group that are being healed, of those that may be at once.",
            (Query("fleetmend_budget_used / fleetmend_budget_limit", "{{label}}={{value}}"),),
            steps=((0, "green"), (0.8, "orange"), (1, "red")),
        ),
        Panel(
            "Trust",
            "bargauge",
            "short",
            "How far each playbook may go by itself.",
            (Query("fleetmend_playbook_trust", "{{playbook}}"),),
            words=TRUST_WORDS,
        ),
        Panel(
            "Waiting for approval",
            "timeseries",
            "short",
            "Orders that are given once enough people approve them; `fleetmend approvals ls` lists them.",
            (Query("sum(fleetmend_approvals_waiting)", "orders"),),
        ),
        Panel(
            "Storms and flapping",
            "timeseries",
            "short",
            "Types of checks that many hosts fail together, and subjects that come and go: both are held, and people know.",
            (Query("sum(fleetmend_storms)", "storms"), Query("sum(fleetmend_flapping_subjects)", "flapping subjects")),
        ),
        Panel(
            "Healed again and again",
            "bargauge",
            "short",
            "Repairs of one subject within 7 days: debt that healing hides. `fleetmend report risk` has its owner.",
            (Query("topk(10, fleetmend_masking_heals)", "{{host}} {{subject}}"),),
            steps=((0, "green"), (10, "orange"), (30, "red")),
        ),
        Panel(
            "Decision",
            "timeseries",
            "s",
            "From the arrival of an event to its durable decision, and the commit in it (99th percentile).",
            (
                Query(quantile(0.99, "fleetmend_decision_seconds"), "decision"),
                Query(quantile(0.99, "fleetmend_journal_commit_seconds"), "commit"),
            ),
        ),
    ),
)

HOSTS = Row(
    "Hosts: $host",
    (
        Panel(
            "Checks",
            "table",
            "short",
            "The worst twenty subjects: what is sick now, and on which host.",
            (Query(f"sort_desc(topk(20, fleetmend_check_status{{{HOST}}}))"),),
            width=12,
            height=10,
            words=STATUS_WORDS,
            columns=(("host", "Host"), ("check", "Check"), ("key", "Subject"), ("Value", "Status")),
        ),
        Panel(
            "Check results",
            "timeseries",
            "short",
            "Subjects by status.",
            (
                Query(f"count(fleetmend_check_status{{{HOST}}} == 0)", "ok"),
                Query(f"count(fleetmend_check_status{{{HOST}}} == 1) or vector(0)", "warn"),
                Query(f"count(fleetmend_check_status{{{HOST}}} == 2) or vector(0)", "crit"),
                Query(f"count(fleetmend_check_status{{{HOST}}} == 3) or vector(0)", "unknown"),
            ),
            width=12,
            height=10,
            stacked=True,
        ),
        Panel(
            "Filesystems in use",
            "timeseries",
            "percentunit",
            "The fullest ten that a check watches.",
            (Query(f"topk(10, fleetmend_filesystem_used_ratio{{{HOST}}})", "{{host}} {{key}}"),),
        ),
        Panel(
            "Memory available",
            "timeseries",
            "percentunit",
            "The ten hosts with the least.",
            (Query(f"bottomk(10, fleetmend_memory_available_ratio{{{HOST}}})", "{{host}}"),),
        ),
        Panel(
            "Load per core",
            "timeseries",
            "short",
            "The ten busiest hosts, load of five minutes by core.",
            (Query(f"topk(10, fleetmend_cpu_load5_ratio{{{HOST}}})", "{{host}}"),),
        ),
    ),
)

COST = Row(
    "Cost of Fleetmend",
    (
        Panel(
            "Agent CPU",
            "timeseries",
            "percentunit",
            "CPU time per second of the ten dearest agents.",
            (Query(f"topk(10, rate(fleetmend_agent_cpu_seconds_total{{{HOST}}}[$__rate_interval]))", "{{host}}"),),
        ),
        Panel(
            "Agent memory",
            "timeseries",
            "bytes",
            "Resident memory of the ten dearest agents.",
            (Query(f"topk(10, fleetmend_agent_resident_bytes{{{HOST}}})", "{{host}}"),),
        ),
        Panel(
            "Agent outbox",
            "timeseries",
            "short",
            "Records that wait for the journal, the ten longest outboxes.",
            (Query(f"topk(10, fleetmend_agent_outbox_records{{{HOST}}})", "{{host}}"),),
        ),
        Panel(
            "Streams",
            "timeseries",
            "short",
            "Agent streams that are open at this controller.",
            (Query("sum(fleetmend_gateway_streams)", "streams"),),
        ),
        Panel(
            "Messages",
            "timeseries",
            "mps",
            "Messages from agents per second, by kind.",
            (Query("sum by (kind) (rate(fleetmend_gateway_messages_total[$__rate_interval]))", "{{kind}}"),),
        ),
        Panel(
            "Journal",
            "timeseries",
            "wps",
            "Rows appended per second.",
            (Query("sum(rate(fleetmend_journal_rows_total[$__rate_interval]))", "rows"),),
        ),
    ),
)

ROWS = (NOW, HEALING, HOSTS, COST)


def dashboard(rows: Sequence[Row] = ROWS) -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    return {
        "annotations": {"list": []},
        "description": "What Fleetmend sees, heals, withholds and hands to people, and what it costs.",
        "editable": True,
        "fiscalYearStartMonth": 0,
        "graphTooltip": 1,
        "links": [],
        "panels": list(_place(rows)),
        "refresh": "30s",
        "schemaVersion": 39,
        "tags": ["fleetmend"],
        "templating": {"list": _variables()},
        "time": {"from": "now-6h", "to": "now"},
        "timepicker": {},
        "timezone": "browser",
        "title": "Fleet",
        "uid": "fleetmend-fleet",
        "version": 1,
        "weekStart": "",
    }


def _variables() -> list[dict[str, Any]]:
    query = "label_values(fleetmend_host_up, host)"
    return [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1, "hide": 0},
        {
            "name": "host",
            "label": "Host",
            "type": "query",
            "datasource": SOURCE,
            "query": {"query": query, "refId": "hosts"},
            "definition": query,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]},
            "refresh": 2,
            "sort": 1,
            "hide": 0,
        },
    ]


def _place(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    top, number = 0, 0
    for row in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1},
            "panels": [],
        }
        top, left, tallest = top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > WIDTH:
                top, left, tallest = top + tallest, 0, 0
            number += 1
            yield _panel(panel, number, {"x": left, "y": top, "w": panel.width, "h": panel.height})
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    instant = panel.kind != "timeseries"
    made: dict[str, Any] = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
        "targets": [_target(query, chr(ord("A") + i), panel, instant=instant) for i, query in enumerate(panel.queries)],
    }
    if panel.kind == "table":
        made["transformations"] = [_columns(panel)]
    return made


def _defaults(panel: Panel) -> dict[str, Any]:
    steps = [{"color": colour, "value": None if i == 0 else value} for i, (value, colour) in enumerate(panel.steps)]
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": steps},
        "mappings": [],
    }
    if panel.words:
        options = {
            str(number): {"text": text, "color": colour, "index": i} for i, (number, text, colour) in enumerate(panel.words)
        }
        defaults["mappings"] = [{"type": "value", "options": options}]
    if panel.unit == "percentunit":
        defaults["min"] = 0
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "drawStyle": "line",
            "fillOpacity": 20 if panel.stacked else 0,
            "lineWidth": 1,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
    if panel.kind == "table":
        defaults["custom"] = {"align": "auto", "cellOptions": {"type": "color-text"}}
    return defaults


def _options(panel: Panel) -> dict[str, Any]:
    reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    if panel.kind == "stat":
        return {"colorMode": "value", "graphMode": "none", "justifyMode": "auto", "reduceOptions": reduce, "textMode": "value"}
    if panel.kind == "bargauge":
        return {"displayMode": "gradient", "orientation": "horizontal", "reduceOptions": reduce, "showUnfilled": True}
    if panel.kind == "table":
        return {"showHeader": True, "cellHeight": "sm"}
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
    return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}


def _target(query: Query, reference: str, panel: Panel, *, instant: bool) -> dict[str, Any]:
    return {
        "refId": reference,
        "datasource": SOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "instant": instant,
        "range": not instant,
        "format": "table" if panel.kind == "table" else "time_series",
    }


def _columns(panel: Panel) -> dict[str, Any]:
    hidden = dict.fromkeys(("Time", "__name__", "instance", "job"), True)
    names = [source for source, _ in panel.columns]
    return {
        "id": "organize",
        "options": {
            "excludeByName": hidden,
            "indexByName": {name: i for i, name in enumerate(names)},
            "renameByName": dict(panel.columns),
        },
    }


def text() -> str:
    """The file's content."""
    return json.dumps(dashboard(), indent=2) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Write the file, or with `--check` say whether it is current."""
    if "--check" not in arguments:
        TARGET.write_text(text())
        return 0
    if TARGET.exists() and TARGET.read_text() == text():
        return 0
    print(f"cannot accept {TARGET.name}: it differs from generate.py; run generate.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
