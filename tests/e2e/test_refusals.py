"""Bad input at the controller's doors: refused before any handler, counted, and the controller stays.

Real servers on loopback, real certificates; the decider is a fake that remembers what reaches it.
"""

import asyncio
import datetime as dt
import socket
import ssl

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleetmend.v1 import admin_pb2, admin_pb2_grpc, enroll_pb2, enroll_pb2_grpc, link_pb2, link_pb2_grpc
from fleetmend_controller.config import Address
from fleetmend_controller.core.events import Observed
from fleetmend_controller.gateway.permissions import PERMISSIONS
from fleetmend_controller.gateway.servers import CannotListen
from fleetmend_controller.pki.authority import Authority, init_state
from tests.unit.gateway.world import Identity, Link, World, failing, key_pem, observation, serving, signing_request

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
DENIED = grpc.StatusCode.PERMISSION_DENIED
HOST = "h-0123456789abcdef"


def run(scenario, tmp_path, **config):
    async def main():
        async with serving(tmp_path, **config) as world:
            await scenario(world)

    asyncio.run(main())


async def status(world, identity):
    """An admin call; its answer."""
    async with world.channel(identity) as channel:
        return await admin_pb2_grpc.AdminServiceStub(channel).GetStatus(admin_pb2.GetStatusRequest(), timeout=5)


def forged(
    world,
    *,
    begin_days=-1,
    end_days=1,
    authority=None,
    uri=f"spiffe://fleetmend/agent/{HOST}",
    usage=ExtendedKeyUsageOID.CLIENT_AUTH,
):
    """A certificate with the CA's own signature that the CA would never have issued."""
    authority = authority or world.authority
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    names = [x509.UniformResourceIdentifier(each) for each in ([uri] if isinstance(uri, str) else uri)]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)]))
        .issuer_name(authority._ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=begin_days))
        .not_valid_after(now + dt.timedelta(days=end_days))
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(authority._key, hashes.SHA256())
    return Identity(key_pem(key), certificate.public_bytes(serialization.Encoding.PEM), HOST)


def self_signed(uri=f"spiffe://fleetmend/agent/{HOST}"):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Identity(key_pem(key), certificate.public_bytes(serialization.Encoding.PEM), HOST)


def foreign(world, tmp_path):
    init_state(tmp_path / "foreign", (), world.clock())
    return forged(world, authority=Authority(tmp_path / "foreign"))


HANDSHAKES = {
    "no certificate": lambda world, folder: None,
    "foreign CA": foreign,
    "self-signed": lambda world, folder: self_signed(),
    "expired": lambda world, folder: forged(world, begin_days=-3, end_days=-1),
    "not yet valid": lambda world, folder: forged(world, begin_days=1, end_days=3),
    "for servers only": lambda world, folder: forged(world, usage=ExtendedKeyUsageOID.SERVER_AUTH),
}


@pytest.mark.parametrize("case", HANDSHAKES)
def test_a_bad_certificate_ends_in_the_handshake_and_is_counted(case, tmp_path):
    async def scenario(world):
        identity = HANDSHAKES[case](world, tmp_path)
        with failing(UNAVAILABLE):
            await status(world, identity)
        link = Link(world, identity or self_signed()) if identity else None
        if link is not None:
            with failing(UNAVAILABLE):
                await link.hello()
            await link.channel.close()
        world.clock.now_ms += 11_000
        world.gateway._handshakes.sweep()
        assert world.refused("handshake") >= 1
        assert world.admin.callers == []
        await status(world, await world.operator())

    run(scenario, tmp_path)


def test_good_connections_are_not_counted_as_refused(tmp_path):
    async def scenario(world):
        ann = await world.operator()
        for _ in range(3):
            await status(world, ann)
        world.clock.now_ms += 11_000
        world.gateway._handshakes.sweep()
        assert world.refused("handshake") == 0

    run(scenario, tmp_path)


