"""The shared reading of sealed permits: what covers a finding, and what is no set of permits."""

from __future__ import annotations

import contextlib
import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmend.permits import PermitError, PermitSet, Reach, Sighting, decide, fill, parse, plain_finding

SEEN = Sighting("units", "unit_failed", "a.service", {"unit": "a.service", "load": "loaded", "maintenance": False, "tries": 3})


def document(**changes) -> dict:
    grant = {
        "playbook": "restart",
        "permits": ["permit-h-1-1-1", "permit-h-1-1-2"],
        "reach": {"checks": ["unit_failed"], "where": ["==", "finding.load", "loaded"], "values": {"unit": ["a.service"]}},
        "unless": [],
        "first": [],
        "deed": {"action": "restart_unit", "params": {"unit": "{finding.unit}"}, "timeout_ms": 1000},
        "for_ms": 0,
        "prove": {"within_ms": 30000, "stay_ok_ms": 10000},
        "backoff_ms": 5000,
        "factor": 2,
        "budget": {"count": 3, "window_ms": 3600000},
    }
    whole = {
        "kind": "permits",
        "v": 1,
        "host_id": "h-1",
        "boot_id": "boot-1",
        "epoch": 1,
        "version": 7,
        "expires_clock_ms": 1000,
        "grants": [grant],
        "left": {"units": [], "subjects": []},
    }
    return {**whole, **changes}


def changed(**grant) -> PermitSet:
    whole = document()
    whole["grants"][0].update(grant)
    return parse(whole)


@pytest.mark.parametrize(
    ("condition", "answer"),
    [
        (["==", "finding.load", "loaded"], True),
        (["==", "finding.load", "masked"], False),
        (["==", "finding.tries", True], None),
        (["==", "finding.absent", "x"], None),
        (["not", ["==", "finding.absent", "x"]], None),
        (["in", "finding.load", ["loaded", "not-loaded"]], True),
        (["in", "finding.load", []], False),
        (["is", "finding.maintenance"], False),
        (["not", ["is", "finding.maintenance"]], True),
        (["is", "finding.load"], None),
        (["<", "finding.tries", 4], True),
        ([">=", "finding.tries", 4], False),
        (["and", ["is", "finding.maintenance"], ["==", "finding.absent", "x"]], False),
        (["and", ["==", "finding.tries", 3], ["==", "finding.absent", "x"]], None),
        (["or", ["==", "finding.tries", 3], ["==", "finding.absent", "x"]], True),
        (["or", ["is", "finding.maintenance"], ["==", "finding.absent", "x"]], None),
        (["==", "check.type", "unit_failed"], True),
        (["==", "status", "crit"], True),
    ],
)
def test_what_the_finding_lacks_decides_nothing(condition, answer):
    assert decide(condition, SEEN) is answer


def test_a_grant_covers_its_checks_its_values_and_what_nobody_else_answers():
    held = parse(document())
    grant = held.grants[0]
    assert held.grant_of("permit-h-1-1-2") is grant
    assert held.grant_of("permit-h-1-1-3") is None
    assert held.why_not(grant, SEEN) == ""
    other_unit = Sighting("units", "unit_failed", "b.service", {**SEEN.finding, "unit": "b.service"})
    assert held.why_not(grant, other_unit) == "it is for other findings"
    assert held.why_not(grant, Sighting("disk", "filesystem_space", "/", {"load": "loaded"})) == "it is for other findings"
    first = changed(unless=[{"checks": ["units"], "where": ["==", "finding.tries", 3]}])
    assert first.why_not(first.grants[0], SEEN) == "another playbook answers this finding first"
    unknown = changed(unless=[{"checks": ["units"], "where": ["==", "finding.absent", 3]}])
    assert unknown.why_not(unknown.grants[0], SEEN) == "", "a playbook whose condition cannot be judged does not match"
    for left in ({"units": ["a.service"], "subjects": []}, {"units": [], "subjects": [["units", "a.service"]]}):
        in_hand = parse(document(left=left))
        assert in_hand.why_not(in_hand.grants[0], SEEN) == "people have it in hand"


def test_values_of_the_finding_take_the_place_of_their_placeholders_whole():
    deed = parse(document()).grants[0].deed
    assert fill(deed, SEEN.finding) == {"unit": "a.service"}
    for finding in ({}, {"unit": 1.5}):
        with pytest.raises(PermitError, match=r"^cannot fill"):
            fill(deed, finding)
    assert Reach(("unit_failed",)).covers(SEEN)


def test_a_finding_is_sealed_without_fractions():
    assert plain_finding({"b": 1.5, "a": True, "c": "x" * 5000, "d": [1], "e": 7}) == {
        "a": True,
        "b": "1.5",
        "c": "x" * 1024,
        "e": 7,
    }


BAD = [
    {"v": 2},
    {"host_id": ""},
    {"boot_id": 7},
    {"epoch": -1},
    {"version": True},
    {"expires_clock_ms": "1"},
    {"grants": {}},
    {"grants": [{}]},
    {"left": None},
    {"left": {"units": [7], "subjects": []}},
    {"left": {"units": [], "subjects": [["only"]]}},
]
BAD_GRANTS = [
    {"permits": "permit-1"},
    {"permits": ["p"] * 100},
    {"reach": {"checks": ["c"], "where": ["xor", 1]}},
    {"reach": {"checks": ["c"], "where": ["and"]}},
    {"reach": {"checks": ["c"], "where": ["==", "finding.x", 1.5]}},
    {"reach": {"checks": ["c"], "where": ["<", "finding.x", "a"]}},
    {"reach": {"checks": ["c"], "where": ["in", "finding.x", [[]]]}},
    {"reach": {"checks": ["c"], "where": ["is", 7]}},
    {"reach": {"checks": ["c"], "where": "true"}},
    {"deed": {"action": "x", "params": [], "timeout_ms": 1}},
    {"deed": {"action": "x\n", "params": {}, "timeout_ms": 1}},
    {"budget": {"count": 1}},
    {"prove": None},
]


@pytest.mark.parametrize("change", BAD, ids=repr)
def test_a_document_that_is_not_all_there_is_no_permit(change):
    with pytest.raises(PermitError, match=r"^cannot read permits"):
        parse(document(**change))


@pytest.mark.parametrize("change", BAD_GRANTS, ids=repr)
def test_nor_is_one_with_a_grant_that_is_not_understood(change):
    with pytest.raises(PermitError, match=r"^cannot read permits"):
        changed(**change)


def test_a_condition_as_deep_as_a_well_is_refused_not_followed():
    deep: list = ["is", "finding.x"]
    for _ in range(1000):
        deep = ["not", deep]
    with pytest.raises(PermitError):
        changed(reach={"checks": ["c"], "where": deep})
    with pytest.raises(PermitError):
        changed(reach={"checks": ["c"], "where": ["or", *[["is", "finding.x"]] * 1000]})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(st.sampled_from(["grants", "left", "v", "host_id", "epoch"]), max_size=3), JSON)
def test_whatever_stands_in_a_part_it_is_read_or_refused(parts, value):
    whole = copy.deepcopy(document())
    for part in parts:
        whole[part] = value
    with contextlib.suppress(PermitError):
        parse(whole)
