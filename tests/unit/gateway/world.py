"""A real gateway on loopback with a real CA and database, and a decider that only remembers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fleetmend.catalogue import Catalogue, CheckSpec, GaugeSpec
from fleetmend.v1 import admin_pb2, admin_pb2_grpc, enroll_pb2, enroll_pb2_grpc, link_pb2, link_pb2_grpc
from fleetmend_controller import rules
from fleetmend_controller.config import Address, Config
from fleetmend_controller.core.policy import Policy
from fleetmend_controller.decider.ports import HostState, JournalUnavailable
from fleetmend_controller.gateway.authz import caller
from fleetmend_controller.gateway.gateway import Gateway, Surroundings
from fleetmend_controller.http.metrics import Metrics
from fleetmend_controller.pki.authority import Authority, init_state, read_master_secret
from fleetmend_controller.pki.names import Role
from fleetmend_controller.pki.operators import Operators
from fleetmend_controller.pki.registry import Registry
from fleetmend_controller.pki.tokens import Tokens
from fleetmend_controller.store.engine import Store, open_engine
from fleetmend_controller.store.tables import metadata

NOW_MS = 1_800_000_000_000
BOOT = "0b0b0b0b-0000-4000-8000-000000000001"
CATALOGUE = Catalogue(
    checks={
        "filesystem_space": CheckSpec(
            "filesystem_space", "Space.", gauges=(GaugeSpec("filesystem_used_ratio", "Used share of the space."),)
        ),
        "nagios_plugin": CheckSpec("nagios_plugin", "A plugin.", gauges=(GaugeSpec("nagios_*", "A figure of the plugin."),)),
    }
)


class Clock:
    """Time that a test moves."""

    def __init__(self, now_ms=NOW_MS):
        self.now_ms = now_ms

    def __call__(self):
        return self.now_ms


def rules_of(*checks):
    """Rules that are nothing but checks."""
    policy = Policy(digest="p", playbooks=(), conditions={}, gates=())
    return rules.RuleSet("r", {}, policy, checks, (), {})


class FakeDecider:
    """Remembers what it is told; `down` makes its journal unavailable."""

    def __init__(self):
        self.events = []
        self.audits = []
        self.sick = {}
        self.acked = {}
        self.wanted = set()
        self.known = True
        self.orders = {}
        self.rules = rules_of()
        self.down = False
        self.epoch = 7
        self.told = asyncio.Event()

    async def submit(self, events):
        if self.down:
            raise JournalUnavailable("cannot write: disk full")
        self.events += events
        self.told.set()

    async def host_state(self, host, outbox):
        return HostState(self.known, self.acked.get((host, outbox), 0), dict(self.sick.get(host, {})))

    async def known_hosts(self):
        return []

    async def order_hosts(self, orders):
        return {order: self.orders[order] for order in orders if order in self.orders}

    async def rules_in_force(self):
        return self.rules

    async def wants_evidence(self, subjects):
        return [subject for subject in subjects if subject in self.wanted]

    async def audit(self, what, who, host, detail):
        if self.down:
            raise JournalUnavailable("cannot write: disk full")
        self.audits.append((what, who, host, detail))
        self.told.set()

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


class FakeAdmin(admin_pb2_grpc.AdminServiceServicer):
    """Answers a few calls and remembers who made them."""

    def __init__(self):
        self.callers = []

    async def GetStatus(self, request, context):
        self.callers.append(caller())
        return admin_pb2.GetStatusResponse()

    async def CreateToken(self, request, context):
        self.callers.append(caller())
        return admin_pb2.CreateTokenResponse()

    async def ListTokens(self, request, context):
        raise ZeroDivisionError("a defect")

    async def WatchIncidents(self, request, context):
        self.callers.append(caller())
        yield admin_pb2.WatchIncidentsResponse()


def signing_request(key=None, extensions=(), subject="me"):
    """A key and its PKCS#10 request in DER."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return key, builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def key_pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


