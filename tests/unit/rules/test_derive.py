"""What follows from a declaration."""

from .samples import PLAYBOOK, rules

FULL = """\
declare: web
on: {role: web}
owner: shop
units:
  shop.service: {restart: allowed, health: "http://127.0.0.1:8080/healthz"}
  pay.service:
    restart: allowed
    health:
      url: "https://127.0.0.1:8443/"
      expect_status: "200"
      expect_text: ready
      every: 1s
      timeout: 500ms
      confirm: {bad: 1, good: 1}
  store.service: {restart: clean-only, health: {tcp: "127.0.0.1:5433", send: "PING\\n", expect: PONG}}
  old.service: {desired: stopped}
mounts:
  /srv/data: {unit: srv-data.mount, options: rw}
  /srv/images: {options: ro}
space: {heal_above_percent: 90, target_percent: 75}
inodes: {heal_above_percent: 80, target_percent: 60}
"""
EVERY_MOUNT = """\
checks:
  - {name: disk-space, type: filesystem_space, with: {mount: "*", ignore: [/mnt/*]}}
  - {name: disk-readonly, type: filesystem_readonly}
"""


def derived(text: str = FULL, checks: str | None = None):
    made = rules(declarations=text, **({"checks": checks} if checks else {}))
    return {check.name: check for check in made.checks_for({"role": "web"})}


def test_every_unit_health_mount_and_limit_becomes_a_check():
    assert {name: check.type for name, check in derived().items()} == {
        "unit-active:shop.service": "unit_active",
        "unit-active:pay.service": "unit_active",
        "unit-active:store.service": "unit_active",
        "unit-active:old.service": "unit_active",
        "unit-active:srv-data.mount": "unit_active",
        "health:shop.service": "http_endpoint",
        "health:pay.service": "http_endpoint",
        "health:store.service": "tcp_port",
        "filesystem-readonly:/srv/data": "filesystem_readonly",
        "mount-missing:/srv/data": "mount_missing",
        "mount-missing:/srv/images": "mount_missing",
        "filesystem-fill:/srv/data": "filesystem_fill",
        "filesystem-fill:/srv/images": "filesystem_fill",
        "filesystem-space:/srv/data": "filesystem_space",
        "filesystem-space:/srv/images": "filesystem_space",
        "filesystem-inodes:/srv/data": "filesystem_inodes",
        "filesystem-inodes:/srv/images": "filesystem_inodes",
        **{
            f"{word}:{unit}.service": f"unit_{word}"
            for unit in ("shop", "pay", "store")
            for word in ("descriptors", "zombies", "frozen", "binary", "restarts")
        },
    }


def test_units_are_watched_for_what_is_desired():
    checks = derived()
    assert checks["unit-active:shop.service"].params["desired"] == "running"
    assert checks["unit-active:old.service"].params["desired"] == "stopped"
    assert checks["unit-active:shop.service"].every_ms == 30_000


def test_health_has_a_sensible_pace_and_the_one_that_is_written():
    checks = derived()
    shop, pay, store = checks["health:shop.service"], checks["health:pay.service"], checks["health:store.service"]
    assert (shop.params["url"], shop.params["unit"], shop.params["expect_status"]) == (
        "http://127.0.0.1:8080/healthz",
        "shop.service",
        "200-399",
    )
    assert (shop.every_ms, shop.timeout_ms, shop.confirm_bad, shop.confirm_good) == (5_000, 2_000, 2, 1)
    assert (pay.every_ms, pay.timeout_ms, pay.confirm_bad, pay.confirm_good) == (1_000, 500, 1, 1)
    assert (pay.params["expect_status"], pay.params["expect_text"]) == ("200", "ready")
    assert (store.params["address"], store.params["send"], store.params["expect"]) == ("127.0.0.1:5433", "PING\n", "PONG")


def test_a_filesystem_is_well_again_only_at_its_target():
    space = derived()["filesystem-space:/srv/data"]
    assert (space.params["mount"], space.params["warn_percent"], space.params["crit_percent"]) == ("/srv/data", 75.0, 90.0)
    assert derived()["filesystem-inodes:/srv/data"].params["crit_percent"] == 80.0


def test_space_without_mounts_is_about_every_local_filesystem():
    checks = derived("declare: all\nowner: a\nspace: {heal_above_percent: 90, target_percent: 75}\n")
    assert checks["filesystem-space:all"].params["mount"] == "*"


def test_a_check_of_every_mount_leaves_out_those_with_their_own():
    checks = derived(checks=EVERY_MOUNT)
    assert checks["disk-space"].params["ignore"] == ["/mnt/*", "/srv/data", "/srv/images"]
    assert checks["disk-readonly"].params["ignore"] == ["/srv/data"]


def test_a_check_of_every_mount_gives_way_to_a_declaration_of_every_mount():
    text = "declare: all\non: {role: web}\nowner: a\nspace: {heal_above_percent: 90, target_percent: 75}\n"
    assert sorted(derived(text, EVERY_MOUNT)) == ["disk-readonly", "filesystem-space:all"]
    made = rules(declarations=text, checks=EVERY_MOUNT)
    assert [check.name for check in made.checks_for({"role": "db"})] == ["disk-readonly", "disk-space"]


def test_a_mount_name_with_a_wildcard_leaves_out_only_itself():
    text = EVERY_MOUNT + '  - {name: odd, type: filesystem_space, with: {mount: "/srv/[x]"}}\n'
    made = rules(checks=text)
    (space,) = [check for check in made.checks_for({}) if check.name == "disk-space"]
    assert space.params["ignore"] == ["/mnt/*", "/srv/[[]x]"]


def test_playbooks_may_name_a_derived_check():
    playbook = PLAYBOOK.replace("check: unit_failed", "check: 'health:shop.service'")
    made = rules(declarations=FULL, playbooks=playbook)
    assert made.policy.playbooks[0].check == "health:shop.service"
    assert made.check_types["health:shop.service"] == "http_endpoint"
