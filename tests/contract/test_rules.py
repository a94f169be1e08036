"""The rules that are shipped: they compile without a warning, editors accept them, and every fault has one playbook at most."""

from functools import cache
from pathlib import Path

import pytest
import yaml

from fleetmend.catalogue import load_catalogue
from fleetmend_controller.core.model import ActionStep, Cost, Host, Incident, Phase, Status, Subject, Trust
from fleetmend_controller.core.policy import MatchAnswer
from fleetmend_controller.playbooks.editors import schema_of
from fleetmend_controller.playbooks.load import compile_rules, read_documents
from fleetmend_controller.rules import RuleSet

from ..tools.jsonschema import faults

DEPLOY = Path(__file__).parents[2] / "deploy"
LABELS = {"role": "example-web"}
SHIPPED = sorted(path for folder in ("checks", "playbooks", "declarations") for path in (DEPLOY / folder).rglob("*.yaml"))


@cache
def shipped() -> RuleSet:
    return compile_rules(read_documents([DEPLOY]))


def answers(check_type: str, labels: dict[str, str], **finding: str | float | bool) -> list[str]:
    """Which playbooks answer an incident, in the order in which they are tried."""
    host = Host(id="h-1", name="web-1", labels=labels, enrolled_ms=0)
    if unit := finding.get("unit"):
        finding = {"unit_type": str(unit).rpartition(".")[2], **finding}
    incident = Incident(
        id="inc-1", subject=Subject("h-1", "a-check", ""), check_type=check_type, finding=dict(finding), summary="",
        status=Status.CRIT, phase=Phase.OPEN, opened_ms=0, fault_since_ms=0, evidence_ms=0,
    )  # fmt: skip
    policy = shipped().policy
    fitting = [playbook for playbook in policy.playbooks if playbook.answers("a-check", check_type)]
    conditions = policy.conditions
    return [p.name for p in fitting if p.name not in conditions or conditions[p.name](host, incident).answer is MatchAnswer.YES]


def test_the_shipped_rules_compile_without_a_warning():
    assert [str(warning) for warning in shipped().warnings] == []
    assert len(SHIPPED) == len(shipped().documents)


@pytest.mark.parametrize("folder", ["deploy/lab/rules", "deploy/samples/rules", "tests/bench/rules"])
def test_the_rules_of_lab_samples_and_benchmarks_compile(folder):
    assert compile_rules(read_documents([DEPLOY.parent / folder])).documents


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_editors_accept_the_shipped_rules(path):
    value = yaml.safe_load(path.read_text().replace("\non:", '\n"on":'))
    assert faults(value, schema_of(path.parent.name, load_catalogue())) == []


def test_any_server_gets_the_base_checks_and_declares_nothing():
    assert {check.type for check in shipped().checks_for({})} >= {
        "unit_failed", "filesystem_space", "filesystem_inodes", "filesystem_readonly", "memory_available", "memory_pressure",
        "cpu_load", "process_count",
    }  # fmt: skip
    assert shipped().declaration_for({}) == {"units": {}, "disposable": [], "protected": [], "parts": {}}