IDENTITIES = {
    "another scheme": "spiffe://elsewhere/agent/" + HOST,
    "no such kind": "spiffe://fleetmend/controller",
    "unknown role": "spiffe://fleetmend/operator/root/ann",
    "no host id": "spiffe://fleetmend/agent/web-1",
    "trailing path": f"spiffe://fleetmend/agent/{HOST}/x",
    "two names": [f"spiffe://fleetmend/agent/{HOST}", "spiffe://fleetmend/operator/admin/ann"],
    "none": [],
}


@pytest.mark.parametrize("case", IDENTITIES)
def test_a_certificate_that_names_nobody_is_unauthenticated(case, tmp_path):
    async def scenario(world):
        with failing(grpc.StatusCode.UNAUTHENTICATED):
            await status(world, forged(world, uri=IDENTITIES[case]))
        assert world.refused("no_identity") == 1
        assert world.admin.callers == []

    run(scenario, tmp_path)


def test_an_agent_on_an_admin_call_is_denied_counted_and_audited(tmp_path):
    async def scenario(world):
        _, identity = await world.enrol()
        with failing(DENIED) as refusal:
            await status(world, identity)
        assert "an operator with the role viewer or above may" in refusal.text
        assert world.refused("wrong_role") == 1
        assert [(row[0], row[1]) for row in world.decider.audits if row[0] == "refused"] == [("refused", identity.name)]
        assert world.admin.callers == []

    run(scenario, tmp_path)


def test_an_operator_on_the_agents_stream_is_denied(tmp_path):
    async def scenario(world):
        link = Link(world, await world.operator())
        with failing(DENIED):
            await link.hello()
        await link.channel.close()
        assert world.refused("wrong_role") == 1
        assert world.decider.events == []

    run(scenario, tmp_path)


def test_every_operator_call_demands_its_role(tmp_path):
    async def scenario(world):
        people = {role: await world.operator(role, role) for role in ("viewer", "responder", "admin")}
        ranks = list(people)
        for method, need in PERMISSIONS.items():
            if "/AdminService/" not in method:
                continue
            for rank, (role, identity) in enumerate(people.items()):
                async with world.channel(identity) as channel:
                    call = channel.unary_unary(method, request_serializer=lambda m: m, response_deserializer=lambda b: b)
                    try:
                        await call(b"", timeout=5)
                        code = grpc.StatusCode.OK
                    except grpc.aio.AioRpcError as error:
                        code = error.code()
                    assert (code is DENIED) == (rank < ranks.index(need.role.word)), (method, role, code)

    run(scenario, tmp_path)


def test_a_revoked_or_unlisted_operator_is_refused_at_the_next_call(tmp_path):
    async def scenario(world):
        ann = await world.operator()
        async with world.channel(ann) as channel:
            stub = admin_pb2_grpc.AdminServiceStub(channel)
            await stub.GetStatus(admin_pb2.GetStatusRequest(), timeout=5)
            assert await world.operators.revoke("ann", world.clock()) == 1
            with failing(DENIED):
                await stub.GetStatus(admin_pb2.GetStatusRequest(), timeout=5)
        with failing(DENIED):
            await status(world, world.unlisted_operator())
        assert world.refused("revoked") == 2

    run(scenario, tmp_path)


def test_a_removed_host_is_refused_at_its_stream_and_at_renewal(tmp_path):
    async def scenario(world):
        answer, identity = await world.enrol()
        await world.registry.remove(answer.host_id, "ann")
        _, csr = signing_request()
        async with world.channel(identity) as channel:
            with failing(DENIED):
                await enroll_pb2_grpc.EnrollServiceStub(channel).Renew(enroll_pb2.RenewRequest(csr_der=csr), timeout=5)
        link = Link(world, identity)
        with failing(DENIED):
            await link.hello()
        await link.channel.close()
        # The name is free; the old identity is not.
        again, _ = await world.enrol()
        assert again.host_id != answer.host_id

    run(scenario, tmp_path)


