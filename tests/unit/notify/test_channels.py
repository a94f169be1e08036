"""Each channel against a receiver on loopback: what it sends, and what it makes of every kind of answer."""

from __future__ import annotations

import asyncio
import email
import email.policy
import hashlib
import hmac
import json
import ssl
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trustme
import yaml

from fleetmend import registry
from fleetmend_controller import notify
from fleetmend_controller.notify import Answer, Channel, Kind, Message, Outcome, _http
from fleetmend_controller.options import mapping

from .receivers import cut_off, mail_server, receiver, status

MESSAGE = Message(
    id="fleetmend/inc-7/escalated",
    thread="fleetmend/inc-7",
    kind=Kind.ESCALATED,
    at_ms=1_700_000_000_123,
    incident="inc-7",
    opened_ms=1_699_999_990_000,
    host="web-1",
    host_id="h-1",
    check="unit_failed",
    key="nginx.service",
    summary="nginx.service is <failed> & *gone*",
    playbook="restart-failed-unit",
    to="platform-oncall",
    severity="page",
    why="steps_exhausted",
    text="every step was tried",
    source="fleetmend",
    labels={"role": "web"},
)
CHANNELS = registry.load(notify, "CHANNEL", Channel)


def options(name: str, **given: Any) -> dict[str, Any]:
    """Options as the configuration would give them."""
    node = yaml.compose(yaml.safe_dump({k: str(v) if isinstance(v, Path) else v for k, v in given.items()}))
    return mapping(CHANNELS[name].options)(node)