class Identity:
    """A key and a certificate, as a client holds them."""

    def __init__(self, key_pem, certificate_pem, name=""):
        self.key_pem = key_pem
        self.certificate_pem = certificate_pem
        self.name = name


class World:
    """The gateway and what a test needs around it."""

    def __init__(self, folder: Path, **config):
        self.folder = folder
        self.clock = Clock()
        ports = {"listen": Address("127.0.0.1", 0), "enrol_listen": Address("127.0.0.1", 0)}
        self.config = Config(admin_socket=folder / "run" / "admin.sock", state_dir=folder / "state", **(ports | config))
        self.metrics = Metrics()
        self.admin = FakeAdmin()
        self.certificates_ms = None

    async def start(self):
        import time

        self.certificates_ms = self.certificates_ms or time.time_ns() // 1_000_000
        self.clock.now_ms = self.certificates_ms
        init_state(self.config.state_dir, (), self.certificates_ms)
        engine = open_engine(self.config.database_url)
        metadata.create_all(engine)
        self.store = Store(engine)
        self.decider = FakeDecider()
        self.authority = Authority(self.config.state_dir)
        self.registry = Registry(self.store, self.decider, self.clock)
        await self.registry.load()
        self.tokens, self.operators = Tokens(self.store), Operators(self.store)
        self.gateway = Gateway(
            Surroundings(
                config=self.config,
                store=self.store,
                decider=self.decider,
                metrics=self.metrics,
                catalogue=CATALOGUE,
                authority=self.authority,
                master=read_master_secret(self.config.state_dir),
                registry=self.registry,
                tokens=self.tokens,
                operators=self.operators,
                clock=self.clock,
                wall_ms=self.clock,
            )
        )
        self.servers = self.gateway.bind(self.admin)
        await self.gateway.start()

    async def stop(self):
        await self.gateway.stop()
        self.store.close()

    async def put_in_force(self, *checks):
        """New rules, as the decider tells of them."""
        asked = asyncio.Event()

        async def rules_in_force():
            asked.set()
            return rules_of(*checks)

        self.decider.rules_in_force = rules_in_force
        self.gateway.rules_changed()
        await asked.wait()

    def refused(self, reason):
        return self.metrics.refused.labels(reason)._value.get()

    def rejected(self, reason):
        return self.metrics.rejected_records.labels(reason)._value.get()

    async def token(self, uses=1, labels=None, ttl_ms=0):
        made = await self.tokens.create(labels or {"role": "web"}, uses, ttl_ms, "ann", self.clock())
        return made.text

    async def enrol(self, name="web-1", token=None, csr=None, machine_id="a" * 32):
        """Enrol over the wire; the response and the host's identity."""
        key, own = signing_request()
        request = enroll_pb2.EnrollRequest(
            token=token or await self.token(), csr_der=own if csr is None else csr, hostname=name, machine_id=machine_id
        )
        async with self.channel(port=self.servers.enrol_port) as channel:
            answer = await enroll_pb2_grpc.EnrollServiceStub(channel).Enroll(request, timeout=10)
        return answer, Identity(key_pem(key), answer.certificate_pem, answer.host_id)

    async def operator(self, name="ann", role="admin"):
        made = await self.operators.add(self.authority, name, role, self.clock())
        return Identity(made.key_pem, made.certificate_pem, name)

    def unlisted_operator(self):
        from datetime import timedelta

        key, issued = self.authority.issue_operator("eve", Role.ADMIN, timedelta(days=1), self.clock())
        return Identity(key, issued.certificate_pem, "eve")

    def channel(self, identity=None, port=None, ca_pem=None, options=()):
        """A client's channel as agents and the CLI make it."""
        credentials = grpc.ssl_channel_credentials(
            ca_pem or self.authority.ca_pem,
            identity.key_pem if identity else None,
            identity.certificate_pem if identity else None,
        )
        return grpc.aio.secure_channel(
            f"127.0.0.1:{port or self.servers.port}",
            credentials,
            options=[("grpc.ssl_target_name_override", "fleetmend-controller"), *options],
        )


