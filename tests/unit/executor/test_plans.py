"""What each action plans, and what the host's rules and hostile parameters make of it."""

from __future__ import annotations

import pytest

from fleetmend_executor.actions import Refused, validate
from fleetmend_executor.actions.clear_directory import ACTION as CLEAR_DIRECTORY
from fleetmend_executor.actions.clear_journal import ACTION as CLEAR_JOURNAL
from fleetmend_executor.actions.collect_evidence import ACTION as COLLECT_EVIDENCE
from fleetmend_executor.actions.kill_process import ACTION as KILL_PROCESS
from fleetmend_executor.actions.reload_unit import ACTION as RELOAD
from fleetmend_executor.actions.reset_failed_unit import ACTION as RESET_FAILED
from fleetmend_executor.actions.restart_unit import ACTION as RESTART
from fleetmend_executor.actions.run_command import ACTION as RUN_COMMAND
from fleetmend_executor.actions.start_unit import ACTION as START
from fleetmend_executor.actions.stop_unit import ACTION as STOP
from fleetmend_executor.effects import ClearFiles, Command, KillProcess, ReadEvidence, UnitGuard, UnitJob
from tests.unit.executor.world import rules

UNITS = {
    "shop.service": {"restart": "allowed"},
    "store.service": {"restart": "clean-only"},
    "ledger.service": {"restart": "never"},
    "old.service": {"restart": "allowed", "desired": "stopped"},
    "ssh.service": {"restart": "allowed"},
    "vault.service": {"restart": "allowed"},
}
RULES = rules(
    units=UNITS,
    disposable=["/var/log/shop/*.gz", "/srv/cache/**", "/etc/shop/**"],
    protected=["/srv/cache/keep/**", "vault.service"],
)


def plan(action, **params):
    return action.plan(validate(action, params), RULES)


def refusal(action, **params) -> str:
    with pytest.raises(Refused) as caught:
        plan(action, **params)
    assert str(caught.value).startswith("cannot ")
    return caught.value.reason


def test_restart_is_one_job_behind_a_guard():
    guard, job = plan(RESTART, unit="shop.service")
    assert guard == UnitGuard("shop.service", RULES.forbidden_units("restart_unit"), must_be_dead=False)
    assert job == UnitJob("restart", "shop.service")


def test_a_clean_only_unit_is_started_when_dead_and_never_stopped_or_killed():
    guard, job = plan(RESTART, unit="store.service")
    assert (guard.must_be_dead, job) == (True, UnitJob("start", "store.service"))
    assert refusal(STOP, unit="store.service") == "clean_only"
    assert refusal(KILL_PROCESS, unit="store.service") == "clean_only"
    assert "store.service" not in plan(KILL_PROCESS, pid=42, start_ticks=7, name="store")[0].killable


@pytest.mark.parametrize("action", [RESTART, STOP, KILL_PROCESS])
def test_restart_never_forbids_what_interrupts(action):
    assert refusal(action, unit="ledger.service") == "restart_never"


def test_restart_never_still_allows_a_start_and_a_reload():
    assert plan(START, unit="ledger.service")[1] == UnitJob("start", "ledger.service")
    assert plan(RELOAD, unit="ledger.service")[1] == UnitJob("reload", "ledger.service")


def test_what_is_declared_stopped_is_not_started():
    assert refusal(START, unit="old.service") == "desired_stopped"
    assert refusal(RESTART, unit="old.service") == "desired_stopped"


def test_what_the_system_stands_on_is_protected_file_by_file_too():
    careless = rules(disposable=["/var/**"])
    (effect,) = CLEAR_DIRECTORY.plan(validate(CLEAR_DIRECTORY, {"path": "/var/lib"}), careless)
    assert {"/var/lib/dpkg", "/var/lib/fleetmend-executor", "/etc"} <= set(effect.protected)


def test_the_owner_may_keep_a_units_journal_to_themselves():
    private = rules("actions: {collect_evidence: {except: [vault.service]}}")
    with pytest.raises(Refused, match="excludes it"):
        COLLECT_EVIDENCE.plan(validate(COLLECT_EVIDENCE, {"unit": "vault.service"}), private)


@pytest.mark.parametrize("action", [RESTART, START, STOP, RELOAD, RESET_FAILED, KILL_PROCESS])
def test_undeclared_excluded_and_protected_units_are_refused(action):
    assert refusal(action, unit="other.service") == "undeclared"
    assert refusal(action, unit="ssh.service") == "not_permitted"
    assert refusal(action, unit="vault.service") == "protected"
    assert refusal(action, unit="fleetmend-executor.service") == "protected"
    assert refusal(action, unit="dbus.service") == "protected"