def secret(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{text}\n")
    return path


def send(name: str, given: dict[str, Any], message: Message = MESSAGE) -> Any:
    return CHANNELS[name].send(given, message)


def test_there_is_a_channel_for_each_of_these():
    assert list(CHANNELS) == ["alertmanager", "apprise", "email", "pagerduty", "slack", "webhook"]
    assert all(channel.summary and all(option.doc for option in channel.options) for channel in CHANNELS.values())


@pytest.mark.parametrize(
    ("answer", "outcome", "text"),
    [
        (status(204, ""), Outcome.ACCEPTED, ""),
        (cut_off(200), Outcome.ACCEPTED, ""),
        (cut_off(500), Outcome.LATER, "status 500 half (cut off)"),
        (status(500, "broken"), Outcome.LATER, "status 500 broken"),
        (status(401), Outcome.LATER, "status 401 no"),
        (status(404), Outcome.LATER, "status 404 no"),
        (status(302, location="http://127.0.0.1:1/"), Outcome.LATER, "status 302 no"),
        (status(400, "bad\x1b[31m form"), Outcome.REFUSED, "status 400 bad"),
        (b"", Outcome.LATER, "RemoteProtocolError"),
        (b"garbage\r\n\r\n", Outcome.LATER, "RemoteProtocolError"),
    ],
)
def test_what_an_answer_means(answer, outcome, text):
    async def story() -> Answer:
        async with receiver(answer) as other:
            return await send("webhook", options("webhook", url=other.url))

    found = asyncio.run(story())
    assert found.outcome is outcome
    assert found.text.startswith(text)
    assert "\x1b" not in found.text


@pytest.mark.parametrize(
    ("headers", "ms"),
    [
        ({"retry_after": "7"}, 7_000),
        ({"retry_after": "999999999"}, 3_600_000),
        ({"retry_after": "-5"}, 0),
        ({"retry_after": "soon"}, 0),
        ({"retry_after": "Wed, 01 Jan 2025 00:01:00 GMT", "date": "Wed, 01 Jan 2025 00:00:00 GMT"}, 60_000),
        ({"retry_after": "Wed, 01 Jan 2025 00:01:00 GMT"}, 0),
        ({}, 0),
    ],
)
def test_how_long_the_other_side_asks_us_to_wait_is_read(headers, ms):
    async def story() -> Answer:
        async with receiver(status(429, **headers)) as other:
            return await send("webhook", options("webhook", url=other.url))

    found = asyncio.run(story())
    assert (found.outcome, found.retry_after_ms) == (Outcome.LATER, ms)


def test_who_does_not_answer_is_left_after_a_while(monkeypatch):
    monkeypatch.setattr(_http, "SEND_TIMEOUT_S", 0.2)

    async def story() -> Answer:
        async with receiver(None) as other:
            return await send("webhook", options("webhook", url=other.url))

    found = asyncio.run(story())
    assert (found.outcome, found.text) == (Outcome.LATER, "no answer within 0.2 s")


def test_who_is_not_there_is_named():
    found = asyncio.run(send("webhook", options("webhook", url="http://127.0.0.1:1/x")))
    assert found.outcome is Outcome.LATER
    assert found.text.startswith("ConnectError")


def test_the_webhook_document_is_signed_and_carries_its_token(tmp_path):
    key = secret(tmp_path, "key")

    async def story():
        async with receiver() as other:
            given = options("webhook", url=f"{other.url}/in?x=1", hmac_file=key, token_file=key)
            assert (await send("webhook", given)).outcome is Outcome.ACCEPTED
            return other.got[0]

    got = asyncio.run(story())
    assert got.path == "/in?x=1"
    assert got.headers["x-fleetmend-signature"] == "sha256=" + hmac.new(b"key", got.body, hashlib.sha256).hexdigest()
    assert got.headers["authorization"] == "Bearer key"
    assert got.headers["idempotency-key"] == got.json["id"] == MESSAGE.id
    assert got.json == {
        "version": 1,
        "id": "fleetmend/inc-7/escalated",
        "thread": "fleetmend/inc-7",
        "event": "escalated",
        "source": "fleetmend",
        "at": "2023-11-14T22:13:20.123Z",
        "to": "platform-oncall",
        "severity": "page",
        "why": "steps_exhausted",
        "text": "every step was tried",
        "by": "",
        "reminder": 0,
        "until": None,
        "incident": {
            "id": "inc-7",
            "opened": "2023-11-14T22:13:10.000Z",
            "check": "unit_failed",
            "key": "nginx.service",
            "summary": "nginx.service is <failed> & *gone*",
            "playbook": "restart-failed-unit",
        },
        "host": {"id": "h-1", "name": "web-1", "labels": {"role": "web"}},
    }


def test_a_secret_that_is_missing_can_be_put_there_later(tmp_path):
    given = options("webhook", url="http://127.0.0.1:1/", token_file=tmp_path / "none")
    found = asyncio.run(send("webhook", given))
    assert (found.outcome, found.text) == (Outcome.LATER, f"cannot read {tmp_path / 'none'}: No such file or directory")


def test_slack_gets_text_that_is_neither_link_nor_markup(tmp_path):
    async def story():
        async with receiver() as other:
            given = options("slack", url_file=secret(tmp_path, f"{other.url}/services/T/B/x"))
            assert (await send("slack", given)).outcome is Outcome.ACCEPTED
            return other.got[0]

    got = asyncio.run(story())
    lines = got.json["text"].splitlines()
    assert lines[0].startswith("*[page] unit_failed nginx.service on web-1: nginx.service is &lt;failed&gt; &amp; ")
    assert lines[0].count("*") == 2
    assert lines[1:] == ["platform-oncall: every step was tried", "`fleetmend explain inc-7`"]


def test_pagerduty_opens_takes_and_ends_one_incident(tmp_path):
    key = secret(tmp_path, "R0UT1NG")

    async def story():
        async with receiver(status(202, '{"status":"success"}')) as other:
            given = options("pagerduty", routing_key_file=key, url=f"{other.url}/v2/enqueue")
            for kind in (Kind.ESCALATED, Kind.ACKNOWLEDGED, Kind.RESOLVED):
                assert (await send("pagerduty", given, replace(MESSAGE, kind=kind))).outcome is Outcome.ACCEPTED
            return [got.json for got in other.got]

    first, second, third = asyncio.run(story())
    assert [event["event_action"] for event in (first, second, third)] == ["trigger", "acknowledge", "resolve"]
    assert {event["dedup_key"] for event in (first, second, third)} == {"fleetmend/inc-7"}
    assert {event["routing_key"] for event in (first, second, third)} == {"R0UT1NG"}
    assert first["payload"]["severity"] == "critical"
    assert first["payload"]["source"] == "web-1"
    assert first["payload"]["timestamp"] == "2023-11-14T22:13:20.123Z"
    assert "payload" not in second


def test_every_member_of_an_alertmanager_cluster_is_told():
    async def story():
        async with receiver() as one, receiver() as two:
            given = options("alertmanager", urls=[one.url, f"{two.url}/"])
            assert (await send("alertmanager", given)).outcome is Outcome.ACCEPTED
            ended = replace(MESSAGE, kind=Kind.RESOLVED, at_ms=MESSAGE.at_ms + 1)
            assert (await send("alertmanager", given, ended)).outcome is Outcome.ACCEPTED
            return one.got, two.got

    one, two = asyncio.run(story())
    assert [got.path for got in one] == [got.path for got in two] == ["/api/v2/alerts"] * 2
    (fired,), (ended,) = one[0].json, one[1].json
    assert fired["labels"] == ended["labels"]
    assert fired["labels"]["alertname"] == "FleetmendIncident"
    assert fired["labels"]["host"] == "web-1"
    assert fired["startsAt"] == ended["startsAt"] == "2023-11-14T22:13:10.000Z"
    assert ended["endsAt"] == "2023-11-14T22:13:20.124Z" < fired["endsAt"]


@pytest.mark.parametrize(("kind", "outcome"), [(Kind.ESCALATED, Outcome.ACCEPTED), (Kind.RESOLVED, Outcome.LATER)])
def test_a_member_that_is_away_is_told_by_repetition_but_of_an_end_it_must_hear(kind, outcome):
    async def story() -> Answer:
        async with receiver() as one, receiver(status(503)) as two:
            return await send("alertmanager", options("alertmanager", urls=[one.url, two.url]), replace(MESSAGE, kind=kind))

    found = asyncio.run(story())
    assert found.outcome is outcome
    assert "status 503" in found.text


def mail(**more: Any) -> dict[str, Any]:
    return {"host": "127.0.0.1", "from": "fleetmend@test", "to": ["a@test", "b@test"], **more}


def test_a_mail_in_the_clear_says_what_it_must():
    async def story():
        async with mail_server() as server:
            given = options("email", **mail(port=server.port, tls="plain"))
            assert (await send("email", given)).outcome is Outcome.ACCEPTED
            hostile = replace(
                MESSAGE, id="fleetmend/inc-7/resolved", kind=Kind.RESOLVED, text="over\r\nBcc: evil@test\r\n\r\nspam"
            )
            assert (await send("email", given, hostile)).outcome is Outcome.ACCEPTED
            return server.mails

    first, second = (email.message_from_string(text, policy=email.policy.default) for text in asyncio.run(story()))
    assert first["Subject"].startswith("[page] unit_failed nginx.service on web-1")
    assert (first["From"], first["To"]) == ("fleetmend@test", "a@test, b@test")
    assert "fleetmend explain inc-7" in first.get_payload()
    assert first["References"] == second["References"]
    assert first["Message-ID"] != second["Message-ID"]
    assert second["Bcc"] is None


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_a_mail_over_tls_logs_in(tmp_path, tls):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def story(**ca: Path):
        async with mail_server(context, wrapped=tls == "tls") as server:
            given = mail(port=server.port, tls=tls, user="me", password_file=secret(tmp_path, "pw"), **ca)
            return await send("email", options("email", **given)), server

    answer, server = asyncio.run(story(ca_file=tmp_path / "ca"))
    assert (answer.outcome, server.logins, server.encrypted) == (Outcome.ACCEPTED, [":me:pw"], [True])
    answer, server = asyncio.run(story())
    assert (answer.outcome, server.logins, server.mails) == (Outcome.LATER, [], [])
    assert "certificate" in answer.text


@pytest.mark.parametrize(
    ("says", "outcome"),
    [
        ({"MAIL": "451 later"}, Outcome.LATER),
        ({"RCPT": "450 greylisted"}, Outcome.LATER),
        ({"RCPT": "550 nobody here"}, Outcome.REFUSED),
        ({"END": "554 not that"}, Outcome.REFUSED),
        ({"AUTH": "535 wrong"}, Outcome.LATER),
        ({"EHLO": "421 busy"}, Outcome.LATER),
    ],
)
def test_what_a_mail_server_says_is_understood(tmp_path, says, outcome):
    async def story() -> Answer:
        async with mail_server(**says) as server:
            given = mail(port=server.port, tls="plain", user="me", password_file=secret(tmp_path, "pw"))
            return await send("email", options("email", **given))

    assert asyncio.run(story()).outcome is outcome


def test_a_password_does_not_travel_in_the_clear(tmp_path):
    given = mail(tls="plain", user="me", password_file=secret(tmp_path, "pw"))
    judge = CHANNELS["email"].judge
    assert judge(options("email", **given)) == ""
    assert "in the clear" in judge(options("email", **given | {"host": "mail.test"}))
    assert "belong together" in judge(options("email", **mail(user="me")))


class Apprise(ModuleType):
    """As much of the real one as is used; the test below has the real one."""

    told: list[dict[str, str]]

    def Apprise(self) -> Apprise:
        return self

    def add(self, url: str) -> bool:
        return url.startswith("json")

    def notify(self, **what: str) -> bool:
        self.told.append(what)
        return what["notify_type"] != "success"


def test_apprise_is_told_in_its_words(tmp_path, monkeypatch):
    fake = Apprise("apprise")
    fake.told = []
    fake.__spec__ = registry.import_one.__globals__["importlib"].machinery.ModuleSpec("apprise", None)
    monkeypatch.setitem(sys.modules, "apprise", fake)
    given = options("apprise", urls_file=secret(tmp_path, "json://127.0.0.1"))
    assert asyncio.run(send("apprise", given)).outcome is Outcome.ACCEPTED
    assert fake.told[0]["notify_type"] == "failure"
    assert asyncio.run(send("apprise", given, replace(MESSAGE, kind=Kind.RESOLVED))).outcome is Outcome.LATER
    given = options("apprise", urls_file=secret(tmp_path, "mytoken://secret"))
    found = asyncio.run(send("apprise", given))
    assert found.text == "cannot use line 1 of urls_file: Apprise knows no such URL"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("answer", "outcome"), [(status(200), Outcome.ACCEPTED), (status(500), Outcome.LATER)])
