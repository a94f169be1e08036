"""When a unit is a fault, and when it is only on its way."""

from __future__ import annotations

import pytest

from fleetmend_agent.checks import CheckUnknown, Context, Status, prepare
from fleetmend_agent.checks._units import is_masked
from fleetmend_agent.checks.unit_active import judge
from fleetmend_agent.host import Host, Roots, UnitState
from tests.tools.cases import CHECKS

NOW, GRACE = 1_000_000, 30_000
OK, CRIT, UNKNOWN = Status.OK, Status.CRIT, Status.UNKNOWN


@pytest.mark.parametrize(
    ("active", "job", "age_ms", "before", "desired", "expected"),
    [
        ("active", False, 900_000, CRIT, "running", OK),
        ("active", True, 900_000, CRIT, "running", OK),
        ("active", True, 100, CRIT, "running", CRIT),
        ("reloading", False, 100, OK, "running", OK),
        ("reloading", False, 40_000, OK, "running", CRIT),
        ("activating", True, 29_999, OK, "running", OK),
        ("activating", True, 30_000, OK, "running", CRIT),
        ("activating", True, 100, CRIT, "running", CRIT),
        ("activating", True, 100, UNKNOWN, "running", UNKNOWN),
        ("deactivating", True, 100, OK, "running", OK),
        ("deactivating", True, 90_000, OK, "running", CRIT),
        ("inactive", False, 100, OK, "running", CRIT),
        ("inactive", True, 100, OK, "running", OK),
        ("inactive", True, NOW, OK, "running", CRIT),
        ("failed", False, 100, OK, "running", CRIT),
        ("failed", True, 100, CRIT, "running", CRIT),
        ("inactive", False, 100, CRIT, "stopped", OK),
        ("failed", False, 100, CRIT, "stopped", OK),
        ("active", False, 100, OK, "stopped", CRIT),
        ("deactivating", False, 100, CRIT, "stopped", CRIT),
    ],
)
def test_a_unit_is_judged_by_state_job_age_and_what_it_was(active, job, age_ms, before, desired, expected):
    unit = UnitState("a.service", active=active, job_pending=job, since_clock_ms=NOW - age_ms)
    assert judge(unit, desired, NOW, GRACE, before)[0] is expected


def test_a_unit_that_waits_for_its_turn_at_boot_has_five_minutes():
    unit = UnitState("a.service", active="inactive", job_pending=True, since_clock_ms=2_000)
    assert judge(unit, "running", 299_999, GRACE, OK)[0] is OK
    assert judge(unit, "running", 300_000, GRACE, OK)[0] is CRIT


def test_a_unit_that_is_settled_has_no_grace_at_boot():
    unit = UnitState("a.service", active="failed", since_clock_ms=2_000)
    assert judge(unit, "running", 10_000, GRACE, OK)[0] is CRIT


@pytest.mark.parametrize("name", ["a/b.service", "a b", "x" * 300, "\n"])
def test_what_is_no_unit_name_is_not_looked_up(name):
    check = CHECKS["unit_active"]
    host = Host(unit_source=lambda fresh: {})
    with pytest.raises(CheckUnknown, match="that is no unit name"):
        list(check.run(Context(host, prepare(check, {"unit": name}), 1.0)))


@pytest.mark.parametrize("name", ["unit_failed", "unit_active"])
@pytest.mark.parametrize("fresh", [True, False])
def test_a_proof_is_read_from_the_source_and_not_from_the_table(name, fresh):
    asked = []
    check = CHECKS[name]
    host = Host(unit_source=lambda wanted: asked.append(wanted) or {"a.service": UnitState("a.service", active="active")})
    list(check.run(Context(host, prepare(check, {"unit": "a"} if name == "unit_active" else {}), 1.0, fresh=fresh)))
    assert asked == [fresh]


def test_a_source_that_breaks_makes_units_unknown():
    def source(fresh):
        raise ConnectionResetError(104, "bus gone")

    with pytest.raises(CheckUnknown, match=r"cannot read systemd units: .*bus gone"):
        Host(unit_source=source).units()


def crashed(known):
    check = CHECKS["unit_failed"]
    host = Host(unit_source=lambda fresh: {"a.service": UnitState("a.service", active="activating", sub="auto-restart")})
    return {r.key: r.status for r in check.run(Context(host, prepare(check, {}), 1.0, known=known))}


def test_between_two_states_a_unit_stays_what_it_was():
    assert crashed({"a.service": CRIT}) == {"": OK, "a.service": CRIT}
    assert crashed({"a.service": OK}) == {"": OK, "a.service": OK}
    assert crashed({"a.service": UNKNOWN}) == {"": OK, "a.service": UNKNOWN}
    assert crashed({}) == {"": OK}


def test_a_unit_that_nobody_asked_about_and_that_is_well_is_no_subject():
    check = CHECKS["unit_failed"]
    host = Host(unit_source=lambda fresh: {f"u{i}.service": UnitState(f"u{i}.service", active="active") for i in range(300)})
    assert [r.key for r in check.run(Context(host, prepare(check, {}), 1.0))] == [""]


@pytest.mark.parametrize(
    ("etc", "run", "masked"),
    [
        ("/dev/null", None, True),
        (None, "/dev/null", True),
        (None, None, False),
        ("file", "/dev/null", False),
        ("a", None, False),
    ],
)
def test_a_unit_that_systemd_dropped_is_masked_by_the_link_that_counts(tmp_path, etc, run, masked):
    for folder, target in (("etc/systemd/system", etc), ("root/run/systemd/system", run)):
        (tmp_path / folder).mkdir(parents=True)
        if target == "file":
            (tmp_path / folder / "a.service").write_text("[Service]\n")
        elif target:
            (tmp_path / folder / "a.service").symlink_to(target)
    host = Host(roots=Roots.under(str(tmp_path)))
    assert is_masked(host, UnitState("a.service", load="not-loaded")) is masked
