"""What follows from a unit's own words, and from listeners, killable users and limits."""

import pytest

from fleetmend.catalogue import load_catalogue
from fleetmend_controller.playbooks.load import compile_rules
from fleetmend_controller.rules import RulesError

FULL = """\
declare: web
owner: shop
units:
  shop.service:
    restart: allowed
    health: {exec: check_shop}
    write_probe: "http://127.0.0.1:8080/write"
    dependency_probe: "http://127.0.0.1:8080/dep"
    config_test: test-shop
    memory_max: 200M
    instances: 1
    process: shopd
    user: shop
  store.service: {restart: clean-only, stateful: true, lock_file: /srv/store/LOCK, memory_max: 1G}
  worker.service:
    restart: allowed
    stateful: true
    heartbeat: {path: /run/shop/beat, max_age: 5s}
    bound_to: store.service
    reload: never
  keeper.service: {heartbeat: {path: /run/shop/keeper, max_age: 10m}}
  shop.socket: {restart: allowed}
  old.service: {desired: stopped}
listeners:
  - {address: "127.0.0.1:8080", unit: shop.service}
killable:
  - {user: batch, cpu_percent: 90, for: 2s}
limits: {pids_percent: 80, descriptors_percent: 75, sysv_semaphores_percent: 60}
"""
HOST_CHECKS = """\
checks:
  - {name: process-ids, type: pid_usage}
  - {name: sysv, type: semaphores}
  - {name: zombies, type: process_zombies}
"""


def compiled(text: str = FULL, **more: str):
    files = {"declarations/a.yaml": text, **{f"{name.replace('_', '/', 1)}.yaml": body for name, body in more.items()}}
    return compile_rules(files, load_catalogue())


def checks(text: str = FULL, **more: str):
    return {check.name: check for check in compiled(text, **more).checks_for({})}


def problem(text: str) -> str:
    with pytest.raises(RulesError) as caught:
        compiled(text)
    return str(caught.value)


def test_each_word_of_a_unit_becomes_its_check():
    found = checks()
    assert {name: check.type for name, check in found.items() if name.endswith(":shop.service")} == {
        "unit-active:shop.service": "unit_active",
        "health:shop.service": "nagios_plugin",
        "write:shop.service": "http_endpoint",
        "dependency:shop.service": "http_endpoint",
        "memory:shop.service": "unit_memory",
        "process:shop.service": "unit_process",
        "descriptors:shop.service": "unit_descriptors",
        "zombies:shop.service": "unit_zombies",
        "frozen:shop.service": "unit_frozen",
        "binary:shop.service": "unit_binary",
        "restarts:shop.service": "unit_restarts",
    }
    assert found["memory:shop.service"].params["limit"] == 200 << 20
    assert found["health:shop.service"].params["argv"] == ["check_shop"]
    assert found["process:shop.service"].params["process"] == "shopd"
    assert found["descriptors:shop.service"].params["crit_percent"] == 75


def test_probes_leave_the_unit_out_so_that_nothing_is_restarted_for_them():
    found = checks()
    assert [found[f"{word}:shop.service"].params["unit"] for word in ("write", "dependency")] == ["", ""]


def test_where_a_restart_is_not_the_answer_the_unit_is_only_reported():
    found = checks()
    only = {name: check.params["report_only"] for name, check in found.items() if "report_only" in check.params}
    assert [only[f"{word}:shop.service"] for word in ("memory", "descriptors", "zombies", "process", "binary")] == [False] * 5
    assert [only[f"{word}:store.service"] for word in ("memory", "descriptors", "zombies", "binary")] == [True] * 4
    assert (only["zombies:worker.service"], only["binary:worker.service"]) == (False, True)


def test_a_heartbeat_has_the_pace_of_its_age():
    found = checks()
    worker, keeper = found["heartbeat:worker.service"], found["heartbeat:keeper.service"]
    assert (worker.params["path"], worker.params["max_age"], worker.params["unit"]) == (
        "/run/shop/beat",
        5_000,
        "worker.service",
    )
    assert (worker.every_ms, worker.confirm_bad, keeper.every_ms, keeper.params["unit"]) == (5_000, 2, 30_000, "")


def test_sockets_and_stopped_units_have_no_processes_to_judge():
    names = [name for name in checks() if name.endswith((":shop.socket", ":old.service"))]
    assert names == ["unit-active:old.service", "unit-active:shop.socket"]