def test_the_real_apprise_does_what_the_fake_one_does(tmp_path, answer, outcome):
    pytest.importorskip("apprise", reason="the extra fleetmend[apprise] is not installed")

    async def story():
        async with receiver(answer) as other:
            given = options("apprise", urls_file=secret(tmp_path, f"json://127.0.0.1:{other.port}/x"))
            return await send("apprise", given), other.got[0].json

    found, got = asyncio.run(story())
    assert found.outcome is outcome
    assert (got["title"], got["type"]) == (MESSAGE.headline, "failure")


def test_without_apprise_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("fleetmend_controller.notify.apprise.find_spec", lambda _name: None)
    found = asyncio.run(send("apprise", options("apprise", urls_file=secret(tmp_path, "json://127.0.0.1"))))
    assert found.outcome is Outcome.LATER
    assert 'pip install "fleetmend[apprise]"' in found.text


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("name", ["alertmanager", "pagerduty", "slack", "webhook"])
def test_every_kind_of_message_has_a_form(tmp_path, name, kind):
    async def story():
        async with receiver() as other:
            given = {
                "alertmanager": {"urls": [other.url]},
                "pagerduty": {"routing_key_file": secret(tmp_path, "x"), "url": other.url},
                "slack": {"url_file": secret(tmp_path, other.url)},
                "webhook": {"url": other.url},
            }[name]
            message = replace(MESSAGE, kind=kind, host="", host_id="", by="ann", until_ms=MESSAGE.at_ms + 1, reminder=2)
            assert (await send(name, options(name, **given), message)).outcome is Outcome.ACCEPTED
            json.loads(other.got[0].body)

    asyncio.run(story())
