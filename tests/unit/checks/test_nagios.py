"""Plugins' output: units, thresholds, long text, labels."""

from __future__ import annotations

import pytest

from fleetmend_agent.checks._perfdata import VALUES_MAX, PerfValue, metric_label, parse_output, parse_perfdata
from fleetmend_agent.checks.nagios_plugin import gauges


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("time=0.5s", PerfValue("time", "seconds", 0.5)),
        ("time=250ms;500;1e3;0;", PerfValue("time", "seconds", 0.25, 0.5, 1.0)),
        ("t=12us", PerfValue("t", "seconds", 12e-6)),
        ("'free space'=2KB", PerfValue("free_space", "bytes", 2048.0)),
        ("'it''s'=1B", PerfValue("it_s", "bytes", 1.0)),
        ("/=3MB;10:20;@5;0;100", PerfValue("root", "bytes", 3 * 1024.0**2, 20 * 1024.0**2, None)),
        ("/var/log=10%;80;90;0;100", PerfValue("var_log", "ratio", 0.1, 0.8, 0.9)),
        ("requests=77c", PerfValue("requests", "total", 77.0)),
        ("queue=-4;~:10;5:", PerfValue("queue", "value", -4.0, 10.0, None)),
        ("x=.5", PerfValue("x", "value", 0.5)),
    ],
)
def test_values_are_brought_to_base_units(text, value):
    (found,) = parse_perfdata(text)
    assert (found.label, found.unit) == (value.label, value.unit)
    assert found.value == pytest.approx(value.value)
    assert found.warn == (pytest.approx(value.warn) if value.warn is not None else None)
    assert found.crit == (pytest.approx(value.crit) if value.crit is not None else None)


@pytest.mark.parametrize("text", ["", "x=U", "x=", "=1", "x=1parsec", "x=1e999", "x=1;2;3;4;5;6", "???=1", "x=nan", "'open=1"])
def test_what_is_no_value_is_left_out_and_what_follows_is_not(text):
    assert [value.label for value in parse_perfdata(text + " good=1")] == ["good"]


def test_there_is_a_limit_of_values():
    assert len(parse_perfdata(" ".join(f"v{i}=1" for i in range(500)))) == VALUES_MAX


def test_text_long_text_and_perfdata_come_apart():
    output = parse_output("DISK OK - fine | a=1\nfirst\nsecond | b=2\nc=3\n")
    assert (output.text, output.long_text) == ("DISK OK - fine", "first\nsecond")
    assert [value.label for value in output.values] == ["a", "b", "c"]


def test_gauges_are_named_with_label_and_unit():
    assert gauges(parse_output("x|time=1s;2;3")) == {
        "plugin_time_seconds": 1.0,
        "plugin_time_warn_seconds": 2.0,
        "plugin_time_crit_seconds": 3.0,
    }


def test_labels_become_parts_of_metric_names():
    assert metric_label("C:\\ Used Space") == "c_used_space"
    assert metric_label("/") == "root"
    assert metric_label("???") == ""
    assert len(metric_label("x" * 500)) <= 48
