"""Rule files that tests start from, and a copy of the catalogue, so that messages do not move with the real one."""

from dataclasses import replace
from functools import cache
from pathlib import Path

from fleetmend.catalogue import Catalogue, load_catalogue, parse_catalogue
from fleetmend_controller.core.model import Host, Incident, Phase, Status, Subject
from fleetmend_controller.playbooks.load import compile_rules
from fleetmend_controller.rules import RulesError, RuleSet

FIXTURES = Path(__file__).parents[2] / "fixtures" / "rules"

CHECKS = """\
checks:
  - name: failed-units
    type: unit_failed
"""
PLAYBOOK = """\
playbook: restart
summary: Restart it.
owner: platform
trust: act
when:
  check: unit_failed
steps:
  - action: restart_unit
    with: {unit: "{finding.unit}"}
limits: {per_host: 3 per 1h}
"""
DECLARATION = """\
declare: web
on: {role: web}
owner: shop
units:
  shop.service: {desired: running, restart: allowed}
"""

DERIVED_TYPES = (
    "unit_memory",
    "unit_descriptors",
    "unit_zombies",
    "unit_frozen",
    "unit_binary",
    "unit_process",
    "unit_restarts",
)


@cache
def catalogue() -> Catalogue:
    """The copy, and of the real one what declarations derive beside it."""
    kept = parse_catalogue((FIXTURES / "catalogue.json").read_text("utf-8"))
    derived = {name: spec for name, spec in load_catalogue().checks.items() if name in DERIVED_TYPES}
    return replace(kept, checks={**derived, **kept.checks})


def rules(**texts: str) -> RuleSet:
    """Compile files by keyword: `checks`, `playbooks`, `declarations`; `playbooks_2` is a second file there."""
    return compile_rules({f"{name.split('_')[0]}/{name}.yaml": text for name, text in texts.items()}, catalogue())


def problems(**texts: str) -> list[str]:
    """What is said about files that cannot be used."""
    try:
        rules(**texts)
    except RulesError as error:
        return [str(problem) for problem in error.problems]
    return []


def with_where(condition: str, check: str = "unit_failed") -> str:
    """The playbook above with a condition."""
    return PLAYBOOK.replace("check: unit_failed", f"check: {check}\n  where: {condition!r}")


def host(**labels: str) -> Host:
    return Host(id="h-1", name="web-1", labels=labels, enrolled_ms=0)


def incident(check_type: str = "unit_failed", **finding: str | float | bool) -> Incident:
    return Incident(
        id="inc-1",
        subject=Subject("h-1", "failed-units", "shop.service"),
        check_type=check_type,
        finding=dict(finding),
        summary="shop.service failed",
        status=Status.CRIT,
        phase=Phase.OPEN,
        opened_ms=0,
        fault_since_ms=0,
        evidence_ms=0,
    )
