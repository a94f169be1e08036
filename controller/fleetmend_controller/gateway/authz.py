"""The gatekeeper before every handler of every server: identity from peer certificate or door, permission from the table.

It also holds the one broad `except` around RPC handlers: a surprise becomes INTERNAL, a counter and a log line.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, NoReturn

import grpc
import grpc.aio
from cryptography import x509
from google.protobuf.message import DecodeError

from ..decider.ports import DeciderPort, JournalUnavailable
from ..http.metrics import Metrics
from ..pki.authority import serial_text
from ..pki.names import Caller, Kind, parse_uri
from ..pki.operators import Operators
from ..pki.registry import Registry
from ..store.engine import StoreUnavailable
from .limiter import Limiter
from .permissions import DOORS, PERMISSIONS, Door, Permission

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
# Quoted: the class is generic for type checkers only.
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[Any, Any] | None"]]

# What a message that is no protobuf becomes, so that a handler (or the wrapper around it) answers with a status.
GARBAGE = object()
AUDIT_BURST, AUDIT_EVERY_MS = 5, 10_000
# A stream of answers to an operator is judged again this often.
RECHECK_MS = 5_000

_caller: ContextVar[Caller] = ContextVar("caller")


def caller() -> Caller:
    """Who made the call that is being handled."""
    return _caller.get()


class _Refused(Exception):
    """The caller may not; `reason` is the word in the metric."""

    def __init__(self, reason: str, code: grpc.StatusCode, text: str, who: Caller | None) -> None:
        super().__init__(text)
        self.reason = reason
        self.code = code
        self.who = who


class Judge:
    """What the gatekeepers of all doors share: who is enrolled, who is an operator, where refusals are counted."""

    def __init__(
        self, registry: Registry, operators: Operators, decider: DeciderPort, metrics: Metrics, clock: Callable[[], int]
    ) -> None:
        self.clock = clock
        self._registry = registry
        self._operators = operators
        self._decider = decider
        self._metrics = metrics
        self._audits = Limiter(AUDIT_BURST, AUDIT_EVERY_MS)

    async def admit(self, door: Door, method: str, need: Permission, context: Context) -> Caller:
        """Who calls, if they may; _Refused otherwise."""
        who = self._identify(door, context)
        if who.kind not in DOORS[door]:
            raise _Refused("wrong_door", grpc.StatusCode.PERMISSION_DENIED, f"cannot serve {who} at this port", who)
        await self.require_in_force(who)
        if not need.allows(who):
            text = f"cannot let {who} call {method.rsplit('/', 1)[-1]}: {_wants(need)} may"
            raise _Refused("wrong_role", grpc.StatusCode.PERMISSION_DENIED, text, who)
        return who

    async def require_in_force(self, who: Caller) -> None:
        """_Refused if the identity was revoked."""
        if who.kind is Kind.AGENT and self._registry.get(who.name) is None:
            text = f"cannot serve {who}: the host was removed; enrol it again"
            raise _Refused("revoked", grpc.StatusCode.PERMISSION_DENIED, text, who)
        if who.kind is not Kind.OPERATOR or who.role is None:
            return
        if not await self._operators.in_force(who.serial, who.name, who.role, self.clock()):
            raise _Refused(
                "revoked", grpc.StatusCode.PERMISSION_DENIED, f"cannot serve {who}: the certificate was revoked", who
            )

    async def refuse(self, context: Context, refused: _Refused, method: str) -> NoReturn:
        """Count, audit (at a bounded rate) and end the call."""
        self._metrics.refused.labels(refused.reason).inc()
        who = str(refused.who or "nobody")
        if self._audits.take(f"{refused.reason} {who}", self.clock()):
            log.warning("refused %s from %s: %s (%s)", method, context.peer(), refused, refused.reason)
            host = refused.who.name if refused.who is not None and refused.who.kind is Kind.AGENT else ""
            detail = {"method": method, "peer": context.peer(), "reason": refused.reason}
            try:
                await self._decider.audit("refused", who, host, detail)
            except JournalUnavailable as error:
                log.warning("cannot audit a refusal: %s", error)
        await context.abort(refused.code, str(refused))

    def count_unknown(self) -> None:
        """A call that no table knows."""
        self._metrics.refused.labels("unknown_method").inc()

    def count_garbage(self) -> None:
        """A message that is no protobuf."""
        self._metrics.refused.labels("garbage").inc()

    def count_error(self, method: str) -> None:
        """A handler that failed."""
        self._metrics.rpc_errors.labels(method).inc()

    def _identify(self, door: Door, context: Context) -> Caller:
        if door is Door.ENROL:
            return Caller(Kind.ANONYMOUS, "")
        if door is Door.SOCKET:
            return Caller(Kind.LOCAL, "local")
        auth = context.auth_context()
        uris = [bytes(uri).decode("utf-8", "replace") for uri in auth.get("peer_uri", ())]
        who = parse_uri(uris[0]) if len(uris) == 1 else None
        if who is None:
            text = "cannot serve the call: the certificate names no agent and no operator"
            raise _Refused("no_identity", grpc.StatusCode.UNAUTHENTICATED, text, None)
        serial, not_after_ms = _certificate(auth)
        return replace(who, serial=serial, not_after_ms=not_after_ms)


class Gatekeeper(grpc.aio.ServerInterceptor):
    """The interceptor of one server."""

    def __init__(self, door: Door, judge: Judge, reached: Callable[[str], None]) -> None:
        self._door = door
        self._judge = judge
        self._reached = reached

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Put the judge before the handler; no handler for what the table does not know."""
        method = str(handler_call_details.method)
        need = PERMISSIONS.get(method)
        handler = await continuation(handler_call_details)
        if need is None or handler is None:
            self._judge.count_unknown()
            return None
        guarded = _Guarded(self._door, self._judge, method, need, self._reached)
        return _rewrap(handler, guarded)


