"""How the controller is found, and what is said when it cannot be."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import trustme

from fleetmend.v1 import admin_pb2 as pb
from fleetmend.v1 import admin_pb2_grpc
from fleetmend_cli import connection
from fleetmend_cli.connection import CONTROLLER_NAME, Endpoint, find_endpoint
from fleetmend_cli.errors import CliError

from .shell import Shell

TLS = {"ca": "ca.crt", "certificate": "me.crt", "key": "me.key"}


@pytest.fixture(autouse=True)
def no_socket_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.setattr(connection, "SOCKET", tmp_path / "nowhere.sock")


@pytest.fixture
def alone(tmp_path) -> Shell:
    """A shell with an environment that names no controller."""
    shell = Shell(tmp_path / "absent.sock", tmp_path)
    del shell.env["FLEETMEND_SOCKET"]
    return shell


class Greeter(admin_pb2_grpc.AdminServiceServicer):
    """Answers one call, with who asked."""

    def ListHosts(self, request, context):
        names = context.auth_context().get("x509_common_name", [b"nobody"])
        return pb.ListHostsResponse(hosts=[pb.Host(name=names[0].decode(), id="h-1")], total=1)

    def GetHost(self, request, context):
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "cannot let alice (viewer) call GetHost: an operator may")

    def GetStatus(self, request, context):
        context.abort(grpc.StatusCode.UNAVAILABLE, "cannot serve the call now: the disk is full")

    def ListActions(self, request, context):
        raise RuntimeError("a defect")


@pytest.fixture
def tls_fleet(tmp_path) -> Iterator[dict[str, str]]:
    """A controller's port with mutual TLS; yields the options that reach it."""
    authority, mine = trustme.CA(), trustme.CA()
    server_cert = authority.issue_cert(CONTROLLER_NAME)
    me = mine.issue_cert("alice", common_name="alice")
    authority.cert_pem.write_to_path(tmp_path / "ca.crt")
    me.cert_chain_pems[0].write_to_path(tmp_path / "me.crt")
    me.private_key_pem.write_to_path(tmp_path / "me.key")
    stranger = trustme.CA()
    stranger.cert_pem.write_to_path(tmp_path / "stranger.crt")
    pair = (server_cert.private_key_pem.bytes(), server_cert.cert_chain_pems[0].bytes())
    credentials = grpc.ssl_server_credentials([pair], mine.cert_pem.bytes(), require_client_auth=True)
    server = grpc.server(ThreadPoolExecutor(2))
    admin_pb2_grpc.add_AdminServiceServicer_to_server(Greeter(), server)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield {
        "controller": f"127.0.0.1:{port}",
        "ca": str(tmp_path / "ca.crt"),
        "cert": str(tmp_path / "me.crt"),
        "key": str(tmp_path / "me.key"),
    }
    server.stop(None).wait()


def options(fleet: dict[str, str], **changes: str) -> list[str]:
    return [word for name, value in {**fleet, **changes}.items() for word in (f"--{name}", value)]


def test_options_before_or_after_the_command_reach_a_controller_by_its_own_name(alone, tls_fleet):
    for words in ([*options(tls_fleet), "hosts", "ls"], ["hosts", "ls", *options(tls_fleet)]):
        done = alone(*words, "--output", "json")
        assert (done.code, done.json["hosts"][0]["name"]) == (0, "alice"), done.err


def test_the_environment_reaches_it_too(alone, tls_fleet):
    env = {f"FLEETMEND_{name.upper()}": value for name, value in tls_fleet.items()}
    assert alone("hosts", "ls", env=env).code == 0


def test_a_configuration_file_names_files_beside_it(alone, tls_fleet, tmp_path):
    folder = tmp_path / ".config" / "fleetmend"
    folder.mkdir(parents=True)
    for name in ("ca.crt", "me.crt"):
        (folder / name).write_bytes((tmp_path / name).read_bytes())
    config = f"controller: {tls_fleet['controller']}\nca: ca.crt\ncertificate: me.crt\nkey: {tmp_path}/me.key\n"
    (folder / "config.yaml").write_text(config)
    assert alone("hosts", "ls").code == 0


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("controller: [", "cannot read"),
        ("- a", "not a mapping"),
        ("controler: x", "unknown key 'controler'"),
        ("ca: 3", "not a mapping"),
    ],
)
def test_a_broken_configuration_file_is_wrong_usage(alone, tmp_path, text, cause):
    folder = tmp_path / ".config" / "fleetmend"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(text)
    done = alone("hosts", "ls")
    assert (done.code, cause in done.err) == (2, True), done.err


def test_no_controller_at_all_says_what_to_do(alone):
    done = alone("hosts", "ls")
    assert done.code == 3
    assert done.err.startswith("fleetmend: cannot find a controller: ")
    assert "--controller" in done.err


