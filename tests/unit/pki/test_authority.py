"""The CA, its files and the names that it writes."""

import datetime as dt
import os

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from fleetmend_controller.pki.authority import Authority, init_state, read_master_secret
from fleetmend_controller.pki.files import StateError, write_secret
from fleetmend_controller.pki.names import Caller, Kind, Role, agent_uri, operator_uri, parse_uri
from tests.unit.gateway.world import NOW_MS, signing_request

HOST = "h-0123456789abcdef"
NOW = dt.datetime.fromtimestamp(NOW_MS / 1000, dt.UTC)
DAY_MS = 24 * 3_600_000


@pytest.fixture
def state(tmp_path):
    init_state(tmp_path / "state", ("controller.example.org", "192.0.2.7"), NOW_MS)
    return tmp_path / "state"


def agent_certificate(state):
    _, csr = signing_request()
    return x509.load_pem_x509_certificate(Authority(state).issue_agent(HOST, csr, NOW_MS).certificate_pem)


def test_everything_is_private(state):
    modes = {path.relative_to(state).as_posix(): path.stat().st_mode & 0o777 for path in state.rglob("*")}
    assert modes == {
        "master.secret": 0o600,
        "pki": 0o700,
        "pki/ca.crt": 0o600,
        "pki/ca.key": 0o600,
        "pki/controller.crt": 0o600,
        "pki/controller.key": 0o600,
    }
    assert state.stat().st_mode & 0o777 == 0o700
    assert len(read_master_secret(state)) == 32


def test_a_second_init_changes_nothing(state):
    before = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
    assert not init_state(state, (), NOW_MS + DAY_MS)
    assert {path: path.read_bytes() for path in state.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["", "pki", "pki/ca.key", "pki/ca.crt", "pki/controller.key", "master.secret"])
def test_what_others_could_read_is_refused_with_the_cure(name, state):
    path = state / name
    path.chmod(path.stat().st_mode | 0o040)

    def use():
        Authority(state).server_identity()
        read_master_secret(state)

    with pytest.raises(StateError, match=r"cannot use .*others may use it; run: chmod [67]00"):
        use()


def test_a_link_in_place_of_a_secret_is_refused(state):
    (state / "pki" / "ca.key").rename(state / "elsewhere")
    (state / "pki" / "ca.key").symlink_to(state / "elsewhere")
    with pytest.raises(StateError, match="not a plain file"):
        Authority(state)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_of_another_user_are_refused(state):
    os.chown(state / "master.secret", 65_534, -1)
    with pytest.raises(StateError, match="belongs to user 65534"):
        read_master_secret(state)


def test_a_broken_or_foreign_key_is_refused(state, tmp_path):
    write_secret(state / "pki" / "ca.key", b"garbage")
    with pytest.raises(StateError, match="cannot read the CA"):
        Authority(state)
    init_state(tmp_path / "other", (), NOW_MS)
    write_secret(state / "pki" / "ca.key", (tmp_path / "other" / "pki" / "ca.key").read_bytes())
    with pytest.raises(StateError, match="do not belong together"):
        Authority(state)


def test_a_short_master_secret_is_refused(state):
    write_secret(state / "master.secret", b"short")
    with pytest.raises(StateError, match="5 bytes, at least 32"):
        read_master_secret(state)


def test_an_agents_certificate_is_short_backdated_and_for_clients_only(state):
    certificate = agent_certificate(state)
    assert certificate.not_valid_before_utc == NOW - dt.timedelta(minutes=10)
    assert certificate.not_valid_after_utc == NOW + dt.timedelta(days=30)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(Authority(state).ca_pem))


def test_only_the_controllers_certificate_has_its_name_and_the_usage_of_servers(state):
    identity = Authority(state).server_identity()
    certificate = x509.load_pem_x509_certificate(identity.certificate_pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["fleetmend-controller", "controller.example.org"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://fleetmend/controller"]
    assert list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH
    ]
    assert abs(identity.renew_at_ms - (NOW_MS + 365 * DAY_MS / 2)) < DAY_MS


def test_a_crash_between_key_and_certificate_is_mended_by_the_next_start(state):
    (state / "pki" / "controller.crt").unlink()
    assert init_state(state, (), NOW_MS)
    Authority(state).server_identity()


def test_no_certificate_outlives_the_ca(state):
    _, csr = signing_request()
    authority = Authority(state)
    late = authority.issue_agent(HOST, csr, NOW_MS + 3_649 * DAY_MS)
    assert late.not_after_ms <= NOW_MS + 3_650 * DAY_MS


@pytest.mark.parametrize(
    ("uri", "who"),
    [
        (agent_uri(HOST), Caller(Kind.AGENT, HOST)),
        (operator_uri(Role.RESPONDER, "ann@example.org"), Caller(Kind.OPERATOR, "ann@example.org", Role.RESPONDER)),
        ("spiffe://fleetmend/agent/H-0123456789ABCDEF", None),
        ("spiffe://fleetmend/agent/" + HOST + "\n", None),
        ("spiffe://fleetmend/operator/ADMIN/ann", None),
        ("spiffe://fleetmend/operator/admin/../x", None),
        ("spiffe://fleetmend/operator/admin", None),
        ("spiffe://fleetmend.example/agent/" + HOST, None),
        ("", None),
    ],
)
def test_names_are_read_exactly(uri, who):
    assert parse_uri(uri) == who
