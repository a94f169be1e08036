"""The frames to the executor, against a socket that answers as each test says."""

from __future__ import annotations

import asyncio
import json
import struct

import pytest

from fleetmend_agent import executor_client as module
from fleetmend_agent.executor_client import FRAME_BYTES_MAX, AnswerLost, ExecutorClient, ExecutorRefused, ExecutorUnreachable

OUTCOME = {"event": "outcome", "order_id": "ord-1-1", "payload": '{"kind":"outcome"}', "mac": "0a0b"}


def frame(document) -> bytes:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return struct.pack(">I", len(body)) + body


async def asked(tmp_path, answers: bytes, call):
    """What a call returns, and the request that arrived."""
    requests = []

    async def serve(reader, writer):
        (length,) = struct.unpack(">I", await reader.readexactly(4))
        requests.append(json.loads(await reader.readexactly(length)))
        writer.write(answers)
        await writer.drain()
        writer.close()

    path = str(tmp_path / "executor.sock")
    server = await asyncio.start_unix_server(serve, path)
    async with server:
        return await call(ExecutorClient(path)), requests


def test_an_order_and_its_answers(tmp_path):
    started = []
    answers = frame({"event": "started", "order_id": "ord-1-1", "started_clock_ms": 5}) + frame(OUTCOME)
    outcome, requests = asyncio.run(
        asked(tmp_path, answers, lambda client: client.order(b'{"a":1}', b"\x01\x02", lambda *what: started.append(what)))
    )
    assert requests == [{"op": "order", "payload": '{"a":1}', "mac": "0102"}]
    assert started == [("ord-1-1", 5)]
    assert (outcome.order_id, outcome.payload, outcome.mac) == ("ord-1-1", b'{"kind":"outcome"}', b"\x0a\x0b")


def test_hello_and_declaration(tmp_path):
    hello = {"event": "hello", "permitted_actions": ["restart_unit"]}
    answer, requests = asyncio.run(asked(tmp_path, frame(hello), lambda client: client.hello()))
    assert answer == hello
    assert requests == [{"op": "hello"}]
    _, requests = asyncio.run(asked(tmp_path, frame({"event": "stored"}), lambda client: client.declare(b"{}", b"\xff")))
    assert requests == [{"op": "declaration", "payload": "{}", "mac": "ff"}]


def test_it_is_roused_by_a_hello_and_not_again_while_it_must_still_be_there(tmp_path, monkeypatch):
    async def rouse_twice(client):
        await client.rouse()
        await client.rouse()

    hello = frame({"event": "hello"})
    assert asyncio.run(asked(tmp_path, hello, rouse_twice))[1] == [{"op": "hello"}]
    monkeypatch.setattr(module, "ROUSE_EVERY_S", 0)
    assert asyncio.run(asked(tmp_path, hello, rouse_twice))[1] == [{"op": "hello"}] * 2


@pytest.mark.parametrize("answers", [b"", frame({"event": "refused", "reason": "busy", "detail": "too many"})])
def test_rousing_that_fails_is_no_error_of_the_agent(tmp_path, caplog, answers):
    caplog.set_level("DEBUG")
    asyncio.run(asked(tmp_path, answers, lambda client: client.rouse()))
    assert [record.name for record in caplog.records].count("fleetmend-agent") == 1
    asyncio.run(ExecutorClient(str(tmp_path / "nobody.sock")).rouse())
    assert "nobody.sock" in caplog.text


def test_permits_their_use_and_what_became_of_one(tmp_path):
    _, requests = asyncio.run(asked(tmp_path, frame({"event": "stored"}), lambda client: client.keep_permits(b"{}", b"\xff")))
    assert requests == [{"op": "permits", "payload": "{}", "mac": "ff"}]
    started = []
    answers = frame({"event": "started", "order_id": "permit-1", "started_clock_ms": 5, "permit": "{}"}) + frame(OUTCOME)
    use = lambda client: client.permit(b"{}", b"\xff", "permit-1", {"key": ""}, lambda *what: started.append(what))  # noqa: E731
    outcome, requests = asyncio.run(asked(tmp_path, answers, use))
    assert requests == [{"op": "permit", "payload": "{}", "mac": "ff", "permit_id": "permit-1", "trigger": {"key": ""}}]
    assert (started, outcome.mac) == ([("permit-1", 5, "{}")], b"\x0a\x0b")
    outcome, requests = asyncio.run(asked(tmp_path, frame(OUTCOME), lambda client: client.used("permit-1")))
    assert requests == [{"op": "used", "permit_id": "permit-1"}]
    assert outcome.payload == b'{"kind":"outcome"}'


def test_a_refusal_has_its_word(tmp_path):
    answer = frame({"event": "refused", "reason": "bad_seal", "detail": "no"})
    with pytest.raises(ExecutorRefused, match="no") as refused:
        asyncio.run(asked(tmp_path, answer, lambda client: client.hello()))
    assert refused.value.reason == "bad_seal"


def test_nobody_there_is_unreachable(tmp_path):
    with pytest.raises(ExecutorUnreachable, match="cannot reach the executor"):
        asyncio.run(ExecutorClient(str(tmp_path / "none.sock")).hello())


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        frame(OUTCOME)[:-1],
        struct.pack(">I", FRAME_BYTES_MAX + 1),
        frame(b"not json"),
        frame([1]),
        frame({"event": "outcome", "order_id": "x"}),
        frame(OUTCOME | {"mac": "zz"}),
    ],
)
def test_an_answer_that_breaks_off_or_is_garbage_is_lost(tmp_path, answer):
    with pytest.raises(AnswerLost, match="cannot read the executor's"):
        asyncio.run(asked(tmp_path, answer, lambda client: client.order(b"{}", b"", lambda *_: None)))