@pytest.mark.parametrize(
    ("check_type", "finding", "playbooks"),
    [
        ("unit_failed", {"unit": "shop.service", "load": "loaded", "maintenance": False}, ["restart-failed-unit"]),
        ("unit_active", {"unit": "shop.service", "load": "loaded", "maintenance": False}, ["restart-failed-unit"]),
        ("unit_active", {"unit": "store.service", "load": "loaded", "maintenance": False}, ["restart-failed-unit"]),
        ("unit_failed", {"unit": "shop.service", "load": "masked", "maintenance": True}, []),
        ("unit_failed", {"unit": "other.service", "load": "loaded", "maintenance": False}, []),
        ("http_endpoint", {"unit": "shop.service", "fault": "hang"}, ["restart-hung-service"]),
        ("tcp_port", {"unit": "store.service", "fault": "hang"}, ["restart-hung-cleanly"]),
        ("http_endpoint", {"fault": "hang"}, []),
        ("filesystem_space", {"mount": "/srv/data", "disposable": "yes"}, ["clean-filesystem"]),
        ("filesystem_space", {"mount": "/srv/data", "disposable": "no"}, ["explain-full-filesystem"]),
        ("filesystem_space", {"mount": "/srv/data", "disposable": "unknown"}, ["clean-filesystem"]),
        ("filesystem_space", {"mount": "/", "disposable": "no"}, ["clean-system-filesystem"]),
        ("filesystem_inodes", {"mount": "/srv/data", "disposable": "yes"}, ["clean-inodes"]),
        ("filesystem_inodes", {"mount": "/srv/data", "disposable": "no"}, ["explain-full-filesystem"]),
        ("filesystem_inodes", {"mount": "/", "disposable": "no"}, []),
        ("filesystem_fill", {"mount": "/srv/data", "writer_user": "batch"}, ["stop-filling-writer"]),
        ("filesystem_fill", {"mount": "/srv/data"}, []),
        ("filesystem_readonly", {"mount": "/srv/data", "mounted": True, "remount": "if-clean"}, ["remount-writable"]),
        ("filesystem_readonly", {"mount": "/srv/data", "mounted": True, "remount": "not-clean"}, []),
        ("filesystem_readonly", {"mount": "/", "mounted": True}, []),
        ("mount_missing", {"mount": "/srv/data", "unit": "srv-data.mount", "maintenance": False}, ["mount-again"]),
        ("mount_missing", {"mount": "/srv/data", "fault": "hung", "maintenance": False}, []),
        ("mount_missing", {"mount": "/mnt/x", "fault": "missing", "maintenance": False}, []),
        ("unit_failed", {"unit": "srv-data.mount", "load": "loaded", "maintenance": False}, ["mount-again"]),
        ("unit_active", {"unit": "srv-data.mount", "load": "loaded", "maintenance": False}, ["mount-again"]),
        ("unit_failed", {"unit": "mnt-x.mount", "load": "loaded", "maintenance": False}, []),
        ("managed_file", {"path": "/etc/shop.conf", "what": "content"}, ["restore-managed-file"]),
        ("file_mode", {"path": "/srv/data/web", "what": "owner,mode", "recreate": ""}, ["restore-ownership"]),
        ("file_mode", {"path": "/srv/data/web", "what": "missing", "recreate": "directory"}, ["restore-ownership"]),
        ("file_mode", {"path": "/srv/data/key", "what": "missing", "recreate": ""}, []),
        ("file_mode", {"path": "/srv/data/web", "what": "link", "recreate": ""}, []),
        ("log_size", {"path": "/var/log/shop/web.log", "rotated_by": "logrotate.service"}, ["rotate-live-log"]),
        ("log_size", {"path": "/var/log/shop/web.log", "rotated_by": ""}, []),
        ("spool_age", {"path": "/var/spool/shop/in", "unit": "shop.service"}, ["restart-spool-consumer"]),
        ("spool_age", {"path": "/var/spool/shop/in", "unit": "store.service"}, []),
        ("package_state", {"configure": "allowed"}, ["configure-packages"]),
        ("package_state", {"configure": ""}, []),
        ("package_files", {"package": "shop-tool", "reinstall": "allowed"}, ["reinstall-package"]),
        ("package_files", {"package": "shop-tool", "reinstall": "", "pinned": "no"}, []),
        ("package_files", {"package": "shop-tool", "reinstall": "", "pinned": "yes"}, ["set-package-version"]),
        ("package_files", {"package": "shop-tool", "what": "not-held", "reinstall": ""}, ["hold-package"]),
        ("accounts_uid0", {"accounts": "svc"}, []),
        ("setuid_files", {"path": "/usr/local/bin/x"}, []),
        ("preload_file", {"libraries": "/x.so"}, []),
        ("exposed_files", {"path": "/etc/shadow"}, []),
        ("memory_available", {}, []),
        (
            "container_health",
            {"container": "shop-cache", "fault": "unhealthy", "restart": "allowed"},
            ["restart-sick-container"],
        ),
        ("container_health", {"container": "shop-cache", "fault": "exited", "restart": "never"}, []),
        ("container_health", {"container": "shop-cache", "fault": "missing", "restart": "allowed"}, []),
        ("kernel_log", {"kind": "disk_error"}, []),
        ("oom_kill", {"victim_unit": "shop.service"}, []),
        ("smart", {"device": "/dev/sda"}, []),
        ("unit_memory", {"unit": "shop.service"}, ["restart-sick-unit"]),
        ("unit_memory", {"service": "store.service"}, []),
        ("unit_descriptors", {"unit": "store.service"}, []),
        ("unit_process", {"unit": "shop.service", "extra": 0}, ["restart-sick-unit"]),
        ("unit_process", {"service": "shop.service", "extra": 1, "same_program": True}, ["stop-copy"]),
        ("file_age", {"unit": "shop.service", "path": "/run/shop/beat"}, ["restart-sick-unit"]),
        ("file_age", {"path": "/run/shop/beat"}, []),
        ("unit_binary", {"unit": "shop.service", "replaced": True}, ["restart-outdated-unit"]),
        ("unit_binary", {"unit": "shop.service", "replaced": False}, []),
        ("unit_binary", {"service": "store.service", "replaced": True}, []),
        ("unit_restarts", {"service": "shop.service", "recent": 9}, []),
        ("listener_owner", {"owner": "shop.service", "same_program": True}, ["free-listener"]),
        ("listener_owner", {"owner": "shop.service", "same_program": False}, []),
        ("process_runaway", {"user": "shop-batch", "reason": "cpu"}, ["stop-runaway"]),
        ("pid_usage", {"user": "shop-batch", "killable": True}, ["free-process-ids"]),
        ("pid_usage", {"user": "root", "killable": False}, []),
        ("semaphores", {"user": "shop-batch", "killable": True}, ["free-semaphores"]),
    ],
)
def test_every_fault_has_one_playbook_at_most(check_type, finding, playbooks):
    assert answers(check_type, LABELS, **finding) == playbooks


def test_where_nothing_is_declared_no_unit_is_touched():
    for check_type in ("unit_failed", "unit_active", "http_endpoint"):
        assert answers(check_type, {"role": "web"}, unit="shop.service", load="loaded", maintenance=False) == []


def test_what_is_destroyed_is_only_suggested():
    for playbook in shipped().policy.playbooks:
        destroys = any(isinstance(step, ActionStep) and step.cost is Cost.DESTRUCTIVE for step in playbook.steps)
        assert playbook.trust is (Trust.SUGGEST if destroys else Trust.ACT)


def test_no_two_checks_of_a_host_look_at_the_same_thing():
    looked_at = [(check.type, check.params.get("mount", check.name)) for check in shipped().checks_for(LABELS)]
    assert {name for kind, name in looked_at if kind in ("pid_usage", "semaphores")} == {"pids:limit", "semaphores:limit"}
    assert len(looked_at) == len(set(looked_at))
