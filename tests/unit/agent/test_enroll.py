"""Joining and renewing, against an enrolment service of our own with a CA of our own."""

from __future__ import annotations

import datetime as dt
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fleetmend.v1 import enroll_pb2, enroll_pb2_grpc
from fleetmend_agent import identity
from fleetmend_agent.__main__ import main

DONE, FAILED, USAGE, UNREACHABLE = 0, 1, 2, 3
NOT_AFTER_MS = 4_000_000_000_000


class Service(enroll_pb2_grpc.EnrollServiceServicer):
    """Signs with its own key whatever it is asked, unless told to refuse."""

    def __init__(self):
        self.ca = trustme.CA()
        self.own = self.ca.issue_cert("fleetmend-controller")
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.requests = []
        self.refuse = None
        self.key_of_certificate = None

    def sign(self, csr_der: bytes) -> bytes:
        csr = x509.load_der_x509_csr(csr_der)
        assert csr.is_signature_valid
        assert list(csr.subject) == []
        now = dt.datetime.now(dt.UTC)
        name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "h-1")])
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(7)
        builder = builder.public_key(self.key_of_certificate or csr.public_key())
        builder = builder.not_valid_before(now).not_valid_after(now + dt.timedelta(days=30))
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def Enroll(self, request, context):
        self.requests.append(request)
        if self.refuse:
            context.abort(*self.refuse)
        return enroll_pb2.EnrollResponse(
            certificate_pem=self.sign(request.csr_der),
            ca_pem=self.ca.cert_pem.bytes(),
            host_id="h-0123456789abcdef",
            not_after_ms=NOT_AFTER_MS,
            executor_key=bytes(range(32)),
            epoch=7,
        )

    def Renew(self, request, context):
        self.requests.append(request)
        if self.refuse:
            context.abort(*self.refuse)
        return enroll_pb2.RenewResponse(
            certificate_pem=self.sign(request.csr_der), ca_pem=b"new ca\n", not_after_ms=NOT_AFTER_MS + 1_000
        )


class World:
    def __init__(self, folder: Path):
        self.service = Service()
        self.server = grpc.server(ThreadPoolExecutor(2))
        enroll_pb2_grpc.add_EnrollServiceServicer_to_server(self.service, self.server)
        pairs = [(self.service.own.private_key_pem.bytes(), self.service.own.cert_chain_pems[0].bytes())]
        self.port = self.server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(pairs))
        self.server.start()
        self.folder = folder
        self.state, self.executor = folder / "agent", folder / "executor"
        self.ca_file, self.token_file = folder / "ca.crt", folder / "token"
        self.service.ca.cert_pem.write_to_path(str(self.ca_file))
        self.token_file.write_text("fm1.id.secret\n")
        self.config = folder / "agent.yaml"
        self.config.write_text(f"controller: 127.0.0.1:{self.port}\nstate_dir: {self.state}\n")

    def enroll(self, **options):
        words = {
            "controller": f"127.0.0.1:{self.port}",
            "ca": self.ca_file,
            "token-file": self.token_file,
            "hostname": "Web-1.Example",
            "state-dir": self.state,
            "executor-state-dir": self.executor,
        } | options
        return main(["enroll", *(text for name, value in words.items() for text in (f"--{name}", str(value)))])

    def renew(self):
        return main(["renew", "--config", str(self.config)])


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.server.stop(0).wait()


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())}


def test_a_server_becomes_a_host(world, capsys):
    assert world.enroll() == DONE
    assert "enrolled as h-0123456789abcdef" in capsys.readouterr().out
    assert modes(world.state) == {
        "agent": 0o700,
        "agent.key": 0o600,
        "agent.crt": 0o644,
        "ca.crt": 0o644,
        "identity.json": 0o600,
    }
    assert modes(world.executor) == {"executor": 0o700, "executor.key": 0o600, "identity.json": 0o600}
    (request,) = world.service.requests
    assert (request.token, request.hostname) == ("fm1.id.secret", "web-1.example")
    found = identity.load(world.state)
    assert (found.host_id, found.hostname, found.not_after_ms) == ("h-0123456789abcdef", "web-1.example", NOT_AFTER_MS)
    assert json.loads((world.executor / "identity.json").read_text()) == {"host_id": "h-0123456789abcdef", "epoch": 7}
    assert (world.executor / "executor.key").read_bytes() == bytes(range(32))
    key = serialization.load_pem_private_key((world.state / "agent.key").read_bytes(), None)
    certificate = x509.load_pem_x509_certificate((world.state / "agent.crt").read_bytes())
    assert key.public_key() == certificate.public_key()


