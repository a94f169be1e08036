"""EnrollService: a server becomes a host, and a host's certificate is kept young."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from fleetmend.seal import derive_host_key
from fleetmend.v1 import enroll_pb2, enroll_pb2_grpc

from ..decider.ports import DeciderPort, JournalUnavailable
from ..http.metrics import Metrics
from ..pki.authority import Authority, BadRequest
from ..pki.registry import Enrolled, NameTaken, Registry, UnknownHost
from ..pki.tokens import TokenRefused, Tokens, parse_token
from .authz import caller
from .bounds import ID_CHARS_MAX, line
from .limiter import Limiter

log = logging.getLogger(__name__)

HOSTNAME_CHARS_MAX = 253
FAILURES_BURST, FAILURES_EVERY_MS = 10, 6_000
# Work on enrolments that is under way at once; the rest waits in gRPC, and heartbeats go on.
AT_ONCE_MAX = 16
AUDIT_BURST, AUDIT_EVERY_MS = 3, 60_000
RENEWALS_BURST, RENEWALS_EVERY_MS = 5, 60_000
_HOSTNAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


class EnrollService(enroll_pb2_grpc.EnrollServiceServicer):
    """Enrolment for newcomers, renewal for hosts."""

    def __init__(
        self,
        registry: Registry,
        tokens: Tokens,
        authority: Authority,
        master: bytes,
        decider: DeciderPort,
        metrics: Metrics,
        clock: Callable[[], int],
        wall_ms: Callable[[], int],
    ) -> None:
        self._registry = registry
        self._tokens = tokens
        self._authority = authority
        self._master = master
        self._decider = decider
        self._metrics = metrics
        self._clock = clock
        self._wall_ms = wall_ms
        self._failures = Limiter(FAILURES_BURST, FAILURES_EVERY_MS)
        self._audits = Limiter(AUDIT_BURST, AUDIT_EVERY_MS)
        self._renewals = Limiter(RENEWALS_BURST, RENEWALS_EVERY_MS, keys_max=65_536)
        self._turn = asyncio.Semaphore(AT_ONCE_MAX)

    async def Enroll(self, request: enroll_pb2.EnrollRequest, context: Any) -> enroll_pb2.EnrollResponse:
        """Trade a token and a signing request for an identity."""
        address = _address(context.peer())
        wait_ms = self._failures.wait_ms(address, self._clock())
        if wait_ms:
            self._metrics.refused.labels("enrol_rate").inc()
            text = f"cannot enrol: too many failed attempts from {address}; wait {wait_ms // 1000 + 1} s"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        try:
            async with self._turn:
                enrolled = await self._enrol(request)
        except TokenRefused as error:
            await self._failed(address, "token", request.hostname)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        except BadRequest as error:
            await self._failed(address, "bad_request", request.hostname)
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except NameTaken as error:
            await self._failed(address, "name_taken", request.hostname)
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, str(error))
        await self._audit(enrolled, address, parse_token(request.token).id)
        return enroll_pb2.EnrollResponse(
            certificate_pem=enrolled.issued.certificate_pem,
            ca_pem=self._authority.ca_pem,
            host_id=enrolled.host.id,
            not_after_ms=enrolled.issued.not_after_ms,
            executor_key=derive_host_key(self._master, enrolled.host.id),
            epoch=self._decider.epoch,
        )

    async def Renew(self, request: enroll_pb2.RenewRequest, context: Any) -> enroll_pb2.RenewResponse:
        """A new certificate for the identity in the peer certificate."""
        host_id = caller().name
        if not self._renewals.take(host_id, self._clock()):
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "cannot renew: too often; wait a minute")
        try:
            issued = self._authority.issue_agent(host_id, request.csr_der, self._wall_ms())
            await self._registry.renewed(host_id, issued)
        except BadRequest as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except UnknownHost as error:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
        return enroll_pb2.RenewResponse(
            certificate_pem=issued.certificate_pem, ca_pem=self._authority.ca_pem, not_after_ms=issued.not_after_ms
        )

    async def _enrol(self, request: enroll_pb2.EnrollRequest) -> Enrolled:
        # A wrong token must cost as little as possible: it is judged before anything else is looked at.
        await self._tokens.check(request.token, self._wall_ms())
        name = request.hostname.lower().removesuffix(".")
        if len(name) > HOSTNAME_CHARS_MAX or not _HOSTNAME.fullmatch(name):
            raise BadRequest("cannot enrol: the host name must be 1 to 253 of a-z, 0-9, dot and hyphen")
        machine_id = line(request.machine_id, ID_CHARS_MAX)
        return await self._registry.enrol(self._authority, parse_token(request.token), request.csr_der, name, machine_id)

    async def _failed(self, address: str, reason: str, hostname: str) -> None:
        self._failures.take(address, self._clock())
        self._metrics.refused.labels(f"enrol_{reason}").inc()
        if not self._audits.take(address, self._clock()):
            return
        name = line(hostname, HOSTNAME_CHARS_MAX)
        log.warning("refused an enrolment as %r from %s: %s", name, address, reason)
        try:
            await self._decider.audit("enrol_refused", address, "", {"reason": reason, "hostname": name})
        except JournalUnavailable as error:
            log.warning("cannot audit a refused enrolment: %s", error)

    async def _audit(self, enrolled: Enrolled, address: str, token_id: str) -> None:
        host = enrolled.host
        detail = {"name": host.name, "address": address, "token": token_id, "serial": enrolled.issued.serial}
        if enrolled.twins:
            detail["same_machine_id"] = ", ".join(enrolled.twins)
            log.warning("%s (%s) has the machine id of %s: a cloned disk?", host.name, host.id, detail["same_machine_id"])
        log.info("enrolled %s as %s from %s", host.name, host.id, address)
        try:
            await self._decider.audit("host_enrolled", f"token {token_id}", host.id, detail)
        except JournalUnavailable as error:
            log.warning("cannot audit the enrolment of %s: %s", host.id, error)


def _address(peer: str) -> str:
    """The peer without its port; of IPv6 the /64, which is what one machine can easily change within."""
    kind, _, rest = peer.partition(":")
    address = rest.replace("%5B", "[").replace("%5D", "]").rpartition(":")[0].strip("[]")
    if kind != "ipv6" or address.startswith("::"):
        return address or peer
    return ":".join(address.split("%")[0].split(":")[:4]) + "::/64"