def test_an_owner_may_allow_undeclared_units_but_their_processes_stay():
    generous = rules("undeclared: allow\nactions: {restart_unit: {}, kill_process: {}}")
    assert RESTART.plan({"unit": "any.service"}, generous)[1] == UnitJob("restart", "any.service")
    with pytest.raises(Refused, match="no declaration"):
        KILL_PROCESS.plan(validate(KILL_PROCESS, {"unit": "any.service"}), generous)


HOSTILE_UNITS = [
    "",
    " ",
    "shop",
    "shop.service ",
    "shop.service\n",
    "-H.service",
    "--host=evil.service",
    "*.service",
    "sh[o]p.service",
    "shop.service;reboot",
    "shop.service other.service",
    "../../etc/passwd.service",
    "/etc/systemd/system/shop.service",
    "multi-user.target",
    "user.slice",
    "session-1.scope",
    "dev-sda.device",
    "shop@.service",
    "shöp.service",
    "shop\x00.service",
    "$(reboot).service",
    "a" * 300 + ".service",
]


@pytest.mark.parametrize("unit", HOSTILE_UNITS)
@pytest.mark.parametrize("action", [RESTART, START, STOP, RELOAD, RESET_FAILED])
def test_hostile_unit_names_are_refused(action, unit):
    assert refusal(action, unit=unit) == "bad_parameter"


@pytest.mark.parametrize("unit", HOSTILE_UNITS[1:])
def test_hostile_unit_names_are_refused_as_evidence_and_for_killing(unit):
    assert refusal(COLLECT_EVIDENCE, unit=unit) == "bad_parameter"
    assert refusal(KILL_PROCESS, unit=unit) == "bad_parameter"


@pytest.mark.parametrize("unit", ["shop@web-1.service", r"srv-my\x2ddata.mount", "a:b_c.socket", "x@1.2.timer"])
def test_unusual_but_true_unit_names_pass(unit):
    own = rules(units={unit: {}})
    assert RESTART.plan({"unit": unit}, own)[-1] == UnitJob("restart", unit)


@pytest.mark.parametrize(
    "params",
    [{}, {"unit": 7}, {"unit": ["shop.service"]}, {"unit": None}, {"unit": "shop.service", "force": True}, {"unit": True}],
)
def test_parameters_of_a_wrong_kind_or_name_are_refused(params):
    assert refusal(RESTART, **params) == "bad_parameter"


def test_kill_by_pid_needs_all_three_marks_of_the_process():
    (effect,) = plan(KILL_PROCESS, pid=42, start_ticks=7, name="shop", grace_ms=500)
    assert effect == KillProcess(("shop.service", "old.service"), "", 42, 7, "shop", 0.5)
    for params in (
        {},
        {"pid": 42},
        {"pid": 42, "start_ticks": 7},
        {"pid": 42, "name": "shop"},
        {"pid": 1, "start_ticks": 7, "name": "systemd"},
        {"pid": 0, "start_ticks": 7, "name": "x"},
        {"pid": -1, "start_ticks": 7, "name": "x"},
        {"pid": "42", "start_ticks": 7, "name": "x"},
        {"pid": True, "start_ticks": 7, "name": "x"},
        {"pid": 42, "start_ticks": 7, "name": "x", "unit": "shop.service"},
        {"unit": "shop.service", "grace_ms": 10**9},
    ):
        assert refusal(KILL_PROCESS, **params) == "bad_parameter", params


def test_clearing_names_its_patterns_and_the_rules_for_each_file():
    (effect,) = plan(CLEAR_DIRECTORY, path="/srv/cache/images", min_age_ms=60_000, free_bytes=10)
    assert effect.patterns == ("/srv/cache/images", "/srv/cache/images/**")
    assert (effect.disposable, effect.min_age_s, effect.free_bytes) == (RULES.declaration.disposable, 60, 10)
    assert "/srv/cache/keep/**" in effect.protected
    assert plan(CLEAR_DIRECTORY, path="/var/log/shop/*.gz")[0].patterns == ("/var/log/shop/*.gz",)


