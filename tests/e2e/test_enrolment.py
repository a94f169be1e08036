"""How a server becomes a host, and what does not make it one. Real servers and certificates; the decider is a fake."""

import asyncio

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleetmend.v1 import enroll_pb2, enroll_pb2_grpc
from fleetmend_controller.core.events import HostEnrolled
from tests.unit.gateway.world import Identity, Link, failing, key_pem, observation, serving, signing_request


def run(scenario, tmp_path, **config):
    async def main():
        async with serving(tmp_path, **config) as world:
            await scenario(world)

    asyncio.run(main())


def refused_tokens(world):
    good = "fm1." + "0" * 12 + "." + "0" * 64
    return [
        "",
        "fm1",
        "fm1..",
        good,
        good + "x",
        good.upper(),
        "fm2" + good[3:],
        "fm1." + "0" * 12 + "." + "\u0660" * 64,
        "x" * 100_000,
    ]


def test_a_wrong_token_is_refused_and_guessing_is_slowed(tmp_path):
    async def scenario(world):
        for token in refused_tokens(world):
            with failing(grpc.StatusCode.UNAUTHENTICATED):
                await world.enrol(token=token or " ")
        with failing(grpc.StatusCode.UNAUTHENTICATED):
            await world.enrol(token="again")
        right = await world.token()
        with failing(grpc.StatusCode.RESOURCE_EXHAUSTED):
            await world.enrol(token=right)
        assert world.refused("enrol_rate") == 1
        world.clock.now_ms += 7_000
        await world.enrol(token=right)
        assert len(world.decider.of(HostEnrolled)) == 1

    run(scenario, tmp_path)


def test_a_token_is_worthless_one_millisecond_past_its_time(tmp_path):
    async def scenario(world):
        token = await world.token(ttl_ms=60_000)
        world.clock.now_ms += 60_001
        with failing(grpc.StatusCode.UNAUTHENTICATED):
            await world.enrol(token=token)

    run(scenario, tmp_path)


def test_fifty_enrolments_with_one_token_make_one_certificate(tmp_path):
    async def scenario(world):
        token = await world.token()
        signed = []
        issue = world.authority.issue_agent
        world.authority.issue_agent = lambda *args: signed.append(args) or issue(*args)
        answers = await asyncio.gather(*(world.enrol(f"web-{n}", token) for n in range(50)), return_exceptions=True)
        assert sum(1 for answer in answers if not isinstance(answer, Exception)) == 1
        assert len(signed) == 1
        assert len(world.registry) == len(world.decider.of(HostEnrolled)) == 1

    run(scenario, tmp_path)


def test_a_counted_token_serves_as_many_hosts_as_it_says(tmp_path):
    async def scenario(world):
        token = await world.token(uses=3)
        for number in range(3):
            await world.enrol(f"web-{number}", token)
        with failing(grpc.StatusCode.UNAUTHENTICATED):
            await world.enrol("web-4", token)

    run(scenario, tmp_path)


def test_failure_spends_no_token(tmp_path):
    async def scenario(world):
        await world.enrol("web-1")
        token = await world.token()
        with failing(grpc.StatusCode.ALREADY_EXISTS):
            await world.enrol("web-1", token)
        with failing(grpc.StatusCode.INVALID_ARGUMENT):
            await world.enrol("web-2", token, csr=b"\x30\x03garbage")
        with failing(grpc.StatusCode.INVALID_ARGUMENT):
            await world.enrol("Web 2; rm", token)
        await world.enrol("web-2", token)

    run(scenario, tmp_path)


def test_a_signing_request_gives_its_key_and_nothing_else(tmp_path):
    async def scenario(world):
        wishes = [
            x509.BasicConstraints(ca=True, path_length=None),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier("spiffe://fleetmend/operator/admin/eve"), x509.DNSName("fleetmend-controller")]
            ),
        ]
        key, csr = signing_request(extensions=wishes, subject="fleetmend-controller")
        answer, _ = await world.enrol(csr=csr)
        certificate = x509.load_pem_x509_certificate(answer.certificate_pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert [name.value for name in names] == [f"spiffe://fleetmend/agent/{answer.host_id}"]
        assert certificate.subject.rfc4514_string() == f"CN={answer.host_id}"
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
            ExtendedKeyUsageOID.CLIENT_AUTH
        ]
        assert certificate.public_key() == key.public_key()

    run(scenario, tmp_path)


def bad_requests():
    _, good = signing_request()
    broken = bytearray(good)
    broken[-3] ^= 0xFF
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    return {
        "signature of another": bytes(broken),
        "not DER": b"-----BEGIN CERTIFICATE REQUEST-----",
        "empty": b"",
        "too large": good + bytes(9_000),
        "weak key": signing_request(weak)[1],
        "curve that TLS peers refuse": signing_request(ec.generate_private_key(ec.SECP521R1()))[1],
    }


@pytest.mark.parametrize("case", bad_requests())
def test_a_bad_signing_request_is_refused(case, tmp_path):
    async def scenario(world):
        with failing(grpc.StatusCode.INVALID_ARGUMENT) as refusal:
            await world.enrol(csr=bad_requests()[case])
        assert refusal.text.startswith("cannot sign")
        assert len(world.registry) == 0

    run(scenario, tmp_path)


def test_an_ed25519_request_is_refused_because_such_a_host_could_never_connect(tmp_path):
    async def scenario(world):
        key = ed25519.Ed25519PrivateKey.generate()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
        csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, None)
        with failing(grpc.StatusCode.INVALID_ARGUMENT):
            await world.enrol(csr=csr.public_bytes(serialization.Encoding.DER))

    run(scenario, tmp_path)


def test_renewal_follows_the_certificate_not_the_request(tmp_path):
    async def scenario(world):
        answer, identity = await world.enrol()
        key, csr = signing_request(subject="h-ffffffffffffffff")
        async with world.channel(identity) as channel:
            renewed = await enroll_pb2_grpc.EnrollServiceStub(channel).Renew(enroll_pb2.RenewRequest(csr_der=csr), timeout=5)
        link = Link(world, Identity(key_pem(key), renewed.certificate_pem))
        assert (await link.hello()).welcome.host_id == answer.host_id
        await link.close()

    run(scenario, tmp_path)


def test_a_cloned_disk_is_flagged_at_enrolment(tmp_path):
    async def scenario(world):
        first, _ = await world.enrol("web-1")
        await world.enrol("web-2")
        rows = [row for row in world.decider.audits if row[0] == "host_enrolled"]
        assert rows[1][3]["same_machine_id"] == first.host_id
        assert "same_machine_id" not in rows[0][3]

    run(scenario, tmp_path)


def test_a_flood_of_wrong_tokens_leaves_the_loop_free(tmp_path):
    async def scenario(world):
        _, identity = await world.enrol()
        link = Link(world, identity)
        await link.hello()
        flood = [asyncio.create_task(world.enrol(token=f"fm1.{n:012x}." + "0" * 64)) for n in range(200)]
        await link.report((1, observation()))
        await link.acked(1)
        await asyncio.gather(*flood, return_exceptions=True)
        assert world.refused("enrol_token") + world.refused("enrol_rate") == 200
        await link.close()

    run(scenario, tmp_path)
