"""The order in which systemd tells things, and what the unit table makes of it: one crash is one transition."""

from __future__ import annotations

from fleetmend_agent.signals.units import UnitTable, unit_name

PATH = "/org/freedesktop/systemd1/unit/shop_2eservice"
UNIT, SERVICE = "org.freedesktop.systemd1.Unit", "org.freedesktop.systemd1.Service"


def row(name="shop.service", active="active", sub="running", job=0, load="loaded"):
    return (name, "A shop", load, active, sub, "", "/o/" + name, job, "", "/")


def table(*rows):
    units = UnitTable()
    units.replace_all(rows or [row()], clock_ms=1_000)
    units.take_changed()
    return units


def unit(active, sub, job=0):
    return {"ActiveState": ("s", active), "SubState": ("s", sub), "Job": ("(uo)", (job, "/"))}


def service(result="success", restarts=0):
    return {"Result": ("s", result), "NRestarts": ("u", restarts), "MainPID": ("u", 0)}


def test_a_crash_told_many_times_is_one_change():
    units = table()
    units.properties(PATH, SERVICE, service("signal"), 5_000)
    units.properties(PATH, UNIT, unit("failed", "failed"), 5_000)
    assert units.take_changed() == {"shop.service"}
    for at in (5_001, 5_002, 5_003):
        units.properties(PATH, SERVICE, service("signal"), at)
        units.properties(PATH, UNIT, unit("failed", "failed"), at)
    assert units.take_changed() == set()
    state = units.units["shop.service"]
    assert (state.active, state.result, state.since_clock_ms) == ("failed", "signal", 5_000)


def test_a_restart_passes_through_inactive_with_a_job_pending():
    units = table()
    seen = []
    for step in [
        unit("active", "running", job=7),
        unit("deactivating", "stop-sigterm", job=7),
        unit("inactive", "dead", job=8),
        unit("activating", "start", job=8),
        unit("active", "running"),
    ]:
        units.properties(PATH, UNIT, step, 2_000)
        state = units.units["shop.service"]
        seen.append((state.active, state.job_pending))
    assert [active for active, pending in seen if not pending] == ["active"]


def test_restarts_by_systemd_are_counted_not_guessed_from_edges():
    units = table()
    units.properties(PATH, SERVICE, service("exit-code", restarts=3), 2_000)
    assert units.units["shop.service"].n_restarts == 3


def test_the_list_repairs_what_signals_missed():
    units = table(row(), row("gone.service"))
    units.replace_all([row(active="failed", sub="failed"), row("new.service")], clock_ms=9_000)
    assert units.take_changed() == {"shop.service", "gone.service", "new.service"}
    assert units.units["shop.service"].since_clock_ms == 9_000
    units.replace_all([row(active="failed", sub="failed"), row("new.service")], clock_ms=9_500)
    assert units.take_changed() == set()


def test_a_state_counts_from_its_first_sight():
    assert table().units["shop.service"].since_clock_ms == 1_000


def test_a_result_belongs_to_the_state_it_came_with():
    units = table()
    units.properties(PATH, SERVICE, service("signal"), 2_000)
    units.properties(PATH, UNIT, unit("failed", "failed"), 2_000)
    units.replace_all([row(active="failed", sub="failed")], clock_ms=3_000)
    assert units.units["shop.service"].result == "signal"
    units.replace_all([row()], clock_ms=4_000)
    assert units.units["shop.service"].result == ""


def test_a_job_that_ended_is_not_pending_even_if_its_signal_was_lost():
    units = table(row(job=12))
    units.job_removed("shop.service", 2_000)
    units.job_removed("unheard-of.service", 2_000)
    assert not units.units["shop.service"].job_pending
    assert units.take_changed() == {"shop.service"}


def test_a_unit_nobody_listed_appears_with_its_state():
    units = table()
    path = "/org/freedesktop/systemd1/unit/run_2dr1_2eservice"
    units.properties(path, SERVICE, {"MainPID": ("u", 12)}, 2_000)
    assert units.take_changed() == set()
    units.properties(path, UNIT, unit("activating", "start"), 2_000)
    assert units.units["run-r1.service"].active == "activating"
    units.remove("run-r1.service")
    assert units.take_changed() == {"run-r1.service"}


def test_object_paths_are_unit_names():
    assert unit_name("/org/freedesktop/systemd1/unit/srv_2ddata_2emount") == "srv-data.mount"
    assert unit_name("/org/freedesktop/systemd1/unit/getty_40tty1_2eservice") == "getty@tty1.service"