def test_clearing_a_mount_takes_what_is_disposable_on_it():
    (effect,) = plan(CLEAR_DIRECTORY, mount="/srv", until_used_percent=75)
    assert isinstance(effect, ClearFiles)
    assert (effect.patterns, effect.mount, effect.until_used_percent) == (("/srv/cache/**",), "/srv", 75)
    assert plan(CLEAR_DIRECTORY, mount="/")[0].patterns == ("/var/log/shop/*.gz", "/srv/cache/**"), (
        "never /etc, whatever is declared"
    )
    assert refusal(CLEAR_DIRECTORY, mount="/home") == "undeclared"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/", "bad_parameter"),
        ("/**", "protected"),
        ("/*", "protected"),
        ("/srv", "undeclared"),
        ("/srv/*", "undeclared"),
        ("/srv/cache/../data", "bad_parameter"),
        ("/srv/cache/./x", "bad_parameter"),
        ("/srv//cache", "bad_parameter"),
        ("/srv/cache/", "bad_parameter"),
        ("srv/cache", "bad_parameter"),
        ("~/cache", "bad_parameter"),
        ("/srv/cache\n", "bad_parameter"),
        ("/srv/cache/a**", "bad_parameter"),
        ("/srv/cache/keep", "protected"),
        ("/srv/cache/keep/deep/er", "protected"),
        ("/srv/cachesomething", "undeclared"),
        ("/etc/shop", "protected"),
        ("/etc/shop/*", "protected"),
        ("/usr/share", "protected"),
        ("/var/log", "undeclared"),
        ("/proc/1", "protected"),
        ("/var/lib/fleetmend-executor/x", "protected"),
    ],
)
def test_hostile_or_undeclared_paths_are_not_cleared(path, reason):
    assert refusal(CLEAR_DIRECTORY, path=path) == reason


def test_the_folder_of_a_disposable_pattern_may_be_named_and_each_file_is_matched_again():
    assert plan(CLEAR_DIRECTORY, path="/var/log/shop")[0].disposable == RULES.declaration.disposable


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"path": "/srv/cache", "mount": "/srv"},
        {"path": "/srv/cache", "files_max": 0},
        {"path": "/srv/cache", "files_max": 10**9},
        {"path": "/srv/cache", "until_used_percent": 100},
        {"path": "/srv/cache", "min_age_ms": -1},
        {"path": "/srv/cache", "free_bytes": 1.5},
    ],
)
def test_clearing_without_bounds_that_make_sense_is_refused(params):
    assert refusal(CLEAR_DIRECTORY, **params) == "bad_parameter"


def test_the_owner_may_narrow_what_is_cleared():
    narrow = rules(
        'actions: {clear_directory: {paths: ["/srv/cache/images/**"]}}\nprotected: ["/srv/cache/images/logo"]',
        disposable=["/srv/cache/**"],
    )
    (effect,) = CLEAR_DIRECTORY.plan(validate(CLEAR_DIRECTORY, {"path": "/srv/cache/images"}), narrow)
    assert "/srv/cache/images/logo" in effect.protected
    with pytest.raises(Refused, match="policy file"):
        CLEAR_DIRECTORY.plan(validate(CLEAR_DIRECTORY, {"path": "/srv/cache/other"}), narrow)


def test_the_journal_keeps_what_explains_the_fault():
    (by_size,) = plan(CLEAR_JOURNAL, keep_bytes=64 << 20)
    assert by_size == Command(("journalctl", "--rotate", f"--vacuum-size={64 << 20}"))
    (by_age,) = plan(CLEAR_JOURNAL, keep_ms=7_200_000)
    assert by_age.argv == ("journalctl", "--rotate", "--vacuum-time=7200s")
    for params in ({}, {"keep_bytes": 1}, {"keep_ms": 1000}, {"keep_bytes": -5}, {"keep_bytes": "64M"}):
        assert refusal(CLEAR_JOURNAL, **params) == "bad_parameter", params


def test_resetting_is_one_command_with_the_unit_after_the_dashes():
    assert plan(RESET_FAILED, unit="shop.service")[1].argv == (
        "systemctl",
        "--no-ask-password",
        "reset-failed",
        "--",
        "shop.service",
    )


def test_evidence_reads_only_and_bounds_every_tool():
    effects = plan(COLLECT_EVIDENCE, unit="other.service", lines=20)
    assert all(isinstance(e, Command | ReadEvidence) for e in effects)
    commands = [e for e in effects if isinstance(e, Command)]
    assert all(e.optional and e.timeout_s is not None and e.timeout_s <= 5 for e in commands)
    assert ("journalctl", "--no-pager", "--quiet", "--output=short-iso", "--lines=20", "--unit=other.service") in [
        e.argv for e in commands
    ]
    assert refusal(COLLECT_EVIDENCE, lines=0) == "bad_parameter"
    assert refusal(COLLECT_EVIDENCE, lines=10_000) == "bad_parameter"


def test_a_command_is_the_owners_word_for_word():
    own = rules(
        "actions: {run_command: {commands: [a]}}\ncommands: {a: {argv: [/bin/a, -x], timeout: 2m}, b: {argv: [/bin/b]}, \
h: {argv: [/bin/h], hosted: true}}"
    )
    assert RUN_COMMAND.plan({"command": "a"}, own) == (Command(("/bin/a", "-x"), 120.0, 16 * 1024),)
    for name in ("b", "c", "/bin/sh", "a -x", ""):
        with pytest.raises(Refused, match="does not offer"):
            RUN_COMMAND.plan({"command": name}, own)
