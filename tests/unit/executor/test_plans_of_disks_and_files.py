"""What the actions on files, mounts, logs and packages plan, and what the host's rules make of hostile or undeclared wishes."""

from __future__ import annotations

import pytest

from fleetmend_executor.actions import Refused, validate
from fleetmend_executor.actions.clear_directory import ACTION as CLEAR_DIRECTORY
from fleetmend_executor.actions.configure_packages import ACTION as CONFIGURE
from fleetmend_executor.actions.hold_package import ACTION as HOLD
from fleetmend_executor.actions.mount_unit import ACTION as MOUNT
from fleetmend_executor.actions.reinstall_package import ACTION as REINSTALL
from fleetmend_executor.actions.remount_rw import ACTION as REMOUNT
from fleetmend_executor.actions.restore_file import ACTION as RESTORE
from fleetmend_executor.actions.rotate_log import ACTION as ROTATE
from fleetmend_executor.actions.set_ownership import ACTION as OWN
from fleetmend_executor.actions.set_package_version import ACTION as CHANGE
from fleetmend_executor.effects import Command, UnitGuard, UnitJob
from fleetmend_executor.hosting import Hosted
from fleetmend_executor.mounting import MountUnit
from tests.unit.executor.world import rules

GOLDEN = "/usr/share/golden"
UNITS = {
    "shop.service": {"restart": "allowed"},
    "store.service": {"restart": "clean-only"},
    "old.service": {"restart": "allowed", "desired": "stopped"},
    "srv-data.mount": {"restart": "never"},
    "srv-db.mount": {"restart": "never"},
}
PARTS = {
    "managed_files": {GOLDEN: {"modes": "same"}, "/srv/golden": {"modes": "any"}},
    "ownership": {
        "/srv/data/web": {"owner": "shop", "group": "shop", "mode": "0750", "kind": ""},
        "/etc/shop/tls/server.key": {"owner": "root", "group": "", "mode": "0600", "kind": "file"},
        "/srv/kept/x": {"owner": "root", "group": "", "mode": "", "kind": ""},
        "/etc/shadow": {"owner": "shop", "group": "", "mode": "", "kind": ""},
    },
    "mounts": {
        "/srv/data": {"unit": "srv-data.mount", "remount": "if-clean", "users": ["shop.service", "old.service"]},
        "/srv/db": {"unit": "srv-db.mount", "remount": "never", "users": ["store.service"]},
    },
    "live_logs": {"/var/log/shop.log": {"rotated_by": "rotate.service"}, "/var/log/x.log": {"rotated_by": "ssh.service"}},
    "killable": [{"user": "batch", "cpu_percent": 80}],
    "packages": {
        "configure": "allowed",
        "installed:shop-tool": {"version": "1.0", "hold": True, "reinstall": "allowed"},
        "installed:shop-lib": {"version": "", "hold": False, "reinstall": "allowed"},
        "installed:other": {"version": "2", "hold": False, "reinstall": "never"},
    },
}
RULES = rules(
    units=UNITS,
    parts=PARTS,
    disposable=["/srv/cache/**"],
    protected=["/etc/shop/tls/*.key", "/srv/secret/**", "vault.service"],
)


def plan(action, given=RULES, **params):
    return action.plan(validate(action, params), given)


def refusal(action, given=RULES, **params) -> str:
    with pytest.raises(Refused) as caught:
        plan(action, given, **params)
    assert str(caught.value).startswith("cannot ")
    return caught.value.reason


def test_a_managed_file_is_restored_from_its_declared_tree():
    (effect,) = plan(RESTORE, path="/etc/shop.conf", golden=GOLDEN)
    assert effect.verb == "restore_file"
    assert effect.arguments[:3] == (GOLDEN, "/etc/shop.conf", "same")
    assert "/srv/secret/**" in effect.arguments
    (effect,) = plan(RESTORE, path="/etc/shop.conf", golden="/srv/golden")
    assert effect.arguments[2] == "content"


