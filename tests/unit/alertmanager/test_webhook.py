"""The webhook's port as Alertmanager and strangers see it."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from fleetmend_controller.decider.ports import JournalUnavailable
from fleetmend_controller.http import alertmanager
from fleetmend_controller.http.alertmanager import PATH, make_app

from .world import World

JSON = {"content-type": "application/json"}


def ask(tmp_path, content: bytes, headers=None, token: str = "", method: str = "POST", break_with=None):
    """One request to a controller with one host."""

    async def story() -> tuple[httpx.Response, World]:
        async with World(tmp_path) as w:
            await w.host("web-1")
            file = None
            if token:
                file = tmp_path / "token"
                file.write_text(token)
            if break_with is not None:
                w.inbox.take = break_with
            transport = httpx.ASGITransport(make_app(w.inbox, w.metrics, file))
            async with httpx.AsyncClient(transport=transport, base_url="http://controller") as client:
                sent = JSON if headers is None else headers
                return await client.request(method, PATH, content=content or w.body(w.alert()), headers=sent), w

    return asyncio.run(story())


def test_alerts_are_taken_and_counted(tmp_path):
    answer, w = ask(tmp_path, b"")
    assert (answer.status_code, answer.json()) == (200, {"placed": 1, "unplaced": 0, "own": 0, "rejected": 0})
    assert w.metrics.alerts.labels("placed")._value.get() == 1
    assert len(w.incidents) == 1


@pytest.mark.parametrize(
    ("content", "headers", "status", "reason"),
    [
        (b"{", JSON, 400, "bad_body"),
        (b"[]", JSON, 400, "bad_body"),
        (b'{"alerts": {}}', JSON, 400, "bad_body"),
        (json.dumps({"alerts": [{}] * 5_001}).encode(), JSON, 400, "bad_body"),
        (b"[" * 100_000, JSON, 400, "bad_body"),
        (b" " * (4 * 1024 * 1024 + 1), JSON, 413, "too_large"),
        (b"{}", {"content-type": "text/plain"}, 415, "media_type"),
        (b"{}", {}, 415, "media_type"),
    ],
)
def test_what_no_alertmanager_sends_is_refused(tmp_path, content, headers, status, reason):
    answer, w = ask(tmp_path, content, headers)
    assert answer.status_code == status
    assert answer.json()["error"].startswith("cannot ")
    assert w.metrics.webhook_refused.labels(reason)._value.get() == 1
    assert w.incidents == []


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer ", "secret", "Basic secret", "Bearer s\xe9cret"])
def test_without_the_token_nothing_is_taken(tmp_path, header):
    headers = JSON | ({"authorization": header} if header is not None else {})
    answer, w = ask(tmp_path, b"", {k: v.encode("latin-1") for k, v in headers.items()}, token="secret")
    assert (answer.status_code, w.incidents) == (401, [])


def test_with_the_token_it_is(tmp_path):
    answer, _ = ask(tmp_path, b"", JSON | {"authorization": "Bearer secret"}, token="secret")
    assert answer.status_code == 200


def test_a_token_that_cannot_be_read_lets_nobody_in(tmp_path):
    answer, _ = ask(tmp_path, b"", JSON | {"authorization": "Bearer \n"}, token="\n")
    assert answer.status_code == 503


def test_while_the_journal_takes_nothing_alertmanager_tries_again(tmp_path):
    async def broken(_raw: bytes):
        raise JournalUnavailable("disk full")

    answer, _ = ask(tmp_path, b"", break_with=broken)
    assert answer.status_code == 503
    assert answer.json()["error"] == "cannot take alerts now: disk full"


def test_only_a_post_is_known(tmp_path):
    assert ask(tmp_path, b"", method="GET")[0].status_code == 405


def test_a_body_that_does_not_come_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(alertmanager, "BODY_TIMEOUT_S", 0.05)

    async def story():
        async with World(tmp_path) as w:
            app = make_app(w.inbox, w.metrics, None)
            sent = []

            async def receive():
                await asyncio.sleep(60)

            async def send(message):
                sent.append(message)

            scope = {"type": "http", "method": "POST", "path": PATH, "headers": [(b"content-type", b"application/json")]}
            await app(scope | {"query_string": b"", "http_version": "1.1", "root_path": ""}, receive, send)
            return sent[0]["status"]

    assert asyncio.run(story()) == 408
