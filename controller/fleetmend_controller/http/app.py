"""The controller's HTTP port: /metrics for Prometheus, /healthz and /readyz for whoever supervises it. It only reads."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import zlib
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

import uvicorn
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from .. import clock
from ..core.model import Fleet
from ..core.policy import Policy
from . import state
from .metrics import Metrics

CONNECTIONS_MAX = 64
SHUTDOWN_TIMEOUT_S = 2
# How old the date in the headers may be.
DATE_EVERY_S = 1.0
# The lowest level already makes a scrape some ten times smaller; the higher ones cost more than the network does.
GZIP_LEVEL = 1


class Listen(Protocol):
    """Where to listen."""

    @property
    def host(self) -> str:
        """An address or a name."""

    @property
    def port(self) -> int:
        """A port; 0 lets the system choose."""


class GaugesSource(Protocol):
    """The per-host gauges that a gateway keeps."""

    def render(self) -> bytes:
        """All of them in the text exposition format. Called on the event loop: must be cheap."""


FleetSource = Callable[[], tuple[Fleet, Policy]]
ReadySource = Callable[[], Sequence[str]]


def program_version() -> str:
    """The version of the installed distribution."""
    try:
        return version("fleetmend")
    except PackageNotFoundError:
        return "unknown"


def make_app(metrics: Metrics, fleet_source: FleetSource, gauges_source: GaugesSource, ready_source: ReadySource) -> Starlette:
    """The application. `ready_source` names what keeps the controller from its work; empty when nothing does."""
    about = program_version()
    # A scrape of a large fleet takes memory; a second one waits for its turn.
    turn = asyncio.Lock()

    async def metrics_page(request: Request) -> Response:
        compress = "gzip" in request.headers.get("accept-encoding", "")
        async with turn:
            # Taken on the loop, where the fleet and the gauges change; rendered on a thread, so that decisions go on meanwhile.
            fleet, policy = fleet_source()
            snapshot = state.take(fleet, policy, clock.now_ms())
            per_host = gauges_source.render()
            body = await asyncio.to_thread(_exposition, metrics, snapshot, about, per_host, compress=compress)
        headers = {"content-encoding": "gzip", "vary": "accept-encoding"} if compress else {"vary": "accept-encoding"}
        return Response(body, media_type=CONTENT_TYPE_PLAIN_0_0_4, headers=headers)

    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_request: Request) -> Response:
        reasons = list(ready_source())
        return JSONResponse({"ready": not reasons, "reasons": reasons}, status_code=503 if reasons else 200)

    return Starlette(routes=[Route("/metrics", metrics_page), Route("/healthz", healthz), Route("/readyz", readyz)])


def _exposition(metrics: Metrics, snapshot: state.Snapshot, about: str, per_host: bytes, *, compress: bool) -> bytes:
    parts = (generate_latest(metrics.registry), state.render(snapshot, about), per_host)
    if not compress:
        return b"".join(parts)
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 31)
    return b"".join([*(packer.compress(part) for part in parts), packer.flush()])


class _Server(uvicorn.Server):
    """uvicorn inside a program that has its own signal handling, and says by an event when it ends."""

    def __init__(self, config: uvicorn.Config, stop: asyncio.Event) -> None:
        super().__init__(config)
        self._stop = stop

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        """Waits for the end. uvicorn's own looks for it ten times a second, a third of what a controller at rest costs."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DATE_EVERY_S):
                    await self._stop.wait()
            self.should_exit = self.should_exit or self._stop.is_set()


def bind(address: Listen, what: str = "metrics") -> socket.socket:
    """A listening socket; OSError says which address and why not."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {address.host}:{address.port} for {what}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {address.host}:{address.port} for {what}: {error.strerror}") from error
    listener.setblocking(False)
    return listener


async def serve(
    address: Listen,
    metrics: Metrics,
    fleet_source: FleetSource,
    gauges_source: GaugesSource,
    ready_source: ReadySource,
    stop: asyncio.Event,
) -> None:
    """Serve the metrics until `stop` is set. Raises OSError at once when the address cannot be had."""
    await serve_app(make_app(metrics, fleet_source, gauges_source, ready_source), address, "metrics", stop)


async def serve_app(app: Starlette, address: Listen, what: str, stop: asyncio.Event) -> None:
    """Serve an application until `stop` is set."""
    listener = bind(address, what)
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
    )
    try:
        await _Server(config, stop).serve(sockets=[listener])
    finally:
        listener.close()