def test_the_enrolment_port_serves_nothing_but_enrolment(tmp_path):
    async def scenario(world):
        _, identity = await world.enrol()
        async with world.channel(identity, port=world.servers.enrol_port) as channel:
            _, csr = signing_request()
            with failing(DENIED):
                await enroll_pb2_grpc.EnrollServiceStub(channel).Renew(enroll_pb2.RenewRequest(csr_der=csr), timeout=5)
            with failing(grpc.StatusCode.UNIMPLEMENTED):
                await admin_pb2_grpc.AdminServiceStub(channel).GetStatus(admin_pb2.GetStatusRequest(), timeout=5)
        async with world.channel(identity) as channel:
            with failing(DENIED):
                await enroll_pb2_grpc.EnrollServiceStub(channel).Enroll(enroll_pb2.EnrollRequest(), timeout=5)

    run(scenario, tmp_path)


@pytest.mark.parametrize(
    "path",
    [
        "fleetmend.v1.AdminService/GetStatus",
        "//fleetmend.v1.AdminService/GetStatus",
        "/fleetmend.v1.adminservice/getstatus",
        "/fleetmend.v1.AdminService/GetStatus/",
        "/fleetmend.v1.AdminService/%47etStatus",
        "/fleetmend.v1.AdminService/Unheard",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ],
)
def test_an_odd_path_reaches_no_handler(path, tmp_path):
    async def scenario(world):
        async with world.channel(await world.operator()) as channel:
            call = channel.unary_unary(path, request_serializer=lambda m: m, response_deserializer=lambda b: b)
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await call(b"", timeout=5)
        assert refusal.value.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)
        assert world.admin.callers == []

    run(scenario, tmp_path)


def test_the_unix_socket_is_the_local_administrators_alone(tmp_path):
    async def scenario(world):
        path = world.config.admin_socket
        assert oct(path.stat().st_mode & 0o777) == "0o600"
        async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
            stub = admin_pb2_grpc.AdminServiceStub(channel)
            await stub.CreateToken(admin_pb2.CreateTokenRequest(), timeout=5)
            with failing(grpc.StatusCode.UNIMPLEMENTED):
                await enroll_pb2_grpc.EnrollServiceStub(channel).Enroll(enroll_pb2.EnrollRequest(), timeout=5)
        assert str(world.admin.callers[0]) == "local"

    run(scenario, tmp_path)


def test_a_defect_in_a_handler_is_internal_counted_and_the_server_stays(tmp_path):
    async def scenario(world):
        ann = await world.operator()
        async with world.channel(ann) as channel:
            with failing(grpc.StatusCode.INTERNAL) as refusal:
                await admin_pb2_grpc.AdminServiceStub(channel).ListTokens(admin_pb2.ListTokensRequest(), timeout=5)
        assert "ZeroDivision" not in refusal.text
        assert world.metrics.rpc_errors.labels("/fleetmend.v1.AdminService/ListTokens")._value.get() == 1
        await status(world, ann)

    run(scenario, tmp_path)


