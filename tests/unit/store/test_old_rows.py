"""Rows that an earlier version wrote are read by this one: what it did not know yet has a meaning that is safe."""

from __future__ import annotations

import dataclasses

import pytest

from fleetmend_controller.core.events import Approve, Deny, RunRequested
from fleetmend_controller.core.model import Approved, Fleet, FleetBudget, Outbreak, Storm
from fleetmend_controller.store import codec

OLD_EVENTS = [
    ({"type": "Approve", "at_ms": 1, "order": "ord-1-1", "by": "ann"}, Approve(1, "ord-1-1", "ann", "")),
    ({"type": "Deny", "at_ms": 1, "order": "ord-1-1", "by": "ann", "reason": "no"}, Deny(1, "ord-1-1", "ann", "no", "")),
    (
        {
            "type": "RunRequested",
            "at_ms": 1,
            "host": "h-1",
            "action": "restart_unit",
            "params": [["unit", "a.service"]],
            "cost": "disruptive",
            "timeout_ms": 5,
            "by": "ann",
            "request": "r",
        },
        RunRequested(1, "h-1", "restart_unit", (("unit", "a.service"),), "disruptive", 5, "ann", "r", approve_myself=False),
    ),
]


@pytest.mark.parametrize(("row", "event"), OLD_EVENTS, ids=lambda value: type(value).__name__)
def test_an_old_event_is_read(row, event):
    assert codec.decode_event(row) == event


def test_an_old_approval_is_for_nothing_that_can_be_asked_for_now():
    assert codec.decode(Approved, {"order": "ord-1-1", "by": "ann", "at_ms": 1}) == Approved("ord-1-1", "ann", 1, "")


def test_an_old_storm_was_told_and_ends_by_the_limit_of_the_fleet():
    row = {"incident": "inc-9", "since_ms": 1, "last_ms": 2, "groups": [["role=web", 6]]}
    assert codec.decode(Outbreak, row) == Outbreak("inc-9", 1, 2, {"role=web": 6}, [], None, [], told=True)


def test_old_limits_are_for_one_label_and_storms_begin_with_three_hosts():
    assert codec.decode(FleetBudget, {"by": "role", "percent": 10, "at_most": 20}) == FleetBudget("role", 10, 20, ())
    assert codec.decode(Storm, {"by": "role", "percent": 30, "within_ms": 5}) == Storm("role", 30, 5, 3)


def test_an_old_snapshot_is_a_fleet():
    """With what later versions dropped, and without what they added."""
    new = {"flapping", "flaps_look_ms", "compared_ms"}
    row = {name: value for name, value in codec.encode(Fleet(epoch=4)).items() if name not in new}
    subject = {"host": "h-1", "check": "", "key": "a.service"}
    assert codec.decode(Fleet, row | {"flaps_told": [[subject, 5]]}) == Fleet(epoch=4)
    assert new <= {field.name for field in dataclasses.fields(Fleet)}