def test_nobody_at_the_socket_or_the_port_is_exit_code_three(alone, tls_fleet, tmp_path):
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        for words in (["--socket", str(tmp_path / "x.sock")], options(tls_fleet, controller=f"127.0.0.1:{port}")):
            for command in (["hosts", "ls"], ["audit", "verify"], ["incidents", "watch"]):
                done = alone(*words, *command)
                assert done.code == 3
                assert done.err.startswith("fleetmend: cannot reach the controller at ")
                assert done.err.count("\n") == 2, "the sentence and the way out"
                assert done.out == ""


def test_a_foreign_ca_is_exit_code_three_and_points_at_the_files(alone, tls_fleet, tmp_path):
    done = alone(*options(tls_fleet, ca=str(tmp_path / "stranger.crt")), "hosts", "ls")
    assert done.code == 3
    assert "--ca" in done.err


def test_a_key_of_another_certificate_is_exit_code_three(alone, tls_fleet, tmp_path):
    other = trustme.CA().issue_cert("bob")
    other.private_key_pem.write_to_path(tmp_path / "other.key")
    done = alone(*options(tls_fleet, key=str(tmp_path / "other.key")), "hosts", "ls")
    assert done.code == 3
    assert "failed to connect" not in done.err
    assert "--key" in done.err


def test_refusals_are_exit_code_one_with_the_controllers_words(alone, tls_fleet):
    denied = alone(*options(tls_fleet), "hosts", "show", "x")
    assert (denied.code, denied.err) == (1, "fleetmend: cannot let alice (viewer) call GetHost: an operator may\n")
    full = alone(*options(tls_fleet), "status")
    assert (full.code, full.err) == (1, "fleetmend: cannot serve the call now: the disk is full\n"), "it was reached"
    defect = alone(*options(tls_fleet), "actions", "ls")
    assert (defect.code, "the controller says unknown" in defect.err) == (1, True)
    older = alone(*options(tls_fleet), "playbooks", "ls")
    assert (older.code, "older than this program" in older.err) == (1, True)


def test_files_that_are_missing_or_not_named_are_wrong_usage(alone, tls_fleet):
    assert alone("--controller", "ctl", "hosts", "ls").code == 2
    done = alone(*options(tls_fleet, key="/nowhere/me.key"), "hosts", "ls")
    assert (done.code, "cannot read /nowhere/me.key" in done.err) == (2, True)
    assert alone("--controller", "ctl", "--socket", "/x", "hosts", "ls").code == 2


def test_what_is_named_first_wins(tmp_path, monkeypatch):
    env = {
        "FLEETMEND_CONTROLLER": "env:1",
        "FLEETMEND_CA": "a",
        "FLEETMEND_CERT": "b",
        "FLEETMEND_KEY": "c",
        "HOME": str(tmp_path),
    }
    assert find_endpoint({"socket": "/mine"}, env) == Endpoint(socket=Path("/mine"))
    assert find_endpoint({"controller": "mine:2", **TLS}, env | {"FLEETMEND_SOCKET": "/env"}).controller == "mine:2"
    assert find_endpoint({}, env).controller == "env:1"
    here = tmp_path / "here.sock"
    here.touch()
    monkeypatch.setattr(connection, "SOCKET", here)
    assert find_endpoint({}, env).controller == "env:1"
    home = {"HOME": str(tmp_path)}
    assert find_endpoint({}, home).socket == here
    folder = tmp_path / ".config" / "fleetmend"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("controller: file:3\nca: a\ncertificate: b\nkey: /c\n")
    assert find_endpoint({}, home).socket == here
    as_me = find_endpoint({"certificate": "/other"}, home)
    assert as_me == Endpoint(None, "file:3", folder / "a", Path("/other"), Path("/c")), (
        "who names a certificate wants to be its operator"
    )
    assert find_endpoint({"controller": "mine:2"}, home) == Endpoint(None, "mine:2", folder / "a", folder / "b", Path("/c"))
    with pytest.raises(CliError, match="both a socket and"):
        find_endpoint({}, env | {"FLEETMEND_SOCKET": "/env"})


@pytest.mark.parametrize(
    ("given", "dialled"),
    [
        ("ctl", "ctl:7443"),
        ("ctl:9", "ctl:9"),
        ("192.0.2.1", "192.0.2.1:7443"),
        ("::1", "[::1]:7443"),
        ("[::1]:9", "[::1]:9"),
        ("[::1]", "[::1]:7443"),
    ],
)
def test_addresses_get_the_port_they_lack(given, dialled):
    assert find_endpoint({"controller": given, **TLS}, {}).controller == dialled