def raw(port, data, *, tls=None):
    """Send bytes to a port and read until the peer ends it."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        connection = tls.wrap_socket(plain, server_hostname="fleetmend-controller") if tls else plain
        try:
            connection.sendall(data)
            while connection.recv(4096):
                pass
        except OSError:
            return
        finally:
            connection.close()


def test_raw_garbage_ends_the_connection_and_the_controller_stays(tmp_path):
    async def scenario(world):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=world.authority.ca_pem.decode())
        context.set_alpn_protocols(["h2"])
        ports = (world.servers.port, world.servers.enrol_port)
        for port in ports:
            await asyncio.to_thread(raw, port, b"GET / HTTP/1.1\r\n\r\n" + bytes(range(256)) * 64)
        await asyncio.to_thread(raw, world.servers.enrol_port, b"\xff" * 65_536, tls=context)
        answer, _ = await world.enrol()
        assert answer.host_id
        world.clock.now_ms += 11_000
        world.gateway._handshakes.sweep()
        assert world.refused("handshake") >= 2

    run(scenario, tmp_path)


def test_old_tls_is_refused(tmp_path):
    async def scenario(world):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=world.authority.ca_pem.decode())
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["h2"])

        def connect():
            with (
                socket.create_connection(("127.0.0.1", world.servers.enrol_port), timeout=5) as plain,
                context.wrap_socket(plain, server_hostname="fleetmend-controller") as connection,
            ):
                return connection.version()

        assert await asyncio.to_thread(connect) == "TLSv1.2"
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, OSError)):
            await asyncio.to_thread(connect)

    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        run(scenario, tmp_path)


def test_a_message_that_is_no_protobuf_is_answered_with_a_status(tmp_path):
    async def scenario(world):
        answer, identity = await world.enrol()
        async with world.channel(identity) as channel:
            stream = channel.stream_stream(
                "/fleetmend.v1.LinkService/Link", request_serializer=lambda m: m, response_deserializer=lambda b: b
            )(timeout=5)
            await stream.write(b"\xff\xff\xff garbage")
            assert await stream.code() is grpc.StatusCode.INVALID_ARGUMENT
        async with world.channel(port=world.servers.enrol_port) as channel:
            call = channel.unary_unary(
                "/fleetmend.v1.EnrollService/Enroll", request_serializer=lambda m: m, response_deserializer=lambda b: b
            )
            with failing(grpc.StatusCode.INVALID_ARGUMENT):
                await call(b"\xff\xff\xff garbage", timeout=5)
        link = Link(world, identity)
        await link.hello()
        assert world.gateway.sessions.is_online(answer.host_id)
        assert world.refused("garbage") == 1
        await link.close()

    run(scenario, tmp_path)


def test_garbage_within_a_stream_ends_that_stream_only(tmp_path):
    async def scenario(world):
        _, identity = await world.enrol()
        async with world.channel(identity) as channel:
            stream = channel.stream_stream(
                "/fleetmend.v1.LinkService/Link",
                request_serializer=lambda m: m if isinstance(m, bytes) else m.SerializeToString(),
                response_deserializer=link_pb2.LinkResponse.FromString,
            )(timeout=5)
            hello = link_pb2.Hello(protocol_version=1, boot_id="b", outbox_id="o")
            await stream.write(link_pb2.LinkRequest(hello=hello))
            assert (await stream.read()).WhichOneof("message") == "welcome"
            await stream.write(b"\xff\xff\xff")
            assert (await stream.read()).bye.reason == "protocol"
            assert await stream.code() is grpc.StatusCode.INVALID_ARGUMENT

    run(scenario, tmp_path)


def test_an_oversize_message_ends_the_stream_and_the_controller_stays(tmp_path):
    async def scenario(world):
        _, identity = await world.enrol()
        link = Link(world, identity)
        await link.hello()
        await link.report((1, observation(summary="x" * (2 * 1024 * 1024))))
        _, code = await link.end()
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert world.decider.of(Observed) == []
        again = Link(world, identity)
        await again.hello()
        await again.close()

    run(scenario, tmp_path)


def test_an_agents_certificate_cannot_play_the_controller(tmp_path):
    """What stops it is the agent's channel: it demands the DNS name that only the controller's certificate has."""

    async def scenario(world):
        _, identity = await world.enrol()
        credentials = grpc.ssl_server_credentials([(identity.key_pem, identity.certificate_pem)], world.authority.ca_pem, True)
        server = grpc.aio.server()
        port = server.add_secure_port("127.0.0.1:0", credentials)
        await server.start()
        channel = world.channel(identity, port=port)
        call = link_pb2_grpc.LinkServiceStub(channel).Link(timeout=5)
        assert await call.code() is UNAVAILABLE
        await channel.close()
        await server.stop(0)

    run(scenario, tmp_path)


def test_a_second_controller_on_the_same_port_fails_loudly(tmp_path):
    async def scenario(world):
        (tmp_path / "two").mkdir()
        with pytest.raises(CannotListen, match=r"cannot listen on 127\.0\.0\.1:\d+: Address already in use"):
            await World(tmp_path / "two", listen=Address("127.0.0.1", world.servers.port)).start()
        await status(world, await world.operator())

    run(scenario, tmp_path)