class _Guarded:
    """One method behind the judge."""

    def __init__(self, door: Door, judge: Judge, method: str, need: Permission, reached: Callable[[str], None]) -> None:
        self._door = door
        self._judge = judge
        self._method = method
        self._need = need
        self._reached = reached

    def single(self, behaviour: Callable[[Any, Context], Awaitable[Any]]) -> Callable[[Any, Context], Awaitable[Any]]:
        """Guard a coroutine function."""

        async def guarded(request: Any, context: Context) -> Any:
            await self._admit(request, context)
            try:
                return await behaviour(request, context)
            except Exception as error:  # noqa: BLE001 - the one wrapper around RPC handlers
                await self._failed(error, context)

        return guarded

    def many(self, behaviour: Callable[[Any, Context], AsyncIterator[Any]]) -> Callable[[Any, Context], AsyncIterator[Any]]:
        """Guard an asynchronous generator; its caller is judged again while it goes on."""

        async def guarded(request: Any, context: Context) -> AsyncIterator[Any]:
            who = await self._admit(request, context)
            checked_ms = self._judge.clock()
            try:
                async for response in behaviour(request, context):
                    if self._judge.clock() - checked_ms > RECHECK_MS:
                        checked_ms = self._judge.clock()
                        await self._judge.require_in_force(who)
                    yield response
            except Exception as error:  # noqa: BLE001 - the one wrapper around RPC handlers
                await self._failed(error, context)

        return guarded

    async def _admit(self, request: Any, context: Context) -> Caller:
        self._reached(context.peer())
        try:
            who = await self._judge.admit(self._door, self._method, self._need, context)
        except _Refused as refused:
            await self._judge.refuse(context, refused, self._method)
        if request is GARBAGE:
            self._judge.count_garbage()
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "cannot read the request: it is not the message of this call")
        _caller.set(who)
        return who

    async def _failed(self, error: Exception, context: Context) -> NoReturn:
        if isinstance(error, grpc.aio.AbortError):
            raise error
        if isinstance(error, _Refused):
            await self._judge.refuse(context, error, self._method)
        if isinstance(error, JournalUnavailable | StoreUnavailable):
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"cannot serve the call now: {error}")
        self._judge.count_error(self._method)
        log.error("the handler of %s failed", self._method, exc_info=error)
        await context.abort(grpc.StatusCode.INTERNAL, "cannot serve the call: an internal error; the controller's log has it")


def _rewrap(handler: grpc.RpcMethodHandler[Any, Any], guarded: _Guarded) -> grpc.RpcMethodHandler[Any, Any]:
    behaviour: Any = handler.stream_stream or handler.stream_unary or handler.unary_stream or handler.unary_unary
    wrapped = guarded.many(behaviour) if inspect.isasyncgenfunction(behaviour) else guarded.single(behaviour)
    makers: dict[tuple[bool, bool], Callable[..., grpc.RpcMethodHandler[Any, Any]]] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    make = makers[bool(handler.request_streaming), bool(handler.response_streaming)]
    decode = handler.request_deserializer
    return make(
        wrapped,
        request_deserializer=_tolerant(decode) if decode is not None else None,
        response_serializer=handler.response_serializer,
    )


def _tolerant(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def attempt(data: bytes) -> Any:
        try:
            return decode(data)
        except DecodeError:
            return GARBAGE

    return attempt


def _certificate(auth: Any) -> tuple[str, int]:
    """Serial number and end of the peer's certificate."""
    pem = next(iter(auth.get("x509_pem_cert", ())), b"")
    try:
        certificate = x509.load_pem_x509_certificate(bytes(pem))
    except ValueError:
        return "", 0
    return serial_text(certificate.serial_number), int(certificate.not_valid_after_utc.timestamp() * 1000)


def _wants(need: Permission) -> str:
    if need.kind is Kind.OPERATOR and need.role is not None:
        return f"an operator with the role {need.role.word} or above"
    return {Kind.AGENT: "a host's agent", Kind.ANONYMOUS: "a server that joins"}.get(need.kind, need.kind.value)
