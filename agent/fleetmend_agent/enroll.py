"""Joining a fleet, and renewing the certificate. Short-lived processes: only here is the cryptography library loaded."""

from __future__ import annotations

import json
import os
import pwd
import re
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import tenacity

from fleetmend.v1 import enroll_pb2, enroll_pb2_grpc

from . import config, identity
from .call import MESSAGE_BYTES_MAX
from .host import Host, Roots
from .tls import TARGET_NAME

if TYPE_CHECKING:
    import argparse

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

DONE, FAILED, UNREACHABLE = 0, 1, 3
CALL_TIMEOUT_S = 30.0
CALL_TRIES_MAX = 4
CALL_PAUSE_MAX_S = 1.0
TOKEN_BYTES_MAX = 4096
_HOSTNAME = re.compile(r"[a-z0-9.-]{1,253}")


class EnrolError(RuntimeError):
    """Enrolment or renewal failed; `code` is the exit code."""

    def __init__(self, text: str, code: int = FAILED) -> None:
        super().__init__(text)
        self.code = code


def enroll(arguments: argparse.Namespace) -> int:
    """Makes this server a host: key and certificate for the agent, key for the executor."""
    state_dir: Path = arguments.state_dir
    if identity.is_enrolled(state_dir):
        print(f"already enrolled as {identity.load(state_dir).host_id}: nothing was changed")
        return DONE
    try:
        host_id = _enroll(arguments)
    except (EnrolError, identity.IdentityError) as error:
        print(error, file=sys.stderr)
        return error.code if isinstance(error, EnrolError) else FAILED
    except OSError as error:
        print(f"cannot enrol: {error}", file=sys.stderr)
        return FAILED
    print(f"enrolled as {host_id}")
    return DONE


def renew(arguments: argparse.Namespace) -> int:
    """Gets a new certificate for the key of this host."""
    try:
        settings = config.load(arguments.config)
        not_after_ms = _renew(settings)
    except (EnrolError, identity.IdentityError, config.ConfigError) as error:
        print(error, file=sys.stderr)
        return error.code if isinstance(error, EnrolError) else FAILED
    except OSError as error:
        print(f"cannot renew the certificate: {error}", file=sys.stderr)
        return FAILED
    print(f"certificate renewed, valid until {_date(not_after_ms)}")
    return DONE


def _enroll(arguments: argparse.Namespace) -> str:
    ca_pem = _read_ca(arguments.ca)
    token = _read_token(arguments.token_file)
    host = Host(Roots())
    hostname = (arguments.hostname or socket.gethostname()).lower()
    if not _HOSTNAME.fullmatch(hostname):
        raise EnrolError(f"cannot use hostname {hostname!r}: only letters, digits, dots and dashes; choose one with --hostname")
    owner = _owner(arguments.user)
    state_dir, executor_dir = arguments.state_dir, arguments.executor_state_dir
    # Everything that can fail on this side fails before the token is spent.
    for folder, folder_owner in ((state_dir, owner), (executor_dir, None)):
        _make_folder(folder, folder_owner)
    key = _new_key()
    identity.write(state_dir / identity.KEY, _key_pem(key), 0o600, owner)
    host_name, port = config.split_address(arguments.controller, config.ENROLL_PORT)
    request = enroll_pb2.EnrollRequest(token=token, csr_der=_csr(key), hostname=hostname, machine_id=_machine_id(host))
    with _channel(f"{host_name}:{port}", grpc.ssl_channel_credentials(ca_pem)) as channel:
        answer = _call(enroll_pb2_grpc.EnrollServiceStub(channel).Enroll, request, f"{host_name}:{port}")
    _check_key(answer.certificate_pem, key)
    now_ms = host.wall_ms()
    # The executor's part first: its key comes this once, and identity.json says that everything is there.
    _write_executor(executor_dir, answer)
    identity.write(state_dir / identity.CERTIFICATE, answer.certificate_pem, 0o644, owner)
    identity.write(state_dir / identity.CA, answer.ca_pem or ca_pem, 0o644, owner)
    identity.save(state_dir, identity.Identity(answer.host_id, hostname, now_ms, answer.not_after_ms), owner)
    return str(answer.host_id)


