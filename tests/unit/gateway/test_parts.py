"""The small parts: silence, rates, handshakes, clocks of records."""

from fleetmend.v1 import link_pb2
from fleetmend_controller.core.model import Status
from fleetmend_controller.gateway.handshakes import Handshakes
from fleetmend_controller.gateway.limiter import Limiter
from fleetmend_controller.gateway.orders import Sealer
from fleetmend_controller.gateway.records import Sent, Translator
from fleetmend_controller.gateway.silence import Silence
from fleetmend_controller.http.metrics import Metrics
from tests.unit.gateway.world import Clock


def look_until(silence, begin_ms, end_ms, step_ms=1_000):
    return [(now, event.host) for now in range(begin_ms, end_ms, step_ms) for event in silence.look(now)]


def test_a_host_is_silent_once_after_three_intervals():
    silence = Silence(30_000)
    silence.heard("a", 0)
    assert look_until(silence, 0, 120_000) == [(31_000, "a")]
    assert silence.heard("a", 120_000)
    assert not silence.heard("a", 121_000)
    assert look_until(silence, 122_000, 200_000) == [(152_000, "a")]


def test_after_a_start_hosts_have_their_grace_and_who_never_came_is_silent_once():
    silence = Silence(30_000)
    silence.expect(["a", "b"], 0, 60_000)
    silence.known_silent(["b"])
    assert look_until(silence, 0, 60_001) == []
    assert look_until(silence, 61_000, 200_000) == [(61_000, "a")]


def test_a_controller_that_stood_still_blames_no_host():
    silence = Silence(30_000)
    for now in range(0, 5_000, 1_000):
        silence.heard("a", now)
        silence.look(now)
    assert silence.look(600_000) == []
    assert look_until(silence, 601_000, 620_000) == []
    assert [host for _, host in look_until(silence, 620_000, 640_000)] == ["a"]


def test_silence_that_could_not_be_told_is_found_again():
    silence = Silence(2_000)
    silence.heard("a", 0)
    found = silence.look(2_500)
    silence.untold(found)
    assert [event.host for event in silence.look(3_000)] == ["a"]


def test_a_limiter_lets_a_burst_through_and_then_a_rate():
    limiter = Limiter(burst=3, every_ms=1_000)
    assert [limiter.take("a", 0) for _ in range(5)] == [True, True, True, False, False]
    assert limiter.wait_ms("a", 0) == 1_000
    assert limiter.take("b", 0)
    assert [limiter.take("a", 1_000), limiter.take("a", 1_000)] == [True, False]
    assert [limiter.take("a", 60_000) for _ in range(4)] == [True, True, True, False]


def test_a_limiter_forgets_the_longest_unused():
    limiter = Limiter(burst=1, every_ms=1_000, keys_max=2)
    for key in "abc":
        limiter.take(key, 0)
    assert len(limiter) == 2
    assert limiter.wait_ms("a", 0) == 0


def test_handshakes_without_a_call_are_counted_after_ten_seconds():
    clock, metrics = Clock(0), Metrics()
    handshakes = Handshakes(metrics, clock)
    for _ in range(5):
        handshakes.begin()
    for peer in ("ipv4:127.0.0.1:1", "ipv4:127.0.0.1:2", "ipv4:127.0.0.1:2"):
        handshakes.reached(peer)
    clock.now_ms = 9_999
    handshakes.sweep()
    assert metrics.refused.labels("handshake")._value.get() == 0
    clock.now_ms = 10_000
    handshakes.sweep()
    assert metrics.refused.labels("handshake")._value.get() == 3


def test_a_sample_of_an_earlier_boot_is_at_least_as_old_as_this_one():
    sent = Sent(at_ms=1_000_000, boot="now", clock_ms=40_000)
    assert sent.pair("now", 39_000) == 40_000
    assert sent.pair("before", 9_000_000) - 9_000_000 == 40_000


def test_what_is_gone_and_back_within_the_same_reports_is_there():
    """Else its recovery would seem nothing new, and would never be heard of."""
    translator = Translator("h-1", "box", Sealer(bytes(32)))
    crit = link_pb2.Observation(check="units", check_type="unit_failed", key="a.service", status=link_pb2.STATUS_CRIT)
    records = [
        link_pb2.Record(seq=1, boot_id="now", snapshot=link_pb2.Snapshot(checks=["units"])),
        link_pb2.Record(seq=2, boot_id="now", observation=crit),
    ]
    sick = ("units", "a.service")
    done = translator.translate(records, Sent(1_000, "now", 500), {sick: Status.CRIT}, lambda: [sick], {}, {})
    assert [event.status for event in done.events] == [Status.OK, Status.CRIT]
    assert (done.statuses, done.gone) == ({sick: Status.CRIT}, [])


def test_what_an_earlier_boot_left_behind_is_history_and_not_what_is_known_now():
    """Else the first words of the new boot would seem to say nothing new, and a recovery would never be heard of."""
    translator = Translator("h-1", "box", Sealer(bytes(32)))
    ok = link_pb2.Observation(check="units", check_type="unit_failed", key="a.service", status=link_pb2.STATUS_OK)
    snapshot = link_pb2.Snapshot(observations=[ok], checks=["units"])
    records = [
        link_pb2.Record(seq=1, boot_id="before", observation=ok),
        link_pb2.Record(seq=2, boot_id="before", snapshot=link_pb2.Snapshot(checks=["units"])),
        link_pb2.Record(seq=3, boot_id="now", snapshot=snapshot),
    ]
    sick = ("units", "a.service")
    done = translator.translate(records, Sent(1_000, "now", 500), {sick: Status.CRIT}, lambda: [sick], {}, {})
    assert [(event.boot, event.status) for event in done.events] == [("before", Status.OK), ("now", Status.OK)]
    assert done.statuses == {sick: Status.OK}
    assert done.gone == []
