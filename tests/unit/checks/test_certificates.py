"""A certificate that is served: the same as in its file, from the declared CA, for the right name."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

import fleetmend_agent
from fleetmend_agent import certificate_probe
from fleetmend_agent.checks import CheckUnknown, Context, Status, prepare
from fleetmend_agent.checks.tls_certificate import CHECK, is_for
from fleetmend_agent.host import Host

PROBE = Path(fleetmend_agent.__file__).with_name("certificate_probe.py")


@pytest.fixture(scope="module")
def authority():
    return trustme.CA(organization_name="Example", organization_unit_name="CA")


@contextmanager
def served(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with suppress(OSError), context.wrap_socket(connection, server_side=True):
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def judged(tmp_path, authority, in_file, served_at, **params):
    ca, file = tmp_path / "ca.crt", tmp_path / "web.crt"
    authority.cert_pem.write_to_path(ca)
    if in_file is not None:
        file.write_bytes(in_file.cert_chain_pems[0].bytes())
    given = {
        "path": str(file) if in_file else "",
        "served_at": served_at,
        "ca": str(ca),
        "server_name": "web.example.com",
        **params,
    }
    (result,) = CHECK.run(Context(Host(), prepare(CHECK, given), 10.0))
    return result.status, result.finding["fault"], result.finding["where"]


def test_what_is_served_is_what_is_in_the_file(tmp_path, authority):
    mine, old = (authority.issue_cert("web.example.com") for _ in range(2))
    with served(mine) as address:
        assert judged(tmp_path, authority, mine, address) == (Status.OK, "", "")
        assert judged(tmp_path, authority, None, address) == (Status.OK, "", "")
    with served(old) as address:
        assert judged(tmp_path, authority, mine, address) == (Status.CRIT, "differs", "served")


def test_a_good_file_makes_a_bad_served_one_a_matter_of_a_reload(tmp_path, authority):
    mine, alien = authority.issue_cert("web.example.com"), trustme.CA().issue_cert("web.example.com")
    with served(alien) as address:
        assert judged(tmp_path, authority, mine, address) == (Status.CRIT, "differs", "served")
        assert judged(tmp_path, authority, None, address) == (Status.CRIT, "wrong_ca", "served")
        assert judged(tmp_path, authority, alien, address) == (Status.CRIT, "wrong_ca", "file")


def test_a_forged_issuer_name_is_seen_in_what_is_served(tmp_path, authority):
    forger = trustme.CA(organization_name="Example", organization_unit_name="CA")
    forged = forger.issue_cert("web.example.com")
    ders = [certificate_probe.certificates_in(pem.bytes())[0] for pem in (forged.cert_chain_pems[0], authority.cert_pem)]
    assert certificate_probe.facts(ders[0], ders[1:])["fault"] == "", "by its words alone it is the CA's"
    with served(forged) as address:
        assert judged(tmp_path, authority, None, address)[1] == "wrong_ca"


def test_a_certificate_of_another_key_is_told_by_the_executor(tmp_path, authority):
    mine, answers, asked = authority.issue_cert("web.example.com"), [{"web": "other"}, {}, {"web": "same"}], []

    def look(what, _timeout_s):
        asked.append(what)
        return answers.pop(0)

    (tmp_path / "web.crt").write_bytes(mine.cert_chain_pems[0].bytes())
    given = {"path": str(tmp_path / "web.crt"), "key": str(tmp_path / "web.key"), "name": "web"}
    context = Context(Host(look=look), prepare(CHECK, given), 10.0)
    said = [next(iter(CHECK.run(context))).finding["fault"] for _ in range(4)]
    assert said == ["wrong_key", "", "", ""]
    assert asked == ["keypairs"] * 3, "what fits is not asked for again"
    assert set(CHECK.watched(context.host, context.params)) == {given["path"], given["key"]}


def test_another_name_and_nobody_who_serves(tmp_path, authority):
    other = authority.issue_cert("other.example.com")
    with served(other) as address:
        assert judged(tmp_path, authority, None, address)[1:] == ("wrong_name", "served")
    mine = authority.issue_cert("web.example.com")
    assert judged(tmp_path, authority, mine, "127.0.0.1:1")[0] is Status.OK
    with pytest.raises(CheckUnknown, match="cannot see the certificate"):
        judged(tmp_path, authority, None, "127.0.0.1:1")


@pytest.mark.parametrize(
    ("wanted", "names", "fits"),
    [
        ("web.example.com", ["WEB.example.com"], True),
        ("web.example.com", ["*.example.com"], True),
        ("a.web.example.com", ["*.example.com"], False),
        ("example.com", ["*.example.com"], False),
        ("web.example.com", [], False),
        ("192.0.2.1", ["192.0.2.1"], True),
    ],
)
def test_for_which_names_a_certificate_is(wanted, names, fits):
    assert is_for(wanted, names) is fits


@given(st.binary(max_size=300))
def test_garbage_is_no_certificate(data):
    assert certificate_probe.facts(data, []) == {"fault": "unreadable"}


def test_where_the_file_cannot_be_read_what_is_served_has_to_do(tmp_path, authority):
    loop = tmp_path / "loop.crt"
    loop.symlink_to(loop)
    with served(authority.issue_cert("web.example.com")) as address:
        assert judged(tmp_path, authority, None, address, path=str(loop)) == (Status.OK, "", "")
    with pytest.raises(CheckUnknown, match="cannot read"):
        judged(tmp_path, authority, None, "", path=str(loop))


def test_the_child_needs_nothing_of_ours():
    argv = [sys.executable, "-I", str(PROBE), "/nonexistent", "", "", ""]
    done = subprocess.run(argv, capture_output=True, check=True, text=True, env={})
    assert json.loads(done.stdout)["file"] == {"fault": "missing"}
