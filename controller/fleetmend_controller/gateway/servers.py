"""The three servers: agents and operators over mutual TLS, newcomers over TLS, the local administrator on a Unix socket."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from fleetmend.v1 import admin_pb2_grpc, enroll_pb2_grpc, link_pb2_grpc

from ..config import Config
from ..options import Address
from ..pki.authority import Authority, ServerIdentity
from .authz import Gatekeeper, Judge
from .handshakes import Handshakes
from .permissions import Door

log = logging.getLogger(__name__)

RECEIVE_BYTES_MAX = 1024 * 1024
SEND_BYTES_MAX = 4 * 1024 * 1024
METADATA_BYTES_MAX = 16 * 1024
STREAMS_A_CONNECTION_MAX = 64
HANDSHAKE_TIMEOUT_MS = 10_000
KEEPALIVE_MS = 30_000
PING_MIN_MS = 5_000
SOCKET_PATH_BYTES_MAX = 107
SOCKET_MODE = 0o600

_OPTIONS: list[tuple[str, int]] = [
    # A second controller on the same port must fail loudly instead of taking half of the connections.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", RECEIVE_BYTES_MAX),
    ("grpc.max_send_message_length", SEND_BYTES_MAX),
    ("grpc.max_metadata_size", METADATA_BYTES_MAX),
    ("grpc.max_concurrent_streams", STREAMS_A_CONNECTION_MAX),
    ("grpc.server_handshake_timeout_ms", HANDSHAKE_TIMEOUT_MS),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", HANDSHAKE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", PING_MIN_MS),
]


class CannotListen(RuntimeError):
    """An address is taken or may not be used; the text begins with `cannot listen on`."""


@dataclass(frozen=True, slots=True)
class Services:
    """What is served."""

    link: link_pb2_grpc.LinkServiceServicer
    enroll: enroll_pb2_grpc.EnrollServiceServicer
    admin: admin_pb2_grpc.AdminServiceServicer


class ServerCertificate:
    """The controller's certificate, renewed at half its life while the servers go on."""

    def __init__(self, authority: Authority, names: tuple[str, ...], wall_ms: Callable[[], int]) -> None:
        self._authority = authority
        self._names = names
        self._wall_ms = wall_ms
        self.identity = self._read()

    def _read(self) -> ServerIdentity:
        if not self._authority.has_server_identity():
            return self._authority.renew_server(self._names, self._wall_ms())
        identity = self._authority.server_identity()
        if identity.renew_at_ms <= self._wall_ms():
            return self._authority.renew_server(self._names, self._wall_ms())
        return identity

    async def renew_if_due(self) -> bool:
        """Issue a new certificate if half of the old one's life is over; connections from now on see it."""
        if self.identity.renew_at_ms > self._wall_ms():
            return False
        self.identity = await asyncio.to_thread(self._read)
        log.info("renewed the controller's certificate, valid until %d", self.identity.not_after_ms)
        return True

    def credentials(self, handshakes: Handshakes, *, demand_client: bool) -> grpc.ServerCredentials:
        """Credentials for one server, which follow a renewal."""
        used = self.identity

        # None means "as before", which the type stubs do not know.
        def fetch() -> Any:
            nonlocal used
            handshakes.begin()
            if self.identity is used:
                return None
            used = self.identity
            return _configuration(used)

        return grpc.dynamic_ssl_server_credentials(_configuration(used), fetch, require_client_authentication=demand_client)


@dataclass(slots=True)
class Servers:
    """The three servers, bound. `port` and `enrol_port` are those that the system chose if the configuration said 0."""

    main: grpc.aio.Server
    enrol: grpc.aio.Server
    admin: grpc.aio.Server
    port: int
    enrol_port: int
    socket_path: Path

    async def start(self) -> None:
        """Serve."""
        for server in (self.admin, self.enrol, self.main):
            await server.start()

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, give those under way `grace_s` seconds, and remove the socket."""
        await asyncio.gather(*(server.stop(grace_s) for server in (self.main, self.enrol, self.admin)))
        self.socket_path.unlink(missing_ok=True)


def build_servers(
    config: Config, certificate: ServerCertificate, judge: Judge, handshakes: Handshakes, services: Services
) -> Servers:
    """Bind the three servers without starting them. CannotListen says which address is the trouble."""
    main = _server(Gatekeeper(Door.MAIN, judge, handshakes.reached))
    link_pb2_grpc.add_LinkServiceServicer_to_server(services.link, main)
    enroll_pb2_grpc.add_EnrollServiceServicer_to_server(services.enroll, main)
    admin_pb2_grpc.add_AdminServiceServicer_to_server(services.admin, main)
    enrol = _server(Gatekeeper(Door.ENROL, judge, handshakes.reached))
    enroll_pb2_grpc.add_EnrollServiceServicer_to_server(services.enroll, enrol)
    admin = _server(Gatekeeper(Door.SOCKET, judge, lambda _peer: None))
    admin_pb2_grpc.add_AdminServiceServicer_to_server(services.admin, admin)
    port = _bind(main, config.listen, certificate.credentials(handshakes, demand_client=True))
    enrol_port = _bind(enrol, config.enrol_listen, certificate.credentials(handshakes, demand_client=False))
    _bind_socket(admin, config.admin_socket)
    return Servers(main, enrol, admin, port, enrol_port, config.admin_socket)


def _server(gatekeeper: Gatekeeper) -> grpc.aio.Server:
    return grpc.aio.server(interceptors=(gatekeeper,), options=_OPTIONS)


def _bind(server: grpc.aio.Server, address: Address, credentials: grpc.ServerCredentials) -> int:
    try:
        return server.add_secure_port(str(address), credentials)
    except RuntimeError as error:
        raise CannotListen(f"cannot listen on {address}: {_why_not(address)}") from error


def _why_not(address: Address) -> str:
    """What the system says to the same wish; gRPC keeps its reason to itself."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address.host, address.port))
    except OSError as error:
        return f"{error.strerror or error}; is another controller running?"
    return "the address cannot be used"


def _bind_socket(server: grpc.aio.Server, path: Path) -> None:
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
        raise CannotListen(f"cannot listen on {path}: the path is longer than {SOCKET_PATH_BYTES_MAX} bytes")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_room(path)
    except OSError as error:
        raise CannotListen(f"cannot listen on {path}: {error}") from error
    # The socket must never exist with wider rights, not even for a moment.
    umask = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{path}")
        mode = stat.S_IMODE(path.stat().st_mode)
    except (OSError, RuntimeError) as error:
        raise CannotListen(f"cannot listen on {path}: {error}") from error
    finally:
        os.umask(umask)
    if mode != SOCKET_MODE:
        raise CannotListen(f"cannot listen on {path}: its mode became {mode:04o}, not 0600")


def _make_room(path: Path) -> None:
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise OSError("something that is not a socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError("another controller is listening there")


def _configuration(identity: ServerIdentity) -> grpc.ServerCertificateConfiguration:
    pair = (identity.key_pem, identity.certificate_pem)
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=identity.ca_pem)
