"""The sections about the host itself: what they derive, what executors are told, and what cannot be declared."""

from __future__ import annotations

import pytest

from fleetmend_controller.playbooks.load import compile_rules
from fleetmend_controller.rules import RulesError

HEAD = "declare: web\nowner: shop\n"
NETWORK = "network:\n  interfaces: {eth0: {address: 192.0.2.7/24, gateway: 192.0.2.1}}\n"
JOB = "jobs: {backup.service: {run_once: allowed, max_runtime: 10s, result: {path: /a, max_age: 15s}, timer: backup.timer}}\n"


def rules(text: str):
    return compile_rules({"declarations/web.yaml": HEAD + text})


def checks(text: str) -> dict[str, str]:
    return {check.name: check.type for check in rules(text).checks_for({})}


def told(text: str):
    return rules(text).declaration_for({})


def refused(text: str) -> str:
    with pytest.raises(RulesError) as caught:
        rules(text)
    return str(caught.value)


def test_a_bare_interface_is_only_watched():
    assert checks(NETWORK) == {"link-up:eth0": "link_up"}
    part = told(NETWORK)["parts"]["network"]
    assert part["interfaces"] == {"eth0": {"mtu": 0, "addresses": ["192.0.2.7/24"], "gateway": "192.0.2.1"}}
    assert (part["remove_undeclared"], part["extra_routes"]) == ("never", "any")


def test_what_else_may_be_there_is_watched_only_if_it_is_declared():
    text = NETWORK + "  extra_routes: none\n  extra_rules: none\n  qdisc: default\n"
    assert set(checks(text).values()) == {"link_up", "route_extra", "rule_extra", "qdisc_extra", "neighbour_extra"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("network: {interfaces: {}}", "interfaces"),
        ("network: {interfaces: {eth0: {address: 192.0.2.7}}}", "prefix length"),
        ("network: {interfaces: {eth0: {address: [300.0.2.7/24]}}}", "prefix length"),
        ('network: {interfaces: {eth0: {gateway: "2001:db8::1"}}}', "only a gateway of IPv4"),
        ("network: {interfaces: {eth0: {gateway: gw}}}", "no address"),
        ('network: {interfaces: {"../eth0": {}}}', "no interface name"),
        ("network: {interfaces: {eth0: {mtu: 10}}}", "mtu"),
        (NETWORK + "  routes: [198.51.100.1/24]\n", "no destination"),
        (NETWORK + "  rules: [lookup 100]\n", "no rule"),
        ("names: {db.example.com: nowhere}", "no address"),
        ("names: {db.example.com: []}", "address"),
        ('names: {"db..example.com": 192.0.2.1}', "no name"),
        ("resolver: {servers: []}", "address"),
        ("timezone: ../../etc/shadow", "timezone"),
        ("certificates: {web: {min_days: 20}}", "name file, served_at or both"),
        ('certificates: {web: {file: /etc/web.crt, renew: "/bin/sh -c x"}}', "renew"),
        ("trust_store: {bundle: ca.crt}", "absolute"),
        ("sysctl: {file: 90.conf}", "absolute"),
        ('jobs: {backup.service: {newest_file: {glob: "/srv/*/x", max_age: 1h}}}', "only the last part"),
        ("jobs: {backup.service: {run_once: always}}", "run_once"),
        ("jobs: {backup.service: {timer: backup.service}}", "timer"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_reason(text, why):
    assert why in refused(text)


def test_a_job_is_watched_by_its_runtime_its_result_and_its_timer():
    assert checks(JOB) == {
        "job-runtime:backup.service": "job_runtime",
        "job-result:backup.service": "file_age",
        "unit-active:backup.timer": "unit_active",
    }
    document = told(JOB)
    assert document["parts"]["jobs"] == {"backup.service": {"run_once": "allowed", "max_runtime_ms": 10_000, "heavy": False}}
    assert document["units"] == {"backup.timer": {"desired": "running", "restart": "never"}}


def test_a_timer_among_the_units_keeps_what_is_said_there():
    text = JOB + "units: {backup.timer: {restart: allowed}}\n"
    assert told(text)["units"] == {"backup.timer": {"desired": "running", "restart": "allowed"}}
    assert list(checks(text)).count("unit-active:backup.timer") == 1


def test_a_heavy_job_alone_is_told_but_not_checked():
    text = "jobs: {report.service: {heavy: true}}"
    assert checks(text) == {}
    assert told(text)["parts"]["jobs"]["report.service"]["heavy"] is True


def test_names_ask_the_declared_resolver():
    (check,) = rules("names: {db.example.com: 192.0.2.20}\nresolver: {servers: 192.0.2.53}").checks_for({})
    assert (check.name, check.params["addresses"], check.params["servers"]) == (
        "name:db.example.com",
        ["192.0.2.20"],
        ["192.0.2.53"],
    )


def test_two_declarations_that_disagree_about_the_host_are_an_error():
    with pytest.raises(RulesError, match="says otherwise"):
        compile_rules(
            {
                "declarations/a.yaml": "declare: a\nowner: x\ntimezone: Etc/UTC\n",
                "declarations/b.yaml": "declare: b\nowner: x\ntimezone: Europe/Berlin\n",
            }
        )
