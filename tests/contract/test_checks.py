"""What every check promises, held over the whole registry: see tests/tools/cases.py for the machines it looks at."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from fnmatch import fnmatchcase

import pytest

from fleetmend import catalogue
from fleetmend_agent.checks import CheckUnknown, Kind, Status, prepare
from fleetmend_agent.checks._result import bounded
from tests.tools.cases import CHECKS, cases, host, run, verdict

CASES = cases()
GAUGE = re.compile(
    r"[a-z][a-z0-9_]*(_bytes|_ratio|_seconds|_total|_value|_celsius|_rpm|_\*|(^|_)(units|filesystems|inodes|processes|threads|cpus|devices))"
)
TYPES = {Kind.TEXT: str, Kind.INTEGER: int, Kind.NUMBER: float, Kind.FLAG: bool}


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What each check said about its machines, by case."""
    return {case.name: run(case, host(case, tmp_path_factory.mktemp("host") / "machine")) for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_check_says_what_is_true_of_its_machine(case, said):
    results = said[case.name]
    assert verdict(results) is case.expect, results
    if "fault" in case.facts:
        assert [result.finding["fault"] for result in results] == [case.facts["fault"]], results


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_has_a_machine_where_it_is_well_one_where_it_is_not_and_one_it_cannot_judge(check):
    assert {Status.OK, Status.CRIT, Status.UNKNOWN} <= {case.expect for case in CASES if case.check.name == check}


@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: check.name)
def test_a_check_documents_exactly_what_it_emits(check, said):
    results = [result for case in CASES if case.check is check for result in said[case.name]]
    fields = {field.name: field.kind for field in check.finding}
    emitted = defaultdict(set)
    for result in results:
        for name, value in result.finding.items():
            emitted[name].add(type(value))
    assert set(emitted) == set(fields), "documented, but never emitted, or the other way round"
    for name, types in emitted.items():
        assert types == {TYPES[fields[name]]}, name
    gauges = {name for result in results for name in result.gauges}
    documented = {gauge.name for gauge in check.gauges}
    assert all(any(fnmatchcase(name, known) for known in documented) for name in gauges), gauges - documented
    assert all(any(fnmatchcase(name, known) for name in gauges) for known in documented), documented - gauges
    assert all(math.isfinite(value) for result in results for value in result.gauges.values())


@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: check.name)
def test_names_are_valid_for_prometheus_and_end_with_their_unit(check):
    for gauge in check.gauges:
        assert GAUGE.fullmatch(gauge.name), gauge.name
        assert not gauge.name.startswith("fleetmend_")
        assert gauge.doc
    for name in [check.name, *(p.name for p in check.params), *(f.name for f in check.finding)]:
        assert re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name), name
    assert all(p.doc for p in check.params)
    assert all(f.doc for f in check.finding)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gauges_that_were_emitted_are_valid_too(case, said):
    for result in said[case.name]:
        assert all(GAUGE.fullmatch(name) for name in result.gauges), result.gauges


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_a_check_says_is_bounded_and_holds_no_secret(case, said):
    for result in said[case.name]:
        assert bounded(result) == result or result.finding.get("long_output"), result
        assert result.summary
        assert (
            "cannot" in result.summary
            or case.expect is not Status.UNKNOWN
            or result.status is not Status.UNKNOWN
            or result.finding
        )
        assert "s3cret" not in repr(result)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_subjects_of_one_run_are_different(case, said):
    keys = [result.key for result in said[case.name]]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: check.name)
def test_parameters_are_complete(check):
    for param in check.params:
        assert param.required == (param.default is None), param.name
        if not param.required:
            spec = catalogue.ParamSpec(
                param.name, param.kind.value, "", None, True, param.minimum, param.maximum, param.choices
            )
            value, errors = catalogue.validate([spec], {param.name: param.default})
            assert value == {param.name: param.default} or param.default in ("", []), errors
    if not any(param.required for param in check.params):
        assert prepare(check, {}) == {param.name: param.default for param in check.params}


@pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: check.name)
def test_a_wrong_parameter_is_named(check):
    with pytest.raises(CheckUnknown, match="cannot take parameter 'colour'"):
        prepare(check, {"colour": "red"})


def test_findings_about_a_unit_carry_its_name(said):
    for case in CASES:
        params = case.facts.get("params", {})
        if case.expect is Status.CRIT and "unit" in params:
            name = params["unit"] if "." in params["unit"] else params["unit"] + ".service"
            found = [result.finding.get("unit") for result in said[case.name] if result.status is Status.CRIT]
            assert found
            assert set(found) == {name}, case.name
