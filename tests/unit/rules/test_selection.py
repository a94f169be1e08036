"""Which host gets which checks, what may be touched there, and that the same documents always say the same."""

import hashlib
import json
import os
import subprocess
import sys

import pytest

from fleetmend_controller.rules import Selector

from .samples import CHECKS, DECLARATION, FIXTURES, PLAYBOOK, problems, rules

PLACED = """\
checks:
  - {name: everywhere, type: cpu_load}
  - {name: web-or-db, type: cpu_load, on: {role: [web, db]}}
  - {name: web-in-a, type: cpu_load, on: {role: web, site: a}}
"""


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({}, ["everywhere"]),
        ({"role": "web"}, ["everywhere", "web-or-db"]),
        ({"role": "db", "site": "a"}, ["everywhere", "web-or-db"]),
        ({"role": "web", "site": "a"}, ["everywhere", "web-in-a", "web-or-db"]),
        ({"role": "webby", "site": "a"}, ["everywhere"]),
    ],
)
def test_every_label_named_must_have_one_of_its_values(labels, names):
    assert [check.name for check in rules(checks=PLACED).checks_for(labels)] == names


def test_selectors_overlap_unless_a_label_keeps_them_apart():
    web, db = Selector((("role", ("web",)),)), Selector((("role", ("db", "web2")),))
    site = Selector((("site", ("a",)),))
    assert web.may_overlap(site)
    assert web.may_overlap(Selector())
    assert not web.may_overlap(db)
    assert not db.may_overlap(web)


def test_parameters_are_normalised_and_defaults_filled_in():
    text = """\
checks:
  - name: a
    type: filesystem_space
    with: {mount: /srv, warn_percent: 80, enough_free: 10G}
    every: 1m
    timeout: 1500ms
    confirm: {bad: 2, good: 3}
"""
    (check,) = rules(checks=text).checks_for({})
    assert check.params == {
        "mount": "/srv", "warn_percent": 80.0, "crit_percent": 92.0, "enough_free": 10 * 1024**3, "ignore": [], "unit": "",
        "disposable": "unknown",
    }  # fmt: skip
    assert (check.every_ms, check.timeout_ms, check.confirm_bad, check.confirm_good) == (60_000, 1_500, 2, 3)


def test_pace_and_patience_default_to_the_check_types():
    (check,) = rules(checks=CHECKS).checks_for({})
    assert (check.every_ms, check.timeout_ms, check.confirm_bad, check.confirm_good) == (60_000, 10_000, 1, 1)


def test_what_may_be_touched_follows_the_labels():
    made = rules(
        declarations=DECLARATION + 'disposable: ["/srv/cache/**"]\nprotected: ["/srv/cache/keep/**", "sshd.service"]\n'
    )
    assert made.declaration_for({"role": "web"}) == {
        "units": {"shop.service": {"desired": "running", "restart": "allowed"}},
        "disposable": ["/srv/cache/**"],
        "protected": ["/srv/cache/keep/**", "sshd.service"],
        "parts": {},
    }
    assert made.declaration_for({"role": "db"}) == {"units": {}, "disposable": [], "protected": [], "parts": {}}


def test_two_declarations_on_one_host_are_put_together():
    base = 'declare: base\nowner: platform\nunits:\n  cron.service: {restart: clean-only}\nprotected: ["/srv/**"]\n'
    made = rules(declarations=DECLARATION + 'disposable: ["/srv/cache/**"]\n', declarations_2=base)
    declared = made.declaration_for({"role": "web"})
    assert declared["units"] == {
        "cron.service": {"desired": "running", "restart": "clean-only"},
        "shop.service": {"desired": "running", "restart": "allowed"},
    }
    assert (declared["disposable"], declared["protected"]) == (["/srv/cache/**"], ["/srv/**"])
    names = [check.name for check in made.checks_for({"role": "web"})]
    assert [name for name in names if name.startswith("unit-active:")] == [
        "unit-active:cron.service",
        "unit-active:shop.service",
    ]


def test_the_owner_is_the_units_else_the_hosts():
    made = rules(declarations=DECLARATION, declarations_2="declare: base\nowner: platform\nunits: {cron.service: {}}\n")
    assert made.owner_for({"role": "web"}, "shop.service") == "shop"
    assert made.owner_for({"role": "web"}, "cron.service") == "platform"
    assert made.owner_for({"role": "db"}, "shop.service") == "platform"
    assert rules(checks=CHECKS).owner_for({}) == ""


def test_declarations_that_disagree_and_may_meet_are_refused_naming_both():
    other = "declare: shops\non: {site: a}\nowner: shop\nunits:\n  shop.service: {restart: never}\n"
    said = problems(declarations=DECLARATION, declarations_2=other)
    assert len(said) == 1
    assert said[0].startswith(
        "declarations/declarations_2.yaml:5:3: cannot declare shop.service here: "
        "declaration web (declarations/declarations.yaml) says otherwise about restart; one host may be selected by both"
    )


def test_declarations_that_disagree_but_never_meet_stand():
    other = "declare: shops\non: {role: shop}\nowner: shop\nunits:\n  shop.service: {restart: never}\n"
    made = rules(declarations=DECLARATION, declarations_2=other)
    assert made.declaration_for({"role": "shop"})["units"]["shop.service"]["restart"] == "never"
    assert made.declaration_for({"role": "web"})["units"]["shop.service"]["restart"] == "allowed"


def test_declarations_that_agree_may_meet():
    assert problems(declarations=DECLARATION, declarations_2=DECLARATION.replace("declare: web", "declare: twin")) == []


def test_limits_that_disagree_are_refused_naming_both():
    space = "declare: {}\nowner: a\nspace: {{heal_above_percent: {}, target_percent: 50}}\n"
    said = problems(declarations=space.format("one", 80), declarations_2=space.format("two", 90))
    assert len(said) == 1
    assert "cannot derive filesystem-space:all here: declaration one (declarations/declarations.yaml)" in said[0]


def test_the_digest_names_the_documents_by_content():
    made = rules(checks=CHECKS, playbooks=PLAYBOOK)
    documents = {"checks/checks.yaml": CHECKS, "playbooks/playbooks.yaml": PLAYBOOK}
    canonical = json.dumps(documents, sort_keys=True, separators=(",", ":"))
    assert made.digest == made.policy.digest == hashlib.sha256(canonical.encode()).hexdigest()
    assert made.documents == documents
    assert rules(checks=CHECKS + "\n", playbooks=PLAYBOOK).digest != made.digest


def test_hash_seeds_change_nothing():
    script = (
        "import json; from pathlib import Path; from fleetmend.catalogue import load_catalogue\n"
        "from fleetmend_controller.playbooks.load import compile_rules, read_documents\n"
        f"fixtures = Path({str(FIXTURES)!r})\n"
        "known = load_catalogue()\n"
        "made = compile_rules(read_documents([fixtures / 'good']), known)\n"
        "labels = {'site': 'a', 'role': 'web', 'rack': '12'}\n"
        "print(made.digest, made.checks_for(labels), json.dumps(made.declaration_for(labels)))\n"
        "print(made.policy.playbooks, made.warnings, made.check_types)"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(said) == 1
    assert said.pop().strip()


def test_what_is_worked_out_for_labels_is_worked_out_once_and_bounded():
    made = rules(checks=CHECKS, declarations=DECLARATION)
    assert made.checks_for({"a": "1", "b": "2"}) is made.checks_for({"b": "2", "a": "1"})
    for number in range(5_000):
        made.checks_for({"serial": str(number)})
    assert len(made._checks_of) <= 4096
