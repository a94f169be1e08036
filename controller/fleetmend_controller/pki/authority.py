"""The controller's certificate authority: it chooses every name and takes nothing from a signing request but the public key."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleetmend.seal import KEY_BYTES

from .files import DIRECTORY_MODE, StateError, make_private_dir, read_secret, require_private, write_secret
from .names import CONTROLLER_DNS, CONTROLLER_URI, Role, agent_uri, operator_uri

MS_A_SECOND = 1000
CSR_BYTES_MAX = 8 * 1024
RSA_BITS_MIN, RSA_BITS_MAX = 2048, 4096
CA_LIFETIME = timedelta(days=3650)
SERVER_LIFETIME = timedelta(days=365)
AGENT_LIFETIME = timedelta(days=30)
OPERATOR_LIFETIME = timedelta(days=365)
# Clocks of hosts may be behind ours by this much and still accept what we issued a moment ago.
BACKDATE = timedelta(minutes=10)


class BadRequest(ValueError):
    """A signing request that is not signed; the text begins with `cannot`."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate as it is handed out."""

    certificate_pem: bytes
    serial: str
    not_after_ms: int


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """What a TLS server of the controller presents, and the roots it trusts."""

    key_pem: bytes
    certificate_pem: bytes
    ca_pem: bytes
    renew_at_ms: int
    not_after_ms: int


def init_state(state_dir: Path, names: tuple[str, ...], now_ms: int) -> bool:
    """Create the master secret, the CA and the controller's certificate where they are absent; True if anything was created.

    What exists is left as it is: a second CA would orphan every host.
    """
    make_private_dir(state_dir)
    pki = state_dir / "pki"
    make_private_dir(pki)
    created = False
    if not (state_dir / "master.secret").exists():
        write_secret(state_dir / "master.secret", secrets.token_bytes(KEY_BYTES))
        created = True
    if not (pki / "ca.crt").exists():
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _self_signed_ca(key, _moment(now_ms))
        write_secret(pki / "ca.key", _key_pem(key))
        write_secret(pki / "ca.crt", certificate.public_bytes(serialization.Encoding.PEM))
        created = True
    authority = Authority(state_dir)
    if not authority.has_server_identity():
        authority.renew_server(names, now_ms)
        created = True
    return created


def read_master_secret(state_dir: Path) -> bytes:
    """The secret that the hosts' executor keys derive from. StateError if it is absent, exposed or too short."""
    path = state_dir / "master.secret"
    master = read_secret(path)
    if len(master) < KEY_BYTES:
        raise StateError(f"cannot use {path}: {len(master)} bytes, at least {KEY_BYTES} needed; restore it from a backup")
    return master


