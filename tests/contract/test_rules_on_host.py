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
from fleetmend_executor.containers import RestartContainer
from fleetmend_executor.copies import StopCopy
from fleetmend_executor.deleted import ReleaseDeleted
from fleetmend_executor.effects import ClearFiles, Command, UnitJob
from fleetmend_executor.hosting import Hosted
from fleetmend_executor.jobs import RunJob
from fleetmend_executor.mounting import MountUnit
from fleetmend_executor.rules import HostRules
from fleetmend_executor.semaphores import RemoveSemaphores
from fleetmend_executor.stopping import CleanStop
from fleetmend_executor.strays import StopStray

DEPLOY = Path(__file__).parents[2] / "deploy"
LABELS = {"role": "example-web"}
RULES = compile_rules(read_documents([DEPLOY]))
WANTED = {
    "restart_unit": UnitJob, "clear_directory": ClearFiles, "clear_journal": Command, "collect_evidence": Command,
    "mount_unit": MountUnit, "rotate_log": UnitJob, "stop_writer": StopStray, "stop_stray": StopStray, "stop_copy": StopCopy,
    "remove_semaphores": RemoveSemaphores, "restart_container": RestartContainer, "restore_file": Hosted,
    "set_ownership": Hosted, "remount_rw": Hosted, "configure_packages": Hosted, "reinstall_package": Hosted,
    "hold_package": Hosted, "set_package_version": Hosted,
    "start_unit": UnitJob, "reload_unit": UnitJob, "run_command": Command, "run_job": RunJob,
    "link_up": Hosted, "remove_route": Hosted, "remove_rule": Hosted, "remove_qdisc": Hosted, "remove_neighbour": Hosted,
    "apply_sysctl": Hosted, "set_timezone": Hosted, "restart_cleanly": CleanStop, "release_deleted": ReleaseDeleted,
}  # fmt: skip
COMMANDS = "{renew-certificate: {argv: [/bin/renew], hosted: true}, rebuild-trust-store: {argv: [/bin/rebuild]}}"
PERMITTED = json.dumps({action: {} for action in WANTED})
PERMISSIVE = policy.parse(f"actions: {PERMITTED}\ncommands: {COMMANDS}".encode(), "test")
STRAY = {"pid": 42, "start_ticks": 7, "name": "crunch", "user": "shop-batch"}
PARTS = ("srv", "cache", "log", "data", "*", "**", "a*", "?x", "[ab]", "x.gz", "é", "a b", "..", "\\x", "a**")
FINDINGS = {
    "unit_failed": {"unit": "shop.service"},
    "unit_active": {"unit": "store.service"},
    "http_endpoint": {"unit": "shop.service"},
    "tcp_port": {"unit": "shop.service"},
    "container_health": {"container": "shop-cache", "fault": "unhealthy", "restart": "allowed"},
    "filesystem_space": {"mount": "/srv/data", "used_percent": 93.5, "target_percent": 74},
    **{
        name: {"unit": "shop.service", "service": "shop.service"}
        for name in (
            "unit_memory",
            "unit_descriptors",
            "unit_zombies",
            "unit_frozen",
            "unit_binary",
            "file_age",
            "nagios_plugin",
            "journal_write",
        )
    },
    "unit_process": {"unit": "shop.service", "service": "shop.service", **STRAY},
    "listener_owner": {"owner": "shop.service", "same_program": True, **STRAY},
    "process_runaway": STRAY,
    "pid_usage": STRAY,
    "semaphores": STRAY,
    "filesystem_inodes": {"mount": "/srv/data", "used_percent": 93.5, "target_percent": 79},
    "filesystem_fill": {"mount": "/srv/data"},
    "filesystem_readonly": {"mount": "/srv/data", "unit": "srv-data.mount"},
    "mount_missing": {"mount": "/srv/data", "unit": "srv-data.mount"},
    "managed_file": {"path": "/etc/shop.conf", "golden": "/usr/share/shop/golden"},
    "file_mode": {"path": "/srv/data/web", "recreate": ""},
    "log_size": {"path": "/var/log/shop/web.log"},
    "spool_age": {"unit": "shop.service"},
    "package_state": {},
    "package_files": {"package": "shop-tool"},
    "job_runtime": {"unit": "backup.service"},
    "link_up": {"interface": "eth0"},
    "route_extra": {"route": "blackhole 192.0.2.20/32 table 254"},
    "rule_extra": {"priority": 5, "selector": "from all prohibit", "family": 4},
    "qdisc_extra": {"interface": "eth0", "kind": "tbf", "attached": "root"},
    "neighbour_extra": {"interface": "eth0", "address": "192.0.2.20"},
    "tls_certificate": {"renew": "renew-certificate", "reload": "shop.service"},
    "trust_store": {"rebuild": "rebuild-trust-store"},
    "sysctl_value": {"setting": "net.core.somaxconn"},
    "time_sync": {"unit": "shop.service"},
    "dns_name": {},
    "process_busy": {},
    "timezone": {},
    "reboot_required": {},
}
# Playbooks for one kind of unit among those that their checks see.
UNITS = {"mount-again": "srv-data.mount", "run-overdue-job": "backup.service", "start-stopped-timer": "backup.timer"}


def sealed_and_parsed(document: dict) -> declaration.Declaration:
    """A declaration on its way to the host and back into values."""
    key = bytes(seal.KEY_BYTES)
    whole = {"kind": "declaration", "v": 1, "host_id": "h-1", "epoch": 1, "version": 1, **document}
    return declaration.parse(seal.unseal(key, *seal.seal(key, whole), "declaration"), "h-1")


def incident(check_type: str, unit: str = "") -> Incident:
    finding = {**FINDINGS[check_type], **({"unit": unit} if unit else {})}
    return Incident(
        id="inc-1", subject=Subject("h-1", "a-check", ""), check_type=check_type, finding=finding,
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
    params = substitute(step, incident(check_type, UNITS.get(playbook.name, "")))
    assert not isinstance(params, str)
    seal.canonical(dict(params))
    action = registry.load_one(actions, step.action, "ACTION", actions.Action)
    document = RULES.declaration_for(LABELS)
    parts = {"killable": [{"user": "batch"}], **document["parts"]}
    rules = HostRules(PERMISSIVE, sealed_and_parsed({**document, "parts": parts}))
    effects = action.plan(actions.validate(action, dict(params)), rules)
    assert any(isinstance(effect, WANTED[step.action]) for effect in effects)


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
