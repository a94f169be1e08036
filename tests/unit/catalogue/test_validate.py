"""Parameters as people write them become values as they travel, or errors that say what to write."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetmend.catalogue import (
    LIST_LENGTH_MAX,
    PARAM_KINDS,
    TEXT_LENGTH_MAX,
    ParamError,
    ParamSpec,
    load_catalogue,
    parse_duration_ms,
    parse_size_bytes,
    validate,
)


def one(kind, value, **limits):
    """One value of one kind: (value, None) or (None, error)."""
    values, errors = validate([ParamSpec("x", kind, "an x", **limits)], {"x": value})
    return values.get("x"), errors[0] if errors else None


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        ("duration_ms", "500ms", 500),
        ("duration_ms", "30s", 30_000),
        ("duration_ms", "10m", 600_000),
        ("duration_ms", "2h", 7_200_000),
        ("duration_ms", "1d", 86_400_000),
        ("duration_ms", 250, 250),
        ("size_bytes", "500M", 500 * 1024**2),
        ("size_bytes", "10GiB", 10 * 1024**3),
        ("size_bytes", "4096", 4096),
        ("size_bytes", 7, 7),
        ("integer", "-5", -5),
        ("integer", 5, 5),
        ("number", "2.5", 2.5),
        ("number", 3, 3.0),
        ("flag", "true", True),
        ("flag", False, False),
        ("text", "a\nb", "a\nb"),
        ("text", 200, "200"),
        ("text_list", ["a", "b c"], ["a", "b c"]),
        ("text_list", "check_disk -w 'a b'", ["check_disk", "-w", "a b"]),
    ],
)
def test_values_are_taken(kind, written, value):
    assert one(kind, written) == (value, None)


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        ("duration_ms", "30"), ("duration_ms", "-3s"), ("duration_ms", -1), ("duration_ms", 1.5), ("duration_ms", True),
        ("duration_ms", "1s "), ("duration_ms", "1week"), ("size_bytes", "10X"), ("size_bytes", "-1"), ("size_bytes", False),
        ("integer", "1.5"), ("integer", 1.0), ("integer", True), ("integer", 2**63), ("integer", "99999999999999999999"),
        ("integer", "x"), ("number", "nan"), ("number", "inf"), ("number", "abc"), ("number", True), ("number", 10**400),
        ("flag", "yes"), ("flag", 1), ("flag", "True"), ("text", 1.5), ("text", True), ("text", "a\0b"),
        ("text", "x" * (TEXT_LENGTH_MAX + 1)), ("text_list", 5), ("text_list", ["a", 1.5]), ("text_list", "open 'quote"),
        ("text_list", ["x"] * (LIST_LENGTH_MAX + 1)), ("text", ["a"]), ("integer", {}),
    ],
)  # fmt: skip
def test_values_are_refused_with_their_name(kind, written):
    value, error = one(kind, written)
    assert value is None
    assert error.startswith("cannot take ")
    assert "for parameter 'x': " in error
    assert len(error) < 250


def test_limits_and_choices_hold():
    assert one("number", 101, maximum=100)[1].endswith("the most is 100")
    assert one("duration_ms", "1s", minimum=5000)[1].endswith("the least is 5000")
    assert one("text", "blue", choices=("red", "green"))[1].endswith("choose from red, green")
    assert one("text", "", required=True)[1].endswith("it is empty")
    assert one("text_list", [], required=True)[1].endswith("it is empty")


def test_every_error_is_told_at_once_and_defaults_are_filled_in():
    specs = [ParamSpec("unit", "text", "a unit", required=True), ParamSpec("grace", "duration_ms", "time", 30_000)]
    assert validate(specs, {"unit": "a"}) == ({"unit": "a", "grace": 30_000}, [])
    values, errors = validate(specs, {"grace": "soon", "colour": "red"})
    assert values == {}
    assert len(errors) == 3


def test_a_placeholder_passes_only_where_it_may_and_only_whole():
    specs = [ParamSpec("unit", "text"), ParamSpec("grace", "duration_ms")]
    assert validate(specs, {"grace": "{finding.x}"}, placeholders=True) == ({"grace": "{finding.x}"}, [])
    assert len(validate(specs, {"grace": "{finding.x}"})[1]) == 1
    assert len(validate(specs, {"grace": "{finding.x}s"}, placeholders=True)[1]) == 1


def test_an_unknown_thing_is_named_with_those_that_exist():
    _, errors = load_catalogue().validate_params("action", "explode", {})
    assert errors[0].startswith("cannot find action 'explode': there are ")
    assert "restart_unit" in errors[0]


@settings(deadline=None)
@given(
    kind=st.sampled_from(sorted(PARAM_KINDS)),
    value=st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.lists(st.text() | st.integers())
    | st.binary(),
)
def test_whatever_is_given_is_taken_or_refused(kind, value):
    values, errors = validate([ParamSpec("x", kind)], {"x": value})
    assert len(errors) + len(values) <= 1
    again, more = validate([ParamSpec("x", kind)], values)
    assert (again, more) == (values, []), "what was taken is taken again, unchanged"


@settings(deadline=None)
@given(text=st.text())
def test_durations_and_sizes_are_numbers_or_errors(text):
    for parse in (parse_duration_ms, parse_size_bytes):
        with contextlib.suppress(ParamError):
            assert parse(text) >= 0
