"""A certificate that nears its end is renewed and the stream moves; one that was not renewed takes its stream with it."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from deploy.demo.process import wait_for
from deploy.demo.world import Host, World
from fleetmend_agent import identity
from fleetmend_controller.pki import authority
from fleetmend_controller.pki.authority import Authority
from tests.e2e import fleet

LIFETIME_S = 15
WAIT_S = 45.0


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def world():
    with World(heartbeat_ms=500) as world:
        world.init()
        world.start_controller()
        yield world


def shorten(world: World, host: Host, monkeypatch: pytest.MonkeyPatch) -> identity.Identity:
    """Gives a host a certificate of the fleet's own CA that ends in a few seconds; what the host then knows of itself."""
    monkeypatch.setattr(authority, "AGENT_LIFETIME", timedelta(seconds=LIFETIME_S))
    state = host.directory / "agent"
    known = identity.load(state)
    key = serialization.load_pem_private_key((state / identity.KEY).read_bytes(), None)
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    issued = Authority(world.directory / "state").issue_agent(
        known.host_id, csr.public_bytes(serialization.Encoding.DER), now_ms()
    )
    identity.write(state / identity.CERTIFICATE, issued.certificate_pem, 0o644)
    return identity.Identity(known.host_id, known.hostname, now_ms() - 60_000, issued.not_after_ms)


def test_a_certificate_past_its_half_life_is_renewed_and_the_host_never_lost(world, monkeypatch):
    host = world.add_host("web-1", {"role": "web"}, {"actions": {}})
    short = shorten(world, host, monkeypatch)
    state = host.directory / "agent"
    identity.save(state, short)
    before = (state / identity.CERTIFICATE).read_bytes()
    key = (state / identity.KEY).read_bytes()
    world.start_hosts()
    watched = (world.controller, host.agent)
    wait_for("the stream to move", lambda: "moved to a new channel" in host.agent.tail(), WAIT_S, *watched)
    assert (state / identity.CERTIFICATE).read_bytes() != before
    assert (state / identity.KEY).read_bytes() == key
    assert identity.load(state).not_after_ms > short.not_after_ms + 20 * 86_400_000
    # Two seconds after the old certificate's end the gateway has surely looked for streams that outlived theirs.
    wait_for("the old certificate's end", lambda: now_ms() > short.not_after_ms + 2_000, WAIT_S, *watched)
    assert world.connected() == {"web-1"}
    assert "fleetmend_gateway_streams 1.0" in world.metrics()
    assert "ends with its certificate" not in world.controller.tail()
    assert world.incidents() == []


def test_a_certificate_that_nobody_renewed_takes_its_stream_with_it(world, monkeypatch):
    host = world.add_host("web-1", {"role": "web"}, {"actions": {}})
    short = shorten(world, host, monkeypatch)
    # As a host does whose clock or identity is wrong: it holds its certificate for a young one.
    identity.save(host.directory / "agent", identity.Identity(short.host_id, short.hostname, now_ms(), now_ms() + 86_400_000))
    world.start_hosts()
    watch = fleet.Watch.begin(world, "host_lost")
    watched = (world.controller, host.agent)
    wait_for("the stream's end", lambda: "said bye: expired" in host.agent.tail(), WAIT_S, *watched)
    assert now_ms() >= short.not_after_ms
    watch.until("handed over", fleet.escalated)
    assert world.connected() == set()
    assert "fleetmend_gateway_streams 0.0" in world.metrics()
    assert host.agent.alive
