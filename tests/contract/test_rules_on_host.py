"""What the rules say is understood by the executor: the declaration it is sent, and each step of a shipped playbook."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetmend import registry, seal
from fleetmend_controller.core.matching import substitute
from fleetmend_controller.core.model import ActionStep, Incident, Phase, Playbook, Status, Subject
from fleetmend_controller.playbooks.load import compile_rules, read_documents
from fleetmend_controller.rules import RulesError
from fleetmend_executor import actions, declaration, policy
from fleetmend_executor.effects import ClearFiles, Command, UnitJob
from fleetmend_executor.rules import HostRules

DEPLOY = Path(__file__).parents[2] / "deploy"
LABELS = {"role": "example-web"}
RULES = compile_rules(read_documents([DEPLOY]))
PERMISSIVE = policy.parse(b"actions: {restart_unit: {}, collect_evidence: {}, clear_directory: {}, clear_journal: {}}", "test")
PARTS = ("srv", "cache", "log", "data", "*", "**", "a*", "?x", "[ab]", "x.gz", "é", "a b", "..", "\\x", "a**")
FINDINGS = {
    "unit_failed": {"unit": "shop.service"},
    "unit_active": {"unit": "store.service"},
    "http_endpoint": {"unit": "shop.service"},
    "tcp_port": {"unit": "shop.service"},
    "filesystem_space": {"mount": "/srv/data", "used_percent": 93.5, "target_percent": 74},
}


def sealed_and_parsed(document: dict) -> declaration.Declaration:
    """A declaration on its way to the host and back into values."""
    key = bytes(seal.KEY_BYTES)
    whole = {"kind": "declaration", "v": 1, "host_id": "h-1", "epoch": 1, "version": 1, **document}
    return declaration.parse(seal.unseal(key, *seal.seal(key, whole), "declaration"), "h-1")


def incident(check_type: str) -> Incident:
    return Incident(
        id="inc-1", subject=Subject("h-1", "a-check", ""), check_type=check_type, finding=dict(FINDINGS[check_type]),
        summary="", status=Status.CRIT, phase=Phase.OPEN, opened_ms=0, fault_since_ms=0, evidence_ms=0,
    )  # fmt: skip


def steps() -> list[tuple[Playbook, str, ActionStep]]:
    return [
        (playbook, check_type, step)
        for playbook in RULES.policy.playbooks
        for check_type in (playbook.check, *playbook.also)
        for step in playbook.steps
        # What the controller does itself no host plans.
        if isinstance(step, ActionStep) and not step.here
    ]


@pytest.mark.parametrize(
    ("playbook", "check_type", "step"), steps(), ids=lambda part: getattr(part, "name", getattr(part, "action", part))
)
def test_the_host_can_plan_every_step_of_the_shipped_playbooks(playbook, check_type, step):
    params = substitute(step, incident(check_type))
    assert not isinstance(params, str)
    seal.canonical(dict(params))
    action = registry.load_one(actions, step.action, "ACTION", actions.Action)
    rules = HostRules(PERMISSIVE, sealed_and_parsed(RULES.declaration_for(LABELS)))
    effects = action.plan(actions.validate(action, dict(params)), rules)
    wanted = {"restart_unit": UnitJob, "clear_directory": ClearFiles, "clear_journal": Command, "collect_evidence": Command}
    assert any(isinstance(effect, wanted[step.action]) for effect in effects)


def test_a_clean_up_stops_at_the_target_and_stays_on_its_mount():
    action = registry.load_one(actions, "clear_directory", "ACTION", actions.Action)
    (step,) = [s for p, _, s in steps() if s.action == "clear_directory" and p.name == "clean-filesystem"]
    params = substitute(step, incident("filesystem_space"))
    assert not isinstance(params, str)
    rules = HostRules(PERMISSIVE, sealed_and_parsed(RULES.declaration_for(LABELS)))
    (effect,) = action.plan(actions.validate(action, dict(params)), rules)
    assert isinstance(effect, ClearFiles)
    assert (effect.patterns, effect.until_used_percent) == (("/srv/data/cache/**",), 74)
    assert "/srv/data/customer/**" in effect.protected


def test_the_shipped_declaration_arrives_whole():
    arrived = sealed_and_parsed(RULES.declaration_for(LABELS))
    assert arrived.units["store.service"] == declaration.UnitRule("clean-only", "running")
    assert arrived.disposable == ("/srv/data/cache/**", "/var/log/shop/*.gz")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.lists(st.lists(st.sampled_from(PARTS), min_size=2, max_size=5).map("/".join).map("/".__add__), max_size=2),
    st.lists(st.sampled_from(["shop.service", "postgresql@*.service", "a*.socket", "/srv/**", "x.target"]), max_size=2),
)
def test_what_the_controller_accepts_the_host_accepts(patterns, protected):
    text = "declare: web\nowner: shop\nunits: {shop.service: {restart: allowed}}\n"
    text += f"disposable: {json.dumps(patterns)}\nprotected: {json.dumps(protected)}\n"
    try:
        made = compile_rules({"declarations/web.yaml": text})
    except RulesError:
        return
    arrived = sealed_and_parsed(made.declaration_for({}))
    assert set(arrived.disposable) == set(patterns)
    assert set(arrived.protected) == set(protected)
