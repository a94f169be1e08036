"""What an executor says it ran: told to people as lines, however odd it is."""

from __future__ import annotations

import pytest

from fleetmend.seal import seal
from fleetmend.v1 import link_pb2
from fleetmend_controller.gateway.orders import COMMANDS_MAX, Sealer

HOST = "h-0123456789abcdef"


def lines(commands: object) -> tuple[str, ...]:
    sealer = Sealer(b"m" * 32)
    document = {
        "kind": "outcome",
        "v": 1,
        "order_id": "ord-1-1",
        "host_id": HOST,
        "boot_id": "b",
        "epoch": 1,
        "outcome": "done",
    }
    document |= {"reason": "", "detail": "", "started_clock_ms": 1, "ended_clock_ms": 2, "output": "", "commands": commands}
    payload, mac = seal(sealer.key(HOST), document)
    ended = sealer.outcome(HOST, link_pb2.OrderOutcome(order_id="ord-1-1", payload=payload, mac=mac), "b", HOST)
    assert ended is not None
    return ended.commands


def test_each_command_is_a_line_with_its_end():
    ran = [{"argv": ["systemctl", "restart", "a b.service"], "exit": 0, "ms": 290}, {"argv": ["true"], "exit": -9, "ms": 1}]
    assert lines(ran) == ("systemctl restart 'a b.service': exit 0 after 290 ms", "true: exit -9 after 1 ms")


@pytest.mark.parametrize("odd", [None, "x", {"argv": []}, [1, "x", None], [{"argv": "ls"}], [{}]])
def test_what_has_another_form_is_left_out(odd):
    assert lines(odd) == ()


def test_number_length_and_characters_are_bounded():
    told = lines([{"argv": ["\x1b[31m" * 400], "exit": "x" * 400, "ms": 1}] * (COMMANDS_MAX + 5))
    assert len(told) == COMMANDS_MAX
    assert all(len(line) < 700 and "\x1b" not in line for line in told)