@pytest.mark.parametrize("folder", ["/etc/systemd/system", "/usr/lib/systemd/system", "/etc/systemd/system/shop.service.d"])
def test_a_restored_unit_file_takes_a_daemon_reload_and_nothing_more(folder):
    _, reload = plan(RESTORE, path=f"{folder}/shop.service", golden=GOLDEN)
    assert isinstance(reload, Command)
    assert reload.argv[-1] == "daemon-reload"


def test_a_restored_network_file_is_read_again_by_networkd():
    _, reload = plan(RESTORE, path="/etc/systemd/network/10-eth0.network", golden=GOLDEN)
    assert (reload.argv, reload.hosted, reload.optional) == (("networkctl", "reload"), True, True)


@pytest.mark.parametrize(
    ("path", "golden", "reason"),
    [
        ("/etc/shop.conf", "/tmp/golden", "undeclared"),
        ("/etc/shop.conf", "", "undeclared"),
        (f"{GOLDEN}/etc/shop.conf", GOLDEN, "undeclared"),
        ("/etc/passwd", GOLDEN, "protected"),
        ("/etc/sudoers.d/shop", GOLDEN, "protected"),
        ("/etc/fleetmend/executor.yaml", GOLDEN, "protected"),
        ("/root/.ssh/authorized_keys", GOLDEN, "protected"),
        ("/srv/secret/x", GOLDEN, "protected"),
        ("/etc/shop/tls/server.key", GOLDEN, "protected"),
        ("/etc/../etc/shop.conf", GOLDEN, "bad_parameter"),
        ("etc/shop.conf", GOLDEN, "bad_parameter"),
        ("--help", GOLDEN, "bad_parameter"),
    ],
)
def test_what_may_not_be_restored(path, golden, reason):
    assert refusal(RESTORE, path=path, golden=golden) == reason


def test_the_owner_narrows_what_is_restored():
    narrow = rules("actions: {restore_file: {paths: [/etc/shop/**]}}", parts=PARTS)
    assert plan(RESTORE, narrow, path="/etc/shop/a.conf", golden=GOLDEN)
    assert refusal(RESTORE, narrow, path="/etc/hosts", golden=GOLDEN) == "not_permitted"


def test_an_owner_is_the_declarations_and_never_the_orders():
    assert plan(OWN, path="/srv/data/web") == (Hosted("set_ownership", ("/srv/data/web", "shop", "shop", "0750", "-")),)
    assert plan(OWN, path="/srv/data/web", recreate="directory")[0].arguments[-1] == "directory"
    assert refusal(OWN, path="/srv/data") == "undeclared"
    assert refusal(OWN, path="/srv/data/web", recreate="file") == "bad_parameter"


def test_a_key_whose_content_is_protected_may_have_a_declared_owner():
    assert plan(OWN, path="/etc/shop/tls/server.key")[0].arguments[1:4] == ("root", "-", "0600")
    assert refusal(OWN, path="/etc/shop/tls/server.key", recreate="directory") == "undeclared"


def test_what_the_hosts_owner_protects_keeps_its_owner():
    kept = rules("actions: {set_ownership: {}}\nprotected: [/srv/kept/**]", parts=PARTS)
    assert refusal(OWN, kept, path="/srv/kept/x") == "protected"
    assert refusal(OWN, path="/etc/shadow") == "protected"
    # What protects all below a folder says nothing about the folder itself.
    outer = rules("actions: {set_ownership: {}}\nprotected: [/srv/data/web/**]", parts=PARTS)
    assert plan(OWN, outer, path="/srv/data/web")


def test_only_a_mount_declared_so_is_mounted_writable():
    assert plan(REMOUNT, mount="/srv/data") == (Hosted("remount_rw", ("/srv/data",)),)
    assert refusal(REMOUNT, mount="/srv/db") == "undeclared"
    assert refusal(REMOUNT, mount="/") == "bad_parameter"
    assert refusal(REMOUNT, mount="/srv/other") == "undeclared"


