"""The delta encoding: whoever applies the deltas holds what the agent holds."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from fleetmend_agent.gauges import NEW_SERIES_MAX, GaugeEncoder

NAMES = st.tuples(
    st.sampled_from(["used_ratio", "load1"]), st.sampled_from(["disk", "cpu"]), st.sampled_from(["", "/", "/srv"])
)
STATES = st.lists(st.dictionaries(NAMES, st.floats(allow_nan=True)), min_size=1, max_size=12)


class Decoder:
    """What a gateway does with heartbeats."""

    def __init__(self):
        self.names = {}
        self.values = {}

    def apply(self, delta):
        for number, name in delta.series:
            assert number not in self.names
            self.names[number] = name
        assert len(delta.ids) == len(delta.values)
        for number, value in zip(delta.ids, delta.values, strict=True):
            self.values[self.names[number]] = value
        for number in delta.ended:
            del self.values[self.names[number]]


@given(STATES)
def test_the_other_side_always_holds_the_same(states):
    encoder, decoder = GaugeEncoder(), Decoder()
    for state in states:
        decoder.apply(encoder.encode(state.items()))
        assert decoder.values.keys() == state.keys()
        assert all(
            decoder.values[name] == value or (math.isnan(value) and math.isnan(decoder.values[name]))
            for name, value in state.items()
        )


def test_what_did_not_change_is_not_sent():
    encoder = GaugeEncoder()
    state = [(("load1", "cpu", ""), 0.5), (("x", "cpu", ""), math.nan)]
    assert len(encoder.encode(state).ids) == 2
    delta = encoder.encode(state)
    assert (delta.series, delta.ids, delta.ended) == ([], [], [])


def test_many_new_series_are_named_bit_by_bit():
    encoder = GaugeEncoder()
    state = [((str(index), "c", ""), 1.0) for index in range(NEW_SERIES_MAX + 1)]
    assert len(encoder.encode(state).series) == NEW_SERIES_MAX
    assert [name for _, name in encoder.encode(state).series] == [state[-1][0]]


def test_series_are_bounded_and_the_refused_are_counted():
    encoder = GaugeEncoder(series_max=2)
    state = [((str(index), "c", ""), 1.0) for index in range(5)]
    delta = encoder.encode(state)
    assert len(delta.series) == 2
    assert delta.refused == 3
    encoder.encode([])
    assert [number for number, _ in encoder.encode(state[3:]).series] == [3, 4]
