"""What declarations of mounts, files, logs and packages derive, and what hosts are told of them."""

from __future__ import annotations

import pytest

from fleetmend_controller.playbooks.load import compile_rules
from fleetmend_controller.rules import RulesError

HEAD = "declare: web\nowner: shop\n"
BASE = """\
checks:
  - {name: package-state, type: package_state}
  - {name: accounts-uid0, type: accounts_uid0}
  - {name: setuid-files, type: setuid_files}
  - {name: mounts, type: mount_missing}
"""


def made(text: str, checks: str = BASE):
    return compile_rules({"declarations/web.yaml": HEAD + text, "checks/base.yaml": checks})


def checks(text: str) -> dict[str, dict]:
    return {check.name: check.params for check in made(text).checks_for({})}


def told(text: str) -> dict:
    return made(text).declaration_for({})["parts"]


def refused(text: str) -> str:
    with pytest.raises(RulesError) as caught:
        made(text)
    return str(caught.value)


def test_a_mount_says_where_it_comes_from_and_who_uses_it():
    text = (
        "mounts:\n  /srv/data: {unit: srv-data.mount, source: /dev/sdb1, fstype: ext4, remount: if-clean, users: [a.service]}\n"
    )
    found = checks(text)
    assert found["mount-missing:/srv/data"] == {
        "mount": "/srv/data", "unit": "srv-data.mount", "source": "/dev/sdb1", "fstype": "ext4", "users": ["a.service"],
        "ignore": [],
    }  # fmt: skip
    assert found["filesystem-readonly:/srv/data"]["remount"] == "if-clean"
    assert found["mounts"]["ignore"] == ["/srv/data"]
    assert told(text)["mounts"] == {"/srv/data": {"unit": "srv-data.mount", "remount": "if-clean", "users": ["a.service"]}}


def test_the_unit_of_a_mount_is_declared_with_it_and_never_restarted():
    units = made("mounts: {/srv/data: {unit: srv-data.mount}}\n").declaration_for({})["units"]
    assert units == {"srv-data.mount": {"desired": "running", "restart": "never"}}
    own = "units: {srv-data.mount: {restart: allowed}}\nmounts: {/srv/data: {unit: srv-data.mount}}\n"
    assert made(own).declaration_for({})["units"]["srv-data.mount"]["restart"] == "allowed"


@pytest.mark.parametrize(
    ("disposable", "mount", "says"),
    [
        ("/srv/data/cache/**", "/srv/data", "yes"),
        ("/srv/data/deep/x/*", "/srv/data", "no"),
        ("/srv/data/deep/x/*", "/srv/data/deep", "yes"),
        ("/var/cache/**", "/srv/data", "no"),
    ],
)
def test_a_check_of_space_knows_whether_anything_may_go(disposable, mount, says):
    text = "mounts: {/srv/data: {}, /srv/data/deep: {}}\nspace: {heal_above_percent: 90, target_percent: 75}\n"
    text += f'disposable: ["{disposable}"]\n'
    assert checks(text)[f"filesystem-space:{mount}"]["disposable"] == says


def test_one_or_several_golden_trees():
    assert told("managed_files: {golden: /usr/share/g/}\n")["managed_files"] == {"/usr/share/g": {"modes": "same"}}
    text = "managed_files: {golden: [/usr/share/a, /usr/share/b], modes: any}\n"
    assert {name: params for name, params in checks(text).items() if name.startswith("managed")} == {
        "managed-file:/usr/share/a": {"golden": "/usr/share/a", "modes": "any"},
        "managed-file:/usr/share/b": {"golden": "/usr/share/b", "modes": "any"},
    }


def test_owners_logs_and_spools():
    text = 'ownership: {/srv/x: {owner: shop, mode: "0750"}}\nlive_logs: {/var/log/a: {max_size: 10M, rotated_by: r.service}}\n'
    text += "spools: {/var/spool/in: {max_age: 5s, consumer: w.service}}\n"
    found = checks(text)
    nowhere = {"mount": "", "source": "", "fstype": ""}
    assert found["file-mode:/srv/x"] == {"path": "/srv/x", "owner": "shop", "group": "", "mode": "0750", "kind": "", **nowhere}
    assert found["log-size:/var/log/a"] == {"path": "/var/log/a", "max_size": 10 << 20, "rotated_by": "r.service"}
    assert found["spool-age:/var/spool/in"] == {"path": "/var/spool/in", "max_age": 5000, "consumer": "w.service"}
    assert told(text) == {
        "ownership": {"/srv/x": {"owner": "shop", "group": "", "mode": "0750", "kind": ""}},
        "live_logs": {"/var/log/a": {"rotated_by": "r.service"}},
    }


def test_an_owner_is_judged_only_on_the_declared_mount():
    text = 'ownership: {/srv/x/web: {mode: "0750"}, /srv/x: {mode: "0755"}, /srv/xy: {mode: "0755"}}\n'
    text += "mounts: {/srv: {}, /srv/x: {source: /dev/sdb1, fstype: ext4}}\n"
    found = checks(text)
    assert {path: found[f"file-mode:{path}"]["mount"] for path in ("/srv/x/web", "/srv/x", "/srv/xy")} == {
        "/srv/x/web": "/srv/x",
        "/srv/x": "/srv",
        "/srv/xy": "/srv",
    }
    assert (found["file-mode:/srv/x/web"]["source"], found["file-mode:/srv/x/web"]["fstype"]) == ("/dev/sdb1", "ext4")


def test_what_is_declared_of_every_server_takes_the_place_of_its_check():
    text = 'packages: {configure: allowed, installed: {shop-tool: {version: "1.0", hold: true, reinstall: allowed}}}\n'
    text += "accounts: {uid0: [root, toor]}\nsecurity: {setuid_allowed: [/opt/x/helper]}\n"
    found = checks(text)
    assert found["package-state"] == {"configure": "allowed"}
    assert found["accounts-uid0"]["allowed"] == ["root", "toor"]
    assert found["setuid-files"] == {"allowed": ["/opt/x/helper"]}
    assert found["package-files:shop-tool"]["version"] == "1.0"
    assert told(text)["packages"] == {
        "configure": "allowed",
        "installed:shop-tool": {"version": "1.0", "hold": True, "reinstall": "allowed"},
    }
    assert checks("")["package-state"] == {"configure": ""}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ownership: {/srv/x: {}}\n", "it says nothing"),
        ('ownership: {/srv/x: {mode: "0999"}}\n', "mode"),
        ("ownership: {/srv/x: {mode: 750}}\n", "mode"),
        ("ownership: {srv/x: {owner: a}}\n", "absolute"),
        ("managed_files: {golden: []}\n", "golden"),
        ("live_logs: {/var/log/a: {max_size: 0}}\n", "max_size"),
        ("spools: {/var/spool/in: {max_age: 0s}}\n", "longer than 0s"),
        ("packages: {installed: {Shop_Tool: {}}}\n", "Shop_Tool"),
        ("packages: {reinstall: allowed}\n", "reinstall"),
        ("accounts: {uid0: []}\n", "uid0"),
        ("mounts: {/srv/data: {remount: always}}\n", "remount"),
    ],
)
def test_what_cannot_be_meant_is_refused(text, words):
    assert words in refused(text)


def test_two_declarations_of_one_host_must_agree():
    other = "declare: other\nowner: shop\nownership: {/srv/x: {owner: root}}\n"
    with pytest.raises(RulesError, match="says otherwise"):
        compile_rules({"declarations/a.yaml": HEAD + "ownership: {/srv/x: {owner: shop}}\n", "declarations/b.yaml": other})