def _renew(settings: config.Settings) -> int:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    state_dir = Path(settings.state_dir)
    known = identity.load(state_dir)
    held = identity.credentials(state_dir)
    # The key stays: one file is replaced, so there is no instant at which key and certificate do not belong together.
    key = load_pem_private_key(held.key, None)
    if not isinstance(key, EllipticCurvePrivateKey):
        raise EnrolError(f"cannot renew: {state_dir / identity.KEY} is no P-256 key; enrol this host again")
    tls = grpc.ssl_channel_credentials(held.ca, held.key, held.certificate)
    with _channel(settings.controller, tls) as channel:
        request = enroll_pb2.RenewRequest(csr_der=_csr(key))
        answer = _call(enroll_pb2_grpc.EnrollServiceStub(channel).Renew, request, settings.controller)
    _check_key(answer.certificate_pem, key)
    status = (state_dir / identity.KEY).stat()
    owner = (status.st_uid, status.st_gid) if os.geteuid() == 0 else None
    identity.write(state_dir / identity.CA, answer.ca_pem or held.ca, 0o644, owner)
    identity.write(state_dir / identity.CERTIFICATE, answer.certificate_pem, 0o644, owner)
    fresh = identity.Identity(known.host_id, known.hostname, Host(Roots()).wall_ms(), answer.not_after_ms)
    identity.save(state_dir, fresh, owner)
    return int(answer.not_after_ms)


def _call(method: Callable[..., Any], request: Any, address: str) -> Any:
    # A controller that restarts is back within seconds. Only what did not arrive is tried again: a join token that was
    # spent by an answer nobody got must not look like a forged one.
    tries = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_never_arrived),
        stop=tenacity.stop_after_attempt(CALL_TRIES_MAX),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=CALL_PAUSE_MAX_S),
        reraise=True,
    )
    try:
        return tries(method, request, timeout=CALL_TIMEOUT_S, wait_for_ready=False)
    except grpc.RpcError as error:
        code, details = error.code(), error.details()
        if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
            raise EnrolError(
                f"cannot reach the controller at {address}: {details}; check the address, and that the CA file is its own",
                UNREACHABLE,
            ) from error
        raise EnrolError(f"cannot get a certificate: the controller refused: {details} ({code.name})") from error


def _never_arrived(error: BaseException) -> bool:
    return isinstance(error, grpc.RpcError) and error.code() is grpc.StatusCode.UNAVAILABLE


def _channel(address: str, tls: grpc.ChannelCredentials) -> grpc.Channel:
    options = [
        ("grpc.ssl_target_name_override", TARGET_NAME),
        ("grpc.default_authority", TARGET_NAME),
        ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
        ("grpc.enable_http_proxy", 0),
    ]
    return grpc.secure_channel(address, tls, options=options)


def _new_key() -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _csr(key: EllipticCurvePrivateKey) -> bytes:
    """A signing request that proves possession of the key. It names nothing: the controller chooses all names."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding

    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.DER)


def _check_key(certificate_pem: bytes, key: EllipticCurvePrivateKey) -> None:
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except ValueError as error:
        raise EnrolError(f"cannot use the certificate that the controller sent: {error}") from error
    if certificate.public_key() != key.public_key():
        raise EnrolError("cannot use the certificate that the controller sent: it is for another key")


def _read_ca(path: Path) -> bytes:
    from cryptography import x509

    try:
        pem = path.read_bytes()[: identity.FILE_BYTES_MAX]
        x509.load_pem_x509_certificates(pem)
    except OSError as error:
        raise EnrolError(f"cannot read the CA file {path}: {error.strerror}; copy it from the controller") from error
    except ValueError as error:
        raise EnrolError(f"cannot use the CA file {path}: it has no PEM certificate") from error
    return pem


def _read_token(path: Path) -> str:
    try:
        text = sys.stdin.read(TOKEN_BYTES_MAX) if str(path) == "-" else path.read_text("utf-8")[:TOKEN_BYTES_MAX]
    except (OSError, UnicodeDecodeError) as error:
        raise EnrolError(f"cannot read the token file {path}: {error}") from error
    if not text.strip():
        raise EnrolError(f"cannot use the token file {path}: it is empty; make a token with: fleetmend token create")
    return text.strip()


def _owner(user: str) -> tuple[int, int] | None:
    """Who shall own the agent's state: the agent's user when root enrols, else whoever runs this."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid


def _make_folder(path: Path, owner: tuple[int, int] | None) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    if owner is not None:
        os.chown(path, *owner)


def _write_executor(folder: Path, answer: enroll_pb2.EnrollResponse) -> None:
    identity.write(folder / "executor.key", answer.executor_key, 0o600)
    document = json.dumps({"host_id": answer.host_id, "epoch": answer.epoch}, indent=2)
    identity.write(folder / "identity.json", document.encode() + b"\n", 0o600)


def _machine_id(host: Host) -> str:
    try:
        return host.read_text("/etc/machine-id").strip()[:64]
    except OSError:
        # Containers may have none; the controller only compares it with others.
        return ""


def _date(unix_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(unix_ms / 1000))