class Link:
    """One agent's stream, spoken by a test."""

    def __init__(self, world: World, identity: Identity, boot=BOOT, outbox="box-1"):
        self.channel = world.channel(identity)
        self.call = link_pb2_grpc.LinkServiceStub(self.channel).Link(timeout=60)
        self.boot = boot
        self.outbox = outbox

    async def hello(self, **fields):
        hello = link_pb2.Hello(
            protocol_version=1,
            agent_version="0.1.0",
            boot_id=self.boot,
            sent_clock_ms=50_000,
            wall_ms=NOW_MS,
            outbox_id=self.outbox,
        )
        for name, value in fields.items():
            setattr(hello, name, value)
        try:
            await self.call.write(link_pb2.LinkRequest(hello=hello))
        except grpc.aio.AioRpcError as error:
            # The refusal was quicker than the message.
            raise await self._status() from error
        return await self.read()

    async def _status(self):
        """How the call ended, as the call itself knows it."""
        empty = grpc.aio.Metadata()
        return grpc.aio.AioRpcError(await self.call.code(), empty, empty, await self.call.details())

    async def read(self, kind=None):
        """The next message, or the next of that kind."""
        async with asyncio.timeout(10):
            while True:
                message = await self.call.read()
                if message is grpc.aio.EOF:
                    raise await self._status()
                if kind is None or message.WhichOneof("message") == kind:
                    return message

    async def report(self, *records, clock_ms=60_000, boot=None):
        """Send records; a record is (seq, message of its body)."""
        report = link_pb2.Report(outbox_id=self.outbox, sent_clock_ms=clock_ms, boot_id=boot or self.boot)
        names = {
            link_pb2.Observation: "observation",
            link_pb2.OrderOutcome: "outcome",
            link_pb2.Snapshot: "snapshot",
            link_pb2.OrderStarted: "started",
            link_pb2.PermitUse: "permit_use",
        }
        for seq, body in records:
            report.records.append(link_pb2.Record(seq=seq, boot_id=boot or self.boot, **{names[type(body)]: body}))
        await self.call.write(link_pb2.LinkRequest(report=report))

    async def acked(self, seq):
        """Wait for the acknowledgement up to `seq`."""
        while (await self.read("ack")).ack.seq < seq:
            pass

    async def beat(self, **fields):
        beat = link_pb2.Heartbeat(boot_id=self.boot, sent_clock_ms=61_000, **fields)
        await self.call.write(link_pb2.LinkRequest(heartbeat=beat))

    async def end(self):
        """How the stream ends: every message that still comes, and the status."""
        messages = []
        async with asyncio.timeout(10):
            with contextlib.suppress(grpc.aio.AioRpcError):
                while (message := await self.call.read()) is not grpc.aio.EOF:
                    messages.append(message)
            code = await self.call.code()
        await self.channel.close()
        return messages, code

    async def close(self):
        self.call.cancel()
        await self.channel.close()


def observation(key="nginx.service", status=link_pb2.STATUS_CRIT, check="units", **fields):
    return link_pb2.Observation(
        check=check,
        check_type="unit_failed",
        key=key,
        status=status,
        summary=fields.pop("summary", f"{key} failed"),
        sampled_clock_ms=fields.pop("sampled_clock_ms", 59_000),
        **fields,
    )


@contextlib.asynccontextmanager
async def serving(folder: Path, **config) -> AsyncIterator[World]:
    world = World(folder, **config)
    await world.start()
    try:
        yield world
    finally:
        await world.stop()


async def eventually(true, within_s=10.0):
    """Wait until a condition holds."""
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.01)


def failing(code):
    """The call ends with this status."""
    return _Failing(code)


class _Failing:
    def __init__(self, code):
        self.code = code
        self.text = ""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _trace):
        assert isinstance(error, grpc.aio.AioRpcError), f"expected a status, got {error!r}"
        assert error.code() is self.code, f"{error.code()}: {error.details()}"
        self.text = error.details()
        return True