def test_a_mount_comes_back_with_its_users_paused():
    *guards, effect = plan(MOUNT, unit="srv-data.mount")
    assert effect == MountUnit("srv-data.mount", "/srv/data", ("shop.service", "old.service"), ("shop.service",))
    assert [guard.unit for guard in guards] == ["srv-data.mount", "shop.service", "old.service"]
    assert all(isinstance(guard, UnitGuard) for guard in guards)


def test_a_mount_whose_users_may_not_be_stopped_is_a_persons():
    assert refusal(MOUNT, unit="srv-db.mount") == "clean_only"
    assert refusal(MOUNT, unit="shop.service") == "undeclared"
    assert refusal(MOUNT, unit="srv-other.mount") == "undeclared"


def test_a_log_is_rotated_by_its_declared_unit_alone():
    guard, job = plan(ROTATE, path="/var/log/shop.log")
    assert (guard.unit, job) == ("rotate.service", UnitJob("start", "rotate.service"))
    assert refusal(ROTATE, path="/var/log/other.log") == "undeclared"
    assert refusal(ROTATE, path="/var/log/x.log") == "not_permitted"


def test_packages_are_touched_as_declared():
    assert plan(CONFIGURE) == (Hosted("configure_packages", ("all",)),)
    assert plan(REINSTALL, package="shop-tool") == (Hosted("reinstall_package", ("shop-tool", "1.0")),)
    assert plan(CHANGE, package="shop-tool") == (Hosted("reinstall_package", ("shop-tool", "1.0", "over")),)
    assert plan(HOLD, package="shop-tool") == (Hosted("hold_package", ("shop-tool",)),)
    assert refusal(CONFIGURE, rules(parts={"packages": {}})) == "undeclared"
    assert refusal(REINSTALL, package="shop-lib") == "undeclared"
    assert refusal(REINSTALL, package="other") == "undeclared"
    assert refusal(REINSTALL, package="../x") == "bad_parameter"
    assert refusal(HOLD, package="other") == "undeclared"
    assert refusal(CHANGE, package="../x") == "bad_parameter"
    for name, rule in (
        ("free", {"version": "1.0", "hold": False, "reinstall": "allowed"}),
        ("any", {"version": "", "hold": True, "reinstall": "allowed"}),
        ("kept", {"version": "1.0", "hold": True, "reinstall": "never"}),
    ):
        declared = rules(parts={"packages": {f"installed:{name}": rule}})
        assert refusal(CHANGE, declared, package=name) == "undeclared"


@pytest.mark.parametrize("part", [None, [], "x", {"/srv/data": "x"}, {"configure": 1}])
@pytest.mark.parametrize(
    ("action", "params"),
    [
        (RESTORE, {"path": "/etc/shop.conf", "golden": "/srv/data"}),
        (OWN, {"path": "/srv/data"}),
        (REMOUNT, {"mount": "/srv/data"}),
        (ROTATE, {"path": "/srv/data"}),
        (CONFIGURE, {}),
        (REINSTALL, {"package": "shop-tool"}),
        (HOLD, {"package": "shop-tool"}),
        (CHANGE, {"package": "shop-tool"}),
    ],
)
def test_a_part_of_another_form_declares_nothing(action, params, part):
    names = ("managed_files", "ownership", "mounts", "live_logs", "packages")
    assert refusal(action, rules(parts=dict.fromkeys(names, part)), **params) == "undeclared"


def test_inodes_have_a_target_of_their_own():
    (effect,) = plan(CLEAR_DIRECTORY, path="/srv/cache", until_inodes_percent=70)
    assert effect.until_inodes_percent == 70
    assert refusal(CLEAR_DIRECTORY, path="/srv/cache", until_inodes_percent=100) == "bad_parameter"