def test_executors_are_told_what_they_need_before_a_start():
    assert compiled().declaration_for({})["parts"] == {
        "units": {
            "shop.service": {"config_test": "test-shop", "process": "shopd", "user": "shop"},
            "store.service": {"lock_file": "/srv/store/LOCK"},
            "worker.service": {"bound_to": "store.service", "reload": "never"},
        },
        "listeners": [{"address": "127.0.0.1:8080", "unit": "shop.service"}],
        "killable": [{"user": "batch"}],
    }


def test_listeners_and_killable_users_become_checks():
    found = checks()
    assert found["listener:127.0.0.1:8080"].params["owner"] == "shop.service"
    runaway = found["runaway:batch"]
    assert (runaway.params["cpu_percent"], runaway.params["lasting"], runaway.every_ms) == (90, 2_000, 2_000)


def test_checks_on_strangers_know_the_units_of_every_declaration_on_the_host():
    other = "declare: db\nowner: data\nunits: {db.service: {}}\nkillable: [{user: night}]\n"
    found = checks(declarations_b=other, checks_host=HOST_CHECKS)
    assert {"db.service", "shop.service", "old.service"} <= set(found["runaway:batch"].params["declared_units"])
    assert found["pids:limit"].params["killable_users"] == ["batch", "night"]
    assert "db.service" in found["zombies"].params["declared_units"]


def test_who_may_listen_and_be_busy_is_told_from_every_declaration_on_the_host():
    other = """\
declare: db
owner: data
units: {db.service: {}}
jobs: {night.service: {heavy: true}, tidy.service: {}}
limits: {core_percent: 95}
listeners: [{address: "10.0.0.1:5432", unit: db.service}]
security: {undeclared_listeners: report, listeners_allowed: ["docker*"]}
"""
    found = checks(declarations_b=other)
    listens, busy = found["undeclared-listeners"].params, found["busy:processes"].params
    assert listens["declared_listeners"] == ["10.0.0.1:5432", "127.0.0.1:8080"]
    assert {"db.service", "shop.service"} <= set(listens["declared_units"])
    assert (listens["allowed_units"], found["undeclared-listeners"].confirm_bad) == (["docker*"], 2)
    assert (busy["heavy_units"], busy["killable_users"], busy["hold"]) == (["night.service"], ["batch"], 600_000)
    assert not {"undeclared-listeners", "busy:processes"} & set(checks())


def test_a_limit_of_ones_own_replaces_the_check_of_every_host():
    found = checks(checks_host=HOST_CHECKS)
    assert (found["pids:limit"].params["crit_percent"], found["semaphores:limit"].params["crit_percent"]) == (80, 60)
    assert not {"process-ids", "sysv"} & set(found)
    assert {"process-ids", "sysv"} <= set(checks("declare: a\nowner: b\n", checks_host=HOST_CHECKS))


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("shop.service: {desired: stopped, memory_max: 1G}", "no memory_max"),
        ("shop.service: {desired: stopped, heartbeat: {path: /a, max_age: 1s}}", "no heartbeat"),
        ("shop.service: {bound_to: other.service}", "another unit of this declaration"),
        ("shop.service: {bound_to: shop.service}", "another unit of this declaration"),
        ("shop.service: {memory_max: lots}", "size"),
        ("shop.service: {memory_max: 0}", "more than nothing"),
        ("shop.service: {lock_file: LOCK}", "absolute"),
        ("shop.service: {lock_file: /srv/../etc/x}", "parts"),
        ("shop.service: {instances: 0}", "instances"),
        ('shop.service: {health: {exec: "../x"}}', "exec"),
        ('shop.service: {user: "a b"}', "user"),
    ],
)
def test_what_means_nothing_is_an_error(line, word):
    assert word in problem(f"declare: a\nowner: b\nunits:\n  {line}\n")


@pytest.mark.parametrize("line", ["killable: [{user: root}]", 'killable: [{user: "0"}]', "killable: [{user: a, for: 0s}]"])
def test_root_is_never_killable(line):
    with pytest.raises(RulesError):
        compiled(f"declare: a\nowner: b\n{line}\n")


def test_the_journal_is_well_when_a_line_can_be_read_soon():
    text = "declare: a\nowner: o\nunits:\n  systemd-journald.service: {restart: allowed, health: {journal: 3s, every: 5s}}\n"
    check = checks(text)["health:systemd-journald.service"]
    assert (check.type, check.params["within"], check.params["unit"]) == ("journal_write", 3_000, "systemd-journald.service")
    assert check.timeout_ms > check.params["within"]
