"""Whatever bytes arrive or lie on disk: a decoder gives a value or its documented error, never anything else.

YAML rules, parameters, the ledger's lines, gauges and what checks read have such tests beside their own.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import struct
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fleetmend.catalogue import CatalogueError, load_catalogue, parse_catalogue
from fleetmend.seal import DOCUMENT_BYTES_MAX, SealError, derive_host_key, mac, seal, unseal
from fleetmend.v1 import link_pb2
from fleetmend_agent import wire
from fleetmend_agent.config import ConfigError, load
from fleetmend_agent.outbox import Outbox
from fleetmend_controller.core.model import Fleet, Incident, Status
from fleetmend_controller.gateway import bounds
from fleetmend_controller.gateway.intake import Intake
from fleetmend_controller.gateway.inventory import Inventory
from fleetmend_controller.gateway.orders import Sealer
from fleetmend_controller.gateway.records import SICK_MAX, Sent, Translator, orders_in
from fleetmend_controller.store import codec
from fleetmend_executor import declaration, policy
from fleetmend_executor.documents import NotTaken, parse_order
from fleetmend_executor.server import FrameError, receive_frame

MASTER = bytes(range(32))
HOST = "h-1"
KEY = derive_host_key(MASTER, HOST)
BOOT = "boot-1"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
DEEP = "[" * 100_000
quick = settings(max_examples=100, deadline=None)


def fields(names: tuple[str, ...]) -> st.SearchStrategy[dict[str, object]]:
    """Documents with the right names and any values, some of them missing."""
    return st.dictionaries(st.sampled_from(names), JSON, max_size=len(names))


# What an agent sends to the gateway.

TEXT = st.text(max_size=60) | st.sampled_from(["units", "nginx.service", BOOT, "ord-1-1", "x" * 2_000])
VALUES = st.builds(link_pb2.Value, text=TEXT) | st.builds(link_pb2.Value, number=st.floats()) | st.just(link_pb2.Value())
INT64 = st.integers(-(2**63), 2**63 - 1)
OBSERVATIONS = st.builds(
    link_pb2.Observation,
    check=TEXT,
    check_type=TEXT,
    key=TEXT,
    status=st.integers(-3, 9),
    finding=st.dictionaries(TEXT, VALUES, max_size=3),
    summary=TEXT,
    sampled_clock_ms=INT64,
    requested=st.booleans(),
)
OUTCOMES = st.builds(
    link_pb2.OrderOutcome,
    order_id=TEXT,
    payload=st.binary(max_size=60),
    mac=st.binary(max_size=40),
    agent_refusal=TEXT | st.just("fault_gone"),
    detail=TEXT,
    ended_clock_ms=INT64,
)
RECORDS = st.lists(
    st.builds(link_pb2.Record, seq=st.integers(0, 2**64 - 1), boot_id=TEXT, observation=OBSERVATIONS)
    | st.builds(link_pb2.Record, boot_id=TEXT, outcome=OUTCOMES)
    | st.builds(
        link_pb2.Record,
        boot_id=TEXT,
        snapshot=st.builds(
            link_pb2.Snapshot, observations=st.lists(OBSERVATIONS, max_size=3), checks=st.lists(TEXT, max_size=3)
        ),
    )
    | st.builds(link_pb2.Record, boot_id=TEXT, started=st.builds(link_pb2.OrderStarted, order_id=TEXT))
    | st.just(link_pb2.Record()),
    max_size=5,
)


def translate(records) -> None:
    translator = Translator(HOST, "box", Sealer(MASTER))
    issued = {"ord-1-1": HOST, "ord-2-1": "h-2"}
    known = {("units", "nginx.service"): Status.CRIT}
    assert all(isinstance(order, str) for order in orders_in(records))
    sent = Sent(1_000, BOOT, 500)
    done = translator.translate(records, sent, known, lambda: list(known), {"units": "unit_failed"}, issued)
    assert len(done.statuses) <= SICK_MAX
    for event in done.events:
        assert event.host == HOST
        text = json.dumps(codec.encode_tagged(event))
        assert codec.decode_event(json.loads(text)) == event, "what the journal keeps is what happened"
        assert "\x1b" not in getattr(event, "summary", "") + getattr(event, "detail", "")


@quick
@given(RECORDS)
def test_any_records_become_events_or_are_rejected(records):
    translate(records)


@quick
@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_no_message(raw):
    with contextlib.suppress(DecodeError):
        message = link_pb2.LinkRequest.FromString(raw)
        translate(message.report.records)


@quick
@given(
    fields(("kind", "host_id", "order_id", "boot_id", "outcome", "reason", "detail", "ended_clock_ms", "output", "commands"))
)
@example({"kind": "outcome", "outcome": "done", "boot_id": BOOT, "ended_clock_ms": True, "commands": [{"argv": [None]}]})
@example({"kind": "outcome", "outcome": [], "boot_id": BOOT, "ended_clock_ms": 1})
@example({"kind": "outcome", "outcome": "done", "boot_id": BOOT, "ended_clock_ms": -1})
def test_an_executor_that_seals_nonsense_is_rejected(document):
    document |= {"kind": "outcome", "host_id": HOST, "order_id": "ord-1-1"}
    payload = json.dumps(document).encode()
    outcome = link_pb2.OrderOutcome(order_id="ord-1-1", payload=payload, mac=mac(KEY, payload))
    translate([link_pb2.Record(boot_id=BOOT, outcome=outcome)])


STATES = st.builds(link_pb2.SubjectState, check=TEXT, key=TEXT, status=st.integers(-1, 9), sampled_clock_ms=INT64)


@quick
@given(st.builds(link_pb2.Heartbeat, unhealthy=st.lists(STATES, max_size=3), presence=st.lists(TEXT, max_size=12)))
def test_any_heartbeat_is_taken_or_malformed(beat):
    class Never:
        def wait_ms(self, key: str, now_ms: int) -> int:
            return 1

    session = SimpleNamespace(host=HOST, statuses={("units", "nginx.service"): Status.CRIT})
    intake = Intake(session, None, None, None, None, None, Never(), lambda: 0)
    intake.present(beat)
    assert len(intake._who) <= 8 * 102
    assert "\n" not in intake._who
    with contextlib.suppress(bounds.Malformed):
        intake.confirm(beat, Sent(0, BOOT, 0))


@quick
@given(st.builds(link_pb2.FactSection, name=TEXT, json=st.text(max_size=40) | JSON.map(json.dumps), error=TEXT))
@example(link_pb2.FactSection(name="kernel", json=DEEP))
@example(link_pb2.FactSection(name="kernel", json='{"x": ' + "9" * 10_000 + "}"))
def test_any_facts_are_kept_or_a_problem(section):
    inventory = Inventory(None)
    problems = inventory.offer(HOST, link_pb2.Facts(sections=[section]), 1)
    assert len(problems) + len(inventory._waiting) == 1


# Sealed documents, and what the executor reads.


@quick
@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
@example(DEEP.encode())
@example(b"\xff")
@example(b"9" * 10_000)
@example(b" " * (DOCUMENT_BYTES_MAX + 1))
def test_a_seal_over_anything_gives_a_document_or_an_error(payload):
    for claimed in (mac(KEY, payload), b"", b"x" * 32):
        try:
            document = unseal(KEY, payload, claimed, "order")
        except SealError:
            continue
        assert document["kind"] == "order"


@quick
@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_what_can_be_sealed_comes_back(document):
    document |= {"kind": "order"}
    with contextlib.suppress(SealError, UnicodeEncodeError):
        payload, made = seal(KEY, document)
        assert unseal(KEY, payload, made, "order") == document


@quick
@given(
    fields(("v", "order_id", "host_id", "boot_id", "action", "epoch", "timeout_ms", "expires_clock_ms", "params")),
    st.booleans(),
)
def test_any_order_is_read_or_unreadable(document, complete):
    if complete:
        texts = dict.fromkeys(("order_id", "host_id", "boot_id", "action"), "x")
        document = {"v": 1, "epoch": 1, "timeout_ms": 1, "expires_clock_ms": 1, **texts, **document}
    with contextlib.suppress(NotTaken):
        order = parse_order(document)
        assert order.order_id.isprintable()
        assert isinstance(order.params, dict)


@quick
@given(fields(("v", "host_id", "version", "epoch", "units", "disposable", "protected")), st.booleans())
@example({"units": {"a.service": {"restart": [], "desired": {}}}}, True)
@example({"disposable": ["/srv/\0", 3], "protected": [None]}, True)
def test_any_declaration_is_read_or_refused(document, complete):
    if complete:
        basis = {"v": 1, "host_id": HOST, "version": 1, "epoch": 1, "units": {}, "disposable": [], "protected": []}
        document = {**basis, **document}
    with contextlib.suppress(declaration.DeclarationError):
        assert declaration.parse(document, HOST).version >= 0


@quick
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@example(b"actions: {restart_unit: {units: [" + b"[" * 2_000)
@example(b"? [a]\n: b")
@example(b"a: &a [*a]")
@example(b"\x01")
def test_any_host_policy_is_read_or_refused(raw):
    with contextlib.suppress(policy.PolicyError):
        policy.parse(raw, "executor.yaml")


FRAMES = st.binary(max_size=100) | st.binary(max_size=100).map(lambda body: struct.pack(">I", len(body)) + body)


@quick
@given(FRAMES | JSON.map(lambda value: json.dumps(value).encode()).map(lambda body: struct.pack(">I", len(body)) + body))
@example(b"\xff\xff\xff\xff")
@example(struct.pack(">I", 50_000) + b"[" * 50_000)
def test_any_frame_is_an_object_or_an_error(raw):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(raw)
        theirs.shutdown(socket.SHUT_WR)
        with contextlib.suppress(FrameError):
            assert isinstance(receive_frame(ours), dict)


# What lies on disk.


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(max_size=80) | st.binary(max_size=80).map(lambda body: b"FMOB1\n" + body), max_size=3),
    st.lists(st.sampled_from(["1", "00000000000000000001", "²", "x", "5", "-1"]), min_size=3, max_size=3, unique=True),
    st.booleans(),
)
@example([b"FMOB1\n" + struct.pack(">II", 2**32 - 1, 0)], ["1", "x", "5"], True)
@example([b"FMOB1\n"], ["²", "x", "5"], True)
def test_any_segments_are_an_outbox(bodies, names, same_boot):
    folder = Path(tempfile.mkdtemp(prefix="fm-outbox-"))
    inner = folder / f"{'a' * 32}@{BOOT if same_boot else 'other'}"
    inner.mkdir()
    for name, body in zip(names, bodies, strict=False):
        (inner / f"{name}.seg").write_bytes(body)
    try:
        outbox = Outbox(folder, BOOT, 1 << 20)
        seq = outbox.append(b"new")
        assert outbox.pending(seq - 1, 10, 1 << 20) == [(seq, b"new")]
        outbox.close()
    finally:
        shutil.rmtree(folder)


@quick
@given(st.binary(max_size=150) | st.text(max_size=150).map(str.encode))
@example(b"controller: a\nroots: {proc: [1]}\n")
@example(b"controller: \x01")
@example(b"controller: " + b"[" * 5_000)
@example(b"? {a: b}\n: c")
@example(b"--- a\n--- b")
@example(b"controller: !!python/object:os.system x")
def test_any_agent_settings_are_read_or_every_error_has_its_place(raw):
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        Path(file.name).write_bytes(raw)
        try:
            assert load(Path(file.name)).controller
        except ConfigError as error:
            for line in str(error).splitlines():
                assert line.startswith(file.name)
                assert ": cannot " in line


@quick
@given(st.lists(st.builds(link_pb2.CheckSpec, name=TEXT, type=TEXT, params_json=st.text(max_size=30) | JSON.map(json.dumps))))
@example([link_pb2.CheckSpec(name="a", params_json=DEEP)])
@example([link_pb2.CheckSpec(name="a", params_json='{"x": ' + "9" * 10_000 + "}")])
def test_any_check_from_the_controller_keeps_its_place(checks):
    specs = wire.specs(link_pb2.AgentConfig(checks=checks))
    assert [spec.name for spec in specs] == [check.name for check in checks]


@quick
@given(st.text(max_size=60) | JSON.map(json.dumps) | fields(("version", "checks", "actions")).map(json.dumps))
@example(DEEP)
@example('{"version": 1, "checks": {"a": []}, "actions": {}}')
def test_any_catalogue_is_read_or_refused(text):
    with contextlib.suppress(CatalogueError):
        parse_catalogue(text)


def test_the_catalogue_of_this_version_is_read():
    assert load_catalogue().checks


# What the journal holds.


@quick
@given(st.sampled_from(sorted(codec.EVENTS)), JSON, st.dictionaries(st.sampled_from(["at_ms", "host", "boot", "window"]), JSON))
@example("Observed", [], {})
@example("Observed", {"type": []}, {})
def test_any_row_is_an_event_or_an_error(name, value, given_fields):
    for document in (value, {"type": name, **given_fields}, {"type": value}):
        with contextlib.suppress(codec.CodecError):
            codec.decode_event(document)


@quick
@given(JSON)
@pytest.mark.parametrize("kind", [Fleet, Incident])
def test_any_snapshot_is_state_or_an_error(kind, value):
    with contextlib.suppress(codec.CodecError):
        codec.decode(kind, value)