def test_twice_changes_nothing(world, capsys):
    world.enroll()
    before = {path: path.read_bytes() for path in world.folder.glob("*/*")}
    assert world.enroll() == DONE
    assert "already enrolled as h-0123456789abcdef" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in world.folder.glob("*/*")} == before
    assert len(world.service.requests) == 1


def test_a_refusal_is_told_and_leaves_the_server_unenrolled(world, capsys):
    world.service.refuse = (grpc.StatusCode.UNAUTHENTICATED, "the token is spent")
    assert world.enroll() == FAILED
    assert "cannot get a certificate: the controller refused: the token is spent (UNAUTHENTICATED)" in capsys.readouterr().err
    assert not identity.is_enrolled(world.state)
    world.service.refuse = None
    assert world.enroll() == DONE


def test_a_certificate_for_another_key_is_refused(world, capsys):
    world.service.key_of_certificate = ec.generate_private_key(ec.SECP256R1()).public_key()
    assert world.enroll() == FAILED
    assert "it is for another key" in capsys.readouterr().err
    assert not identity.is_enrolled(world.state)


def test_a_controller_of_another_ca_gets_no_token(world, capsys):
    trustme.CA().cert_pem.write_to_path(str(world.ca_file))
    assert world.enroll() == UNREACHABLE
    assert "cannot reach the controller" in capsys.readouterr().err
    assert world.service.requests == []


def test_nobody_there_is_exit_code_3(world, capsys):
    world.server.stop(0).wait()
    assert world.enroll() == UNREACHABLE
    assert "check the address" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "text", "error"),
    [
        ("ca", None, "cannot read the CA file"),
        ("ca", "not a certificate", "it has no PEM certificate"),
        ("token-file", None, "cannot read the token file"),
        ("token-file", " \n", "it is empty"),
    ],
)
def test_bad_files_are_told_before_anything_is_sent(world, capsys, option, text, error):
    path = world.folder / "given"
    if text is not None:
        path.write_text(text)
    assert world.enroll(**{option: path}) == FAILED
    assert error in capsys.readouterr().err
    assert world.service.requests == []


def test_a_bad_hostname_is_refused(world, capsys):
    assert world.enroll(hostname="web_1!") == FAILED
    assert "choose one with --hostname" in capsys.readouterr().err


def test_the_certificate_is_renewed_for_the_same_key(world, capsys):
    world.enroll()
    key = (world.state / "agent.key").read_bytes()
    before = (world.state / "agent.crt").read_bytes()
    # Our service does not ask for client certificates, so that the CA can stay.
    assert world.renew() == DONE
    assert "certificate renewed, valid until 2096-10-02" in capsys.readouterr().out
    assert (world.state / "agent.key").read_bytes() == key
    assert (world.state / "agent.crt").read_bytes() != before
    assert (world.state / "ca.crt").read_bytes() == b"new ca\n"
    assert identity.load(world.state).not_after_ms == NOT_AFTER_MS + 1_000
    assert modes(world.state)["agent.key"] == 0o600


def test_a_host_that_was_removed_is_not_renewed(world, capsys):
    world.enroll()
    before = (world.state / "agent.crt").read_bytes()
    world.service.refuse = (grpc.StatusCode.PERMISSION_DENIED, "the host was removed")
    assert world.renew() == FAILED
    assert "the host was removed" in capsys.readouterr().err
    assert (world.state / "agent.crt").read_bytes() == before


def test_usage_is_exit_code_2(capsys):
    for words in ([], ["enroll"], ["fly"], ["enroll", "--controller", "x"]):
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code == USAGE
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == DONE
    assert "examples:" in capsys.readouterr().out
