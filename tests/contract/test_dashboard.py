"""The dashboard's shape. Whether its queries answer is tested against a real Prometheus in tests/e2e/test_dashboard.py."""

from __future__ import annotations

import itertools
import json
from copy import deepcopy

import pytest

from deploy.grafana import generate

KINDS = {"row", "stat", "timeseries", "bargauge", "table"}


def faults(board: dict) -> list[str]:
    """Everything wrong with a dashboard, in words."""
    found = []
    panels = board["panels"]
    ids = [panel["id"] for panel in panels]
    if len(ids) != len(set(ids)):
        found.append("two panels share an id")
    for panel in panels:
        found += [f"{panel['title']}: {text}" for text in panel_faults(panel)]
    for one, other in itertools.combinations(panels, 2):
        if overlap(one["gridPos"], other["gridPos"]):
            found.append(f"{one['title']} and {other['title']} overlap")
    return found


def panel_faults(panel: dict) -> list[str]:
    found = []
    if panel["type"] not in KINDS:
        found.append(f"kind {panel['type']}")
    if panel["gridPos"]["x"] + panel["gridPos"]["w"] > generate.WIDTH:
        found.append("wider than the page")
    if panel["type"] == "row":
        return found
    if not panel.get("description", "").endswith("."):
        found.append("no description")
    if not panel["fieldConfig"]["defaults"].get("unit"):
        found.append("no unit")
    references = [target["refId"] for target in panel["targets"]]
    if not references or len(references) != len(set(references)):
        found.append("references of queries are not unique")
    if any(target["datasource"]["uid"] != "${datasource}" for target in (panel, *panel["targets"])):
        found.append("a data source that is not the variable")
    return found


def overlap(a: dict[str, int], b: dict[str, int]) -> bool:
    return a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"] and a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"]


def test_the_file_is_what_the_generator_makes():
    assert generate.TARGET.read_text() == generate.text(), "fleet.json is not current; run deploy/grafana/generate.py"


def test_the_dashboard_has_no_fault():
    assert faults(json.loads(generate.TARGET.read_text())) == []


def breach_id(panels: list[dict]) -> None:
    panels[2]["id"] = panels[1]["id"]


def breach_unit(panels: list[dict]) -> None:
    del panels[1]["fieldConfig"]["defaults"]["unit"]


def breach_description(panels: list[dict]) -> None:
    panels[1]["description"] = ""


def breach_place(panels: list[dict]) -> None:
    panels[2]["gridPos"] = panels[1]["gridPos"]


def breach_source(panels: list[dict]) -> None:
    panels[1]["targets"][0]["datasource"] = {"type": "prometheus", "uid": "abc"}


@pytest.mark.parametrize("breach", [breach_id, breach_unit, breach_description, breach_place, breach_source])
def test_a_fault_is_caught(breach):
    board = deepcopy(generate.dashboard())
    breach(board["panels"])
    assert faults(board)
