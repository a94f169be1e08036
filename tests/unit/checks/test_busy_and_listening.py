"""Who burns a processor without being declared heavy, and who listens without being declared at all: told from look to look."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fleetmend_agent.checks import CheckUnknown, Context, Status, prepare
from fleetmend_agent.checks.listener_extra import CHECK as LISTENS
from fleetmend_agent.checks.process_busy import CHECK as BUSY
from tests.unit.checks.test_processes import Machine


@pytest.fixture
def machine(tmp_path):
    made = Machine(tmp_path / "m")
    made.process(1, name="systemd", unit="init.scope", uid=0)
    return made


def looked(machine, check, known=(), **params) -> dict[str, Status]:
    context = Context(machine.host, prepare(check, params), 5.0, known=dict.fromkeys(known, Status.CRIT))
    return {result.key: result.status for result in check.run(context)}


def test_who_burns_a_processor_for_long_is_told_until_it_ends(machine):
    for turn in range(4):
        machine.process(10, unit="shop.service", ticks=600 * turn, start=100_000)
        found = looked(machine, BUSY, hold=15_000)
        assert found == ({"": Status.OK} if turn < 3 else {"": Status.OK, "10@100000": Status.CRIT})
        machine.wait(6)
    machine.process(10, unit="shop.service", ticks=1810, start=100_000)
    assert looked(machine, BUSY, known=["10@100000"], hold=15_000) == {"": Status.OK, "10@100000": Status.OK}
    machine.wait(6)
    machine.gone(10)
    assert looked(machine, BUSY, known=["10@100000"], hold=15_000) == {"": Status.OK, "10@100000": Status.OK}


def test_a_number_that_is_used_again_does_not_inherit(machine):
    machine.process(10, ticks=0, start=100_000)
    looked(machine, BUSY, hold=5_000)
    machine.wait(6)
    machine.process(10, ticks=600, start=100_000)
    assert "10@100000" in looked(machine, BUSY, hold=5_000)
    machine.wait(6)
    machine.process(10, ticks=5, start=101_150)
    assert looked(machine, BUSY, hold=5_000) == {"": Status.OK}


@pytest.mark.parametrize("params", [{"heavy_units": ["stray.service"]}, {"killable_users": ["batch"]}])
def test_declared_heavy_jobs_and_users_with_a_check_of_their_own_are_not_meant(machine, params):
    machine.process(10, ticks=9_000, start=90_000)
    assert looked(machine, BUSY, hold=5_000, **params) == {"": Status.OK}


def test_who_waits_for_a_processor_on_a_crowded_machine_is_seen_too(machine):
    for turn in range(4):
        machine.process(10, ticks=(0, 590, 790, 990)[turn], start=100_000)
        for thread, waited in ((10, 1_000_000_000), (11, 3_900_000_000)):
            stat = machine.folder / f"proc/10/task/{thread}/schedstat"
            stat.parent.mkdir(parents=True, exist_ok=True)
            stat.write_text(f"{1_000_000_000 * turn} {waited * turn} 77\n")
        found = looked(machine, BUSY, hold=15_000)
        machine.wait(6)
    assert found["10@100000"] is Status.CRIT, "it was alone at first and got all of one"


def listen(machine, *listeners: tuple[str, int, str]) -> None:
    """Sockets by address, port and the unit whose process made them."""
    made = []
    for number, (address, port, unit) in enumerate(listeners):
        machine.process(20 + number, name="serves", unit=unit, group=f"/system.slice/{unit}")
        group = machine.folder / f"sys/fs/cgroup/system.slice/{unit}"
        group.mkdir(parents=True, exist_ok=True)
        name = f"{address}:{port}"
        made.append(SimpleNamespace(address=address, port=port, uid=997, group=group.stat().st_ino, name=name))
    machine.host.listeners_of = lambda: tuple(made)


def test_only_what_listens_for_others_and_is_not_declared_is_told(machine):
    listen(
        machine,
        ("0.0.0.0", 4444, "beacon.service"),
        ("::", 22, "ssh.service"),
        ("10.0.0.1", 8080, "moved.service"),
        ("10.0.0.1", 9000, "shop.service"),
        ("10.0.0.1", 9001, "docker.service"),
        ("127.0.0.1", 4445, "beacon.service"),
        ("::ffff:127.0.0.1", 4446, "beacon.service"),
    )
    params = {"declared_listeners": ["127.0.0.1:8080"], "declared_units": ["shop.service"], "allowed_units": ["docker*"]}
    assert looked(machine, LISTENS, **params) == {"": Status.OK, "0.0.0.0:4444": Status.CRIT}
    listen(machine)
    assert looked(machine, LISTENS, known=["0.0.0.0:4444"]) == {"": Status.OK, "0.0.0.0:4444": Status.OK}


def test_a_kernel_that_does_not_name_groups_leaves_it_unknown(machine):
    machine.host.listeners_of = lambda: (SimpleNamespace(address="::", port=1, uid=0, group=0, name="[::]:1"),)
    with pytest.raises(CheckUnknown, match="does not name their control groups"):
        looked(machine, LISTENS)


def test_a_socket_whose_maker_has_ended_is_told_without_a_process(machine):
    machine.host.listeners_of = lambda: (SimpleNamespace(address="::", port=1, uid=997, group=99, name="[::]:1"),)
    context = Context(machine.host, prepare(LISTENS, {}), 5.0)
    found = list(LISTENS.run(context))[1]
    assert (found.status, found.finding["user"], "pid" in found.finding) == (Status.CRIT, "batch", False)
