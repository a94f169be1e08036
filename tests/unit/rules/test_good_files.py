"""The files in tests/fixtures/rules/good: the forms that people use, together as one set of rules."""

from functools import cache

from fleetmend_controller.core.policy import MatchAnswer
from fleetmend_controller.playbooks.load import compile_rules, read_documents
from fleetmend_controller.rules import RuleSet

from .samples import FIXTURES, catalogue, host, incident


@cache
def good() -> RuleSet:
    return compile_rules(read_documents([FIXTURES / "good"]), catalogue())


def test_they_are_understood_with_the_warnings_they_deserve():
    assert good().warnings == ()
    assert [playbook.name for playbook in good().policy.playbooks] == ["restart-failed-unit", "restart-stale-backup"]


def test_a_host_gets_what_is_written_and_what_follows():
    names = [check.name for check in good().checks_for({"role": "web", "site": "a", "rack": "13"})]
    of_processes = ("binary:", "descriptors:", "frozen:", "restarts:", "zombies:")
    assert [name for name in names if not name.startswith(of_processes)] == [
        "backup-stamp",
        "every-disk",
        "failed-units",
        "filesystem-fill:/srv/data",
        "filesystem-readonly:/srv/data",
        "filesystem-space:/srv/data",
        "health:shop.service",
        "health:store.service",
        "md-raid",
        "mount-missing:/srv/data",
        "root-disk",
        "unit-active:cron.service",
        "unit-active:getty@tty1.service",
        "unit-active:rpcbind.socket",
        "unit-active:shop.service",
        "unit-active:srv-data.mount",
        "unit-active:store.service",
    ]
    every_disk = next(check for check in good().checks_for({"role": "web"}) if check.name == "every-disk")
    assert every_disk.params["ignore"] == ["/", "/srv/data"]


def test_protection_of_units_and_paths_reaches_the_host():
    assert good().declaration_for({})["protected"] == ["/srv/customers", "postgresql@*.service", "sshd.service"]


def test_conditions_judge_as_written():
    restart = good().policy.conditions["restart-failed-unit"]
    backup = good().policy.conditions["restart-stale-backup"]
    assert restart(host(role="app"), incident(unit="a.service")).answer is MatchAnswer.YES
    assert restart(host(), incident(unit="a.service")).text.endswith("cannot be judged: the host has no label role")
    found = {"path": "/x", "exists": True, "age_seconds": 7200, "unit": "store.service"}
    assert backup(host(), incident("file_age", **found)).answer is MatchAnswer.YES
    assert backup(host(), incident("file_age", **{**found, "age_seconds": 60})).text == (
        "finding.age_seconds > 3600 is false (finding.age_seconds is 60)"
    )
