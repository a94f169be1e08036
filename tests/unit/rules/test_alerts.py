"""Playbooks that answer alerts of Prometheus: what is known of them when the rules are read."""

from __future__ import annotations

import pytest

from fleetmend_controller.playbooks.load import compile_rules
from fleetmend_controller.rules import RulesError

PLAYBOOK = """
playbook: shop-errors
summary: Restart the shop.
owner: shop
trust: act
when:
  check: prometheus_alert
  where: {where}
steps:
  - action: restart_unit
    with: {{unit: "{{finding.unit}}"}}
    prove: {{within: {within}, stay_ok: 1m}}
limits: {{per_host: 2 per 1h}}
"""


def compiled(where: str = 'finding.alertname == "X" && declared.restart == "allowed"', within: str = "10m"):
    return compile_rules({"playbooks/a.yaml": PLAYBOOK.format(where=where, within=within)})


def test_they_need_no_check_and_prove_any_action():
    assert compiled().warnings == ()


def test_a_misspelt_field_is_an_error():
    with pytest.raises(RulesError, match="alert_name"):
        compiled('finding.alert_name == "X"')


def test_a_short_time_of_proof_is_warned_of():
    (warning,) = compiled(within="30s").warnings
    assert "cannot expect restart_unit to be proved within 30 s: Alertmanager tells of the end" in warning.text


def test_nobody_can_make_hosts_look_for_alerts():
    with pytest.raises(RulesError, match="cannot run a check of type prometheus_alert on hosts: Alertmanager tells of it"):
        compile_rules({"checks/a.yaml": "checks:\n  - {name: x, type: prometheus_alert}\n"})