class Authority:
    """Signs certificates with the key in `<state_dir>/pki`. StateError when that state is absent, exposed or broken."""

    def __init__(self, state_dir: Path) -> None:
        require_private(state_dir, DIRECTORY_MODE)
        self._dir = state_dir / "pki"
        require_private(self._dir, DIRECTORY_MODE)
        self.ca_pem = read_secret(self._dir / "ca.crt")
        try:
            key = serialization.load_pem_private_key(read_secret(self._dir / "ca.key"), password=None)
            self._ca = x509.load_pem_x509_certificate(self.ca_pem)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise StateError(f"cannot read the CA in {self._dir}: {error}; restore it from a backup") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != self._ca.public_key():
            raise StateError(f"cannot use the CA in {self._dir}: key and certificate do not belong together")
        self._key = key

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the CA certificate, as operators compare it."""
        return hashlib.sha256(self._ca.public_bytes(serialization.Encoding.DER)).hexdigest()

    @property
    def not_after_ms(self) -> int:
        """End of the CA certificate's validity, Unix milliseconds."""
        return _ms(self._ca.not_valid_after_utc)

    def issue_agent(self, host_id: str, csr_der: bytes, now_ms: int) -> Issued:
        """A client certificate for a host; BadRequest if the request is not acceptable."""
        names = [x509.UniformResourceIdentifier(agent_uri(host_id))]
        return self._issue(host_id, public_key_of(csr_der), names, AGENT_LIFETIME, now_ms)

    def issue_operator(self, name: str, role: Role, lifetime: timedelta, now_ms: int) -> tuple[bytes, Issued]:
        """A new private key (PEM) and the client certificate of an operator."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.UniformResourceIdentifier(operator_uri(role, name))]
        return _key_pem(key), self._issue(name, key.public_key(), names, lifetime, now_ms)

    def has_server_identity(self) -> bool:
        """Whether a certificate for the controller's servers was issued and kept."""
        return (self._dir / "controller.crt").exists()

    def server_identity(self) -> ServerIdentity:
        """The controller's certificate as it is on disk."""
        key_pem = read_secret(self._dir / "controller.key")
        certificate_pem = read_secret(self._dir / "controller.crt")
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
            key = serialization.load_pem_private_key(key_pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise StateError(f"cannot read {self._dir / 'controller.crt'}: {error}; delete it and run init again") from error
        if key.public_key() != certificate.public_key():
            raise StateError(f"cannot use {self._dir / 'controller.crt'}: another key's; delete both and run init again")
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        return ServerIdentity(key_pem, certificate_pem, self.ca_pem, _ms(begin + (end - begin) / 2), _ms(end))

    def renew_server(self, names: tuple[str, ...], now_ms: int) -> ServerIdentity:
        """Issue, keep and return a new key and certificate for the controller's servers."""
        key = ec.generate_private_key(ec.SECP256R1())
        sans: list[x509.GeneralName] = [x509.DNSName(CONTROLLER_DNS), x509.UniformResourceIdentifier(CONTROLLER_URI)]
        sans += [_general_name(name) for name in names]
        issued = self._issue(CONTROLLER_DNS, key.public_key(), sans, SERVER_LIFETIME, now_ms)
        # The pair is two files: after a crash between the writes the certificate is absent, and the next start issues another.
        (self._dir / "controller.crt").unlink(missing_ok=True)
        write_secret(self._dir / "controller.key", _key_pem(key))
        write_secret(self._dir / "controller.crt", issued.certificate_pem)
        return self.server_identity()

    def _issue(
        self, common_name: str, public_key: PublicKey, names: Sequence[x509.GeneralName], lifetime: timedelta, now_ms: int
    ) -> Issued:
        now = _moment(now_ms)
        serial = x509.random_serial_number()
        not_after = min(now + lifetime, self._ca.not_valid_after_utc)
        server = any(isinstance(name, x509.DNSName) for name in names)
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
            .issuer_name(self._ca.subject)
            .public_key(public_key)
            .serial_number(serial)
            .not_valid_before(max(now - BACKDATE, self._ca.not_valid_before_utc))
            .not_valid_after(not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Issued(certificate.public_bytes(serialization.Encoding.PEM), serial_text(serial), _ms(not_after))


PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


def serial_text(serial: int) -> str:
    """A certificate's serial number as tables and lists show it."""
    return f"{serial:040x}"


def public_key_of(csr_der: bytes) -> PublicKey:
    """The key of a signing request whose holder proved to own it; BadRequest for anything else.

    Ed25519 and P-521 are refused because TLS clients and servers of gRPC do not speak them: such a host could never connect.
    """
    if len(csr_der) > CSR_BYTES_MAX:
        raise BadRequest(f"cannot sign the request: {len(csr_der)} bytes, limit {CSR_BYTES_MAX}")
    try:
        request = x509.load_der_x509_csr(csr_der)
        key = request.public_key()
        acceptable = _acceptable(key)
        proved = acceptable and request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadRequest("cannot sign the request: it is not a PKCS#10 request in DER") from error
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey) or not acceptable:
        raise BadRequest(
            f"cannot sign the request: its key must be P-256, P-384 or RSA of {RSA_BITS_MIN} to {RSA_BITS_MAX} bits"
        )
    if not proved:
        raise BadRequest("cannot sign the request: its own signature does not match its key")
    return key


def _acceptable(key: object) -> bool:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
    return isinstance(key, rsa.RSAPublicKey) and RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX


def _self_signed_ca(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Fleetmend CA {secrets.token_hex(4)}")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption())


def _moment(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(unix_ms / MS_A_SECOND, UTC).replace(microsecond=0)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * MS_A_SECOND)
