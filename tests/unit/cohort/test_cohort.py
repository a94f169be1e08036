"""What failing hosts share and healthy ones lack."""

from __future__ import annotations

import random
import time

import pytest

from fleetmend_controller.cohort import LINES_MAX, common_cause, difference, fact_traits, label_traits

NOW_S = 1_800_000_000


def host(**traits: str) -> dict[str, str]:
    return traits


def test_the_rack_that_fails_comes_first():
    failing = [host(rack="r7", role="web", kernel="6.1.0-9") for _ in range(40)]
    healthy = [host(rack=f"r{n % 6}", role="web", kernel="6.1.0-9" if n % 2 else "6.1.0-8") for n in range(160)]
    first, second = difference(failing, healthy)
    assert (first.name, first.value, first.share) == ("rack", "r7", 1.0)
    assert first.text() == "rack is r7: 40 of 40 failing hosts, 0 of 160 others"
    assert (second.name, second.value, second.share) == ("kernel", "6.1.0-9", 0.5)


def test_what_all_hosts_have_says_nothing():
    assert difference([host(role="web")] * 10, [host(role="web")] * 10) == []


def test_what_few_failing_hosts_have_says_nothing():
    failing = [host(name=f"web-{n}", rack="r1" if n < 4 else f"r{n}") for n in range(10)]
    assert difference(failing, [host(name="db", rack="r99")] * 10) == []


def test_there_is_nothing_to_compare_with_on_one_side_only():
    assert difference([host(rack="r1")] * 9, []) == []
    assert difference([], [host(rack="r1")] * 9) == []


def test_a_trait_that_only_one_side_is_known_of_says_nothing():
    assert difference([host(kernel="6.1", rack="r1")] * 9, [host(rack="r1")] * 9) == []


def test_unknown_hosts_count_on_neither_side():
    failing = [host(kernel="6.1")] * 6 + [host()] * 4
    (found,) = difference(failing, [host(kernel="5.10")] * 5 + [host()] * 95)
    assert found.text() == "kernel is 6.1: 6 of 6 failing hosts, 0 of 5 others"


def test_a_single_host_shares_nothing():
    assert difference([host(rack="r1")], [host(rack="r2")] * 9) == []


def test_at_most_ten_lines_in_an_order_that_does_not_depend_on_hosts():
    traits = {f"t{n:02}": "x" for n in range(30)}
    found = difference([traits] * 5, [dict.fromkeys(traits, "y")] * 5)
    assert [trait.name for trait in found] == [f"t{n:02}" for n in range(LINES_MAX)]


def test_to_lack_a_label_is_a_trait():
    names = ["canary", "role"]
    failing = [label_traits({"role": "web"}, names)] * 5
    healthy = [label_traits({"role": "web", "canary": "yes"}, names)] * 5
    (found,) = difference(failing, healthy)
    assert found.text() == "label canary is (none): 5 of 5 failing hosts, 0 of 5 others"


def test_facts_become_paths_and_a_boot_its_age():
    sections = {
        "kernel": {"release": "6.1.0-9", "tainted": 0},
        "agent": {"version": "1.2", "parts": {"grpcio": "1.80"}},
        "cpu": {"hypervisor": True, "list": [1, 2]},
        "boot": {"boot_id": "b", "began_s": NOW_S - 60},
    }
    assert fact_traits(sections, NOW_S) == {
        "kernel.release": "6.1.0-9",
        "kernel.tainted": "0",
        "agent.version": "1.2",
        "agent.parts.grpcio": "1.80",
        "cpu.hypervisor": "true",
        "last boot": "less than an hour ago",
    }
    assert fact_traits({"boot": {"began_s": NOW_S - 7_200}}, NOW_S) == {"last boot": "less than a day ago"}
    assert fact_traits({"boot": {"began_s": NOW_S - 90_000}}, NOW_S) == {"last boot": "more than a day ago"}
    assert fact_traits({"boot": {"began_s": "soon"}, "os": []}, NOW_S) == {}


def test_facts_are_bounded():
    deep: dict[str, object] = {"x": "1"}
    for _ in range(500):
        deep = {"d": deep}
    many = {f"p{n}": "v" * 500 for n in range(5_000)}
    traits = fact_traits({"deep": deep, "packages": many}, NOW_S)
    assert len(traits) == 2_000
    assert max(map(len, traits.values())) <= 83


def test_ten_thousand_hosts_take_less_than_a_second_of_cpu():
    def traits(number: int, *, sick: bool) -> dict[str, str]:
        facts = {f"fact.{n}": f"v{(number * n) % 7}" for n in range(40)}
        return facts | {"label rack": "r7" if sick else f"r{number % 6}", "os.hostname": f"web-{number}"}

    failing = [traits(n, sick=True) for n in range(1_000)]
    healthy = [traits(n, sick=False) for n in range(9_000)]
    begun = time.process_time()
    found = difference(failing, healthy)
    assert time.process_time() - begun < 1.0
    assert (found[0].name, found[0].value) == ("label rack", "r7")


def sides(sick: int, share: int, well: int, often: int, traits: int = 100) -> tuple[list[dict], list[dict]]:
    """`share` of the sick and `often` of the well hosts have the new package; the other traits are the same everywhere."""
    same = {f"package {n}": "1" for n in range(traits)}
    failing = [same | {"kernel": "new" if n < share else "old"} for n in range(sick)]
    return failing, [same | {"kernel": "new" if n < often else "old"} for n in range(well)]


@pytest.mark.parametrize(
    ("sick", "share", "well", "often", "cause"),
    [
        (5, 5, 200, 0, True),
        (5, 5, 200, 20, True),
        (5, 5, 200, 60, False),
        (12, 12, 200, 60, True),
        (12, 12, 200, 100, False),
        (40, 40, 200, 100, True),
        (40, 30, 200, 0, False),
        (40, 33, 200, 0, True),
        (5, 5, 4, 0, False),
    ],
    ids=[
        "five, and nobody else",
        "five, and a tenth",
        "five, and a third: chance",
        "twelve, and a third",
        "twelve, and half: chance",
        "forty, and half",
        "only three of four",
        "nearly all",
        "too few to compare with",
    ],
)
def test_what_chance_explains_is_no_cause(sick: int, share: int, well: int, often: int, cause: bool):
    failing, healthy = sides(sick, share, well, often)
    found = common_cause(failing, difference(failing, healthy))
    assert [(trait.name, trait.value) for trait in found] == ([("kernel", "new")] if cause else [])


def test_the_more_traits_there_are_the_more_it_takes():
    failing, healthy = sides(5, 5, 200, 20, traits=10)
    assert common_cause(failing, difference(failing, healthy))
    failing, healthy = sides(5, 5, 200, 20, traits=1_500)
    assert not common_cause(failing, difference(failing, healthy))


def test_random_failures_have_hardly_ever_a_cause():
    rng = random.Random(7)
    held = 0
    for _ in range(300):
        hosts = [{f"trait {n}": rng.choice("abcde") for n in range(60)} for _ in range(100)]
        held += bool(common_cause(hosts[:6], difference(hosts[:6], hosts[6:])))
    assert held <= 6
