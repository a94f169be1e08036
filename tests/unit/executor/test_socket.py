"""The executor as a process on its socket: what it believes and refuses, and that each order has one effect and one end."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time

import pytest

from fleetmend_executor.ledger import Entry, Ledger
from fleetmend_executor.orders import Desk
from fleetmend_executor.run import Runner
from fleetmend_executor.server import CONNECTIONS_MAX, Server
from tests.unit.executor.world import BOOT, HOST, KEY, answers, clock_ms, declared, opened, order, sealed


def wait_until(condition, what: str) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(0.01)


def test_an_order_runs_once_and_its_outcome_is_sealed(host):
    host.start()
    first = host.order("ord-1-1")
    assert [a["event"] for a in first] == ["started", "outcome"]
    outcome = opened(first)
    assert (outcome["outcome"], outcome["reason"], outcome["order_id"]) == ("done", "done", "ord-1-1")
    assert outcome["started_clock_ms"] == first[0]["started_clock_ms"] <= outcome["ended_clock_ms"] <= clock_ms()
    assert outcome["commands"][0]["argv"][0] == "/bin/sh"
    assert host.order("ord-1-1") == first[1:], "a known order is answered, not run"
    assert host.runs() == 1
    assert [(r["kind"], r["order_id"]) for r in host.records()] == [("begin", "ord-1-1"), ("end", "ord-1-1")]


def test_the_same_outcome_after_a_restart_and_under_a_newer_epoch(host):
    host.start()
    first = host.order("ord-1-1")
    host.stop()
    host.start()
    assert host.order("ord-1-1", epoch=2) == first[1:]
    assert host.runs() == 1


def withdraw(host, order_id: str) -> list[dict]:
    return host.ask({**sealed(order(order_id)), "op": "withdraw"})


def test_a_withdrawn_order_never_runs_and_one_that_ran_keeps_its_end(host):
    host.start()
    withdrawn = withdraw(host, "ord-1-1")
    assert (opened(withdrawn)["outcome"], opened(withdrawn)["reason"]) == ("refused", "fault_gone")
    assert host.order("ord-1-1") == withdrawn, "the fault came back, but this order is over"
    ran = host.order("ord-1-2")
    assert withdraw(host, "ord-1-2") == ran[1:]
    assert host.runs() == 1


@pytest.mark.parametrize(
    ("changes", "outcome", "reason"),
    [
        ({"host_id": "h-ffffffffffffffff"}, "refused", "wrong_host"),
        ({"boot_id": "another"}, "refused", "wrong_boot"),
        ({"expires_clock_ms": 1}, "expired", "expired"),
        ({"action": "format_disk"}, "refused", "unknown_action"),
        ({"action": "../policy"}, "refused", "unknown_action"),
        ({"action": "kill_process", "params": {"unit": "shop.service"}}, "refused", "not_permitted"),
        ({"action": "restart_unit", "params": {"unit": "shop.service"}}, "refused", "undeclared"),
        ({"action": "restart_unit", "params": {"unit": "systemd-logind.service"}}, "refused", "not_permitted"),
        ({"action": "restart_unit", "params": {"unit": "fleetmend-agent.service"}}, "refused", "protected"),
        ({"params": {"command": "absent"}}, "refused", "not_permitted"),
        ({"params": {"command": "mark", "extra": 1}}, "refused", "bad_parameter"),
        ({"params": []}, "refused", "bad_parameter"),
        ({"params": {"command": 7}}, "refused", "bad_parameter"),
    ],
)
def test_a_refusal_is_the_one_sealed_end_of_the_order(host, changes, outcome, reason):
    host.start()
    first = host.order("ord-2-1", **changes)
    end = opened(first)
    assert (end["outcome"], end["reason"], end["commands"]) == (outcome, reason, [])
    assert end["detail"].startswith("cannot ")
    assert host.order("ord-2-1") == first, "even a good copy of it gets the same end"
    assert host.runs() == 0
    assert [r["kind"] for r in host.records()] == ["end"]


def test_a_forged_order_is_refused_and_leaves_nothing_under_its_name(host):
    host.start()
    forged = host.ask(sealed(order("ord-3-1"), key=b"x" * 32))
    assert [(a["event"], a["reason"]) for a in forged] == [("refused", "bad_seal")]
    changed = sealed(order("ord-3-1"))
    changed["payload"] = changed["payload"].replace("mark", "slow")
    assert host.ask(changed)[0]["reason"] == "bad_seal"
    outcome_as_order = {**sealed({**order("ord-3-1"), "kind": "outcome"}), "op": "order"}
    assert host.ask(outcome_as_order)[0]["reason"] == "bad_seal"
    assert host.ledger.read_text() == "" if host.ledger.exists() else True
    assert opened(host.order("ord-3-1"))["outcome"] == "done", "the true order of that name still runs"


def test_a_deposed_controller_is_not_obeyed_even_after_a_restart(host):
    host.start()
    assert opened(host.order("ord-4-1", epoch=7))["outcome"] == "done"
    host.kill()
    host.start()
    assert host.order("ord-4-2", epoch=6)[0]["reason"] == "stale_epoch"
    assert opened(host.order("ord-4-2", epoch=7))["outcome"] == "done", "the same order from the one in charge runs"
    assert host.runs() == 2


def test_an_epoch_below_that_of_enrolment_is_stale(host):
    (host.state / "identity.json").write_text(json.dumps({"host_id": HOST, "epoch": 3}))
    host.start()
    assert host.order("ord-4-3", epoch=2)[0]["reason"] == "stale_epoch"


def test_killed_while_an_order_ran_it_never_runs_again_and_is_unknown(host):
    host.start()
    with host.dial() as connection:
        body = json.dumps(sealed(order("ord-5-1", "slow"))).encode()
        connection.sendall(struct.pack(">I", len(body)) + body)
        wait_until(lambda: host.runs() == 1, "the command to begin")
        host.kill()
        assert [a["event"] for a in answers(connection)] == ["started"]
    host.start()
    again = host.order("ord-5-1", "slow")
    assert [a["event"] for a in again] == ["outcome"]
    assert (opened(again)["outcome"], opened(again)["reason"]) == ("unknown", "executor_died")
    assert host.order("ord-5-1", "slow") == again
    assert host.runs() == 1
    assert [r["kind"] for r in host.records()] == ["begin", "end"]


def test_the_lost_end_of_an_earlier_boot_is_told_in_the_clock_of_that_boot(host):
    """A clock of this boot would make of it an end before its own beginning, and of older results proof."""
    ledger = Ledger(str(host.state))
    ledger.begin(Entry("ord-5-2", "an-earlier-boot", 1, 10**15, "run_command", started_clock_ms=10**14))
    ledger.close()
    host.start()
    end = opened(host.order("ord-5-2"))
    assert (end["outcome"], end["boot_id"]) == ("unknown", "an-earlier-boot")
    assert (end["started_clock_ms"], end["ended_clock_ms"]) == (10**14, 10**14)
    assert host.runs() == 0


def test_two_deliveries_at_once_are_one_run_and_both_get_the_outcome(host):
    host.start()
    got: list[list[dict]] = []
    copies = [threading.Thread(target=lambda: got.append(host.order("ord-6-1", "hang"))) for _ in range(3)]
    for copy in copies:
        copy.start()
    for copy in copies:
        copy.join()
    assert len({a[-1]["payload"] for a in got}) == 1
    assert opened(got[0])["reason"] == "timeout"
    assert host.runs() == 1


def test_a_stop_waits_for_the_order_under_way(host):
    host.start()
    with host.dial() as connection:
        body = json.dumps(sealed(order("ord-6-2", "hang"))).encode()
        connection.sendall(struct.pack(">I", len(body)) + body)
        wait_until(lambda: host.runs() == 1, "the command to begin")
        host.stop()
        assert [a["event"] for a in answers(connection)] == ["started", "outcome"]
    assert host.process.returncode == 0


def test_it_ends_when_idle_but_not_while_an_order_runs(host):
    host.start("--idle-s", "0.3")
    assert opened(host.order("ord-7-1", "hang"))["outcome"] == "failed", "the order took longer than the idle time"
    assert host.process.wait(10) == 0


def test_without_a_readable_policy_nothing_runs(host):
    host.start()
    good = host.policy.read_text()
    for number, bad in enumerate(["actions: {run_command: {}", good + "\nextra: 1\n", "[]", ""]):
        host.policy.write_text(bad)
        assert opened(host.order(f"ord-8-{number}"))["reason"] == "policy_unavailable"
    host.policy.write_text(good)
    host.policy.chmod(0o666)
    assert opened(host.order("ord-8-10"))["reason"] == "policy_unavailable", "anybody could have written it"
    host.policy.unlink()
    assert opened(host.order("ord-8-11"))["reason"] == "policy_unavailable"
    assert host.ask({"op": "hello"})[0]["permitted_actions"] == []
    host.policy.write_text(good)
    host.policy.chmod(0o644)
    assert opened(host.order("ord-8-12"))["outcome"] == "done", "a repaired file counts from the next order on"


@pytest.mark.parametrize("break_it", ["mode", "length", "absent", "link", "identity"])
def test_a_key_that_cannot_be_trusted_is_not_used(host, break_it):
    key, identity = host.state / "executor.key", host.state / "identity.json"
    if break_it == "mode":
        key.chmod(0o640)
    elif break_it == "length":
        key.write_bytes(b"short")
    elif break_it == "absent":
        key.unlink()
    elif break_it == "link":
        key.rename(host.folder / "elsewhere")
        key.symlink_to(host.folder / "elsewhere")
    else:
        identity.write_text("{}")
    host.start()
    answer = host.order("ord-9-1")[0]
    assert (answer["event"], answer["reason"]) == ("refused", "not_enrolled")
    assert answer["detail"].startswith("cannot ")
    assert host.runs() == 0


def test_a_damaged_ledger_stops_everything_and_names_the_line(host):
    host.start()
    for number in range(3):
        host.order(f"ord-10-{number}")
    host.stop()
    lines = host.ledger.read_bytes().split(b"\n")
    lines[2] = lines[2].replace(b"ord-10-1", b"ord-10-9")
    host.ledger.write_bytes(b"\n".join(lines))
    host.start()
    answer = host.order("ord-10-7")[0]
    assert answer["reason"] == "ledger_unavailable"
    assert "line 3" in answer["detail"]
    assert host.runs() == 3


def test_a_full_disk_stops_orders_before_their_effect_and_frees_them_later(host):
    def tiny_files() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (2200, 2200))

    host.start(preexec_fn=tiny_files)
    reasons = [host.order(f"ord-11-{n}")[-1].get("reason") for n in range(6)]
    assert reasons[0] is None
    assert reasons[-1] == "ledger_unavailable"
    ran = host.runs()
    host.stop()
    host.start()
    outcomes = [opened(host.order(f"ord-11-{n}"))["outcome"] for n in range(6)]
    assert host.runs() >= ran
    begun = [r["order_id"] for r in host.records() if r["kind"] == "begin"]
    assert len(begun) == len(set(begun)) == host.runs()
    assert outcomes[-1] == "done"


def test_a_declaration_is_kept_sealed_and_only_ever_rises(host):
    host.start()
    units = {"shop.service": {"restart": "never"}}
    assert host.ask(sealed(declared(version=5, units=units))) == [{"event": "stored", "declaration_version": 5}]
    assert host.ask(sealed(declared(version=5, units=units)))[0]["event"] == "stored", "the same again is no error"
    assert host.ask(sealed(declared(version=5)))[0]["reason"] == "stale_version", "the same version must say the same"
    assert host.ask(sealed(declared(version=4)))[0]["reason"] == "stale_version"
    assert host.ask(sealed(declared(version=6, epoch=0)))[0]["reason"] == "stale_epoch"
    assert host.ask(sealed(declared(version=6, host_id="h-other")))[0]["reason"] == "wrong_host"
    assert host.ask(sealed(declared(version=6), key=b"x" * 32))[0]["reason"] == "bad_seal"
    assert host.ask({"op": "hello"})[0]["declaration_version"] == 5
    host.kill()
    host.start()
    answer = opened(host.order("ord-12-1", action="restart_unit", params={"unit": "shop.service"}))
    assert answer["reason"] == "restart_never", "it outlives the process"


def test_a_declaration_that_was_changed_on_disk_declares_nothing(host):
    host.start()
    host.ask(sealed(declared(version=1, units={"shop.service": {"restart": "never"}})))
    stored = host.state / "declaration.json"
    stored.write_text(stored.read_text().replace("never", "allow"))
    refused = opened(host.order("ord-13-1", action="restart_unit", params={"unit": "shop.service"}))
    assert refused["reason"] == "declaration_unavailable"
    assert host.ask(sealed(declared(version=2)))[0]["event"] == "stored", "a good one replaces it"


@pytest.mark.parametrize(
    "raw",
    [
        struct.pack(">I", 2 * 1024 * 1024),
        struct.pack(">I", 4) + b"nope",
        struct.pack(">I", 2) + b"[]",
        struct.pack(">I", 15) + b'{"op":"shell"} ',
        struct.pack(">I", 14) + b'{"op":"order"}',
        struct.pack(">I", 46) + b'{"op":"order", "payload": "{}", "mac": "zzzz"}',
        b"\0\0",
    ],
)
def test_garbage_gets_a_refusal_and_the_executor_goes_on(host, raw):
    host.start()
    with host.dial() as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        assert [(a["event"], a["reason"]) for a in answers(connection)] == [("refused", "unreadable")]
    assert host.ask({"op": "hello"})[0]["permitted_actions"] == [
        "clear_directory",
        "clear_journal",
        "collect_evidence",
        "restart_unit",
        "run_command",
    ]


@pytest.fixture
def server_for(host):
    """A server in this process that serves the given uids."""
    running = []

    def begin(uids: set[int]):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(host.socket))
        listener.listen(16)
        said: list[str] = []
        desk = Desk(str(host.state), str(host.policy), BOOT, said.append, Runner(said.append))
        server = Server(listener, desk, frozenset(uids), said.append)
        thread = threading.Thread(target=server.serve, args=(0,))
        thread.start()
        running.append((server, thread, desk, listener))
        return said

    yield begin
    for server, thread, desk, listener in running:
        server.stop()
        thread.join()
        desk.close()
        listener.close()


def test_another_user_is_refused_by_what_the_kernel_says_of_it(host, server_for):
    said = server_for({os.getuid() + 1})
    with host.dial() as connection:
        assert [a["reason"] for a in answers(connection)] == ["peer_denied"]
    assert f"uid {os.getuid()}" in said[0]
    assert not host.ledger.exists()


def test_more_connections_than_its_bound_are_turned_away(host, server_for):
    server_for({os.getuid()})
    held = [host.dial() for _ in range(CONNECTIONS_MAX)]
    with host.dial() as one_more:
        assert [a["reason"] for a in answers(one_more)] == ["busy"]
    for connection in held:
        connection.close()
    wait_until(lambda: _has_room(host), "room for a connection")


def _has_room(host) -> bool:
    """While the held ones are being let go, a further one is turned away: with a word, or cut before it is read."""
    try:
        return host.ask({"op": "hello"})[0]["event"] == "hello"
    except (ConnectionResetError, BrokenPipeError):
        return False


def test_the_key_may_be_written_in_hexadecimal(host):
    (host.state / "executor.key").write_text(KEY.hex() + "\n")
    host.start()
    assert opened(host.order("ord-14-1"))["outcome"] == "done"


def test_evidence_is_bounded_and_needs_no_declaration(host):
    host.start()
    end = opened(host.order("ord-15-1", action="collect_evidence", params={"unit": "no-such.service", "lines": 5}))
    assert end["outcome"] == "done"
    assert "== processes" in end["output"]
    assert "== filesystems" in end["output"]
    assert len(end["output"]) < 60_000
