"""Whatever stands in a file or comes over a wire, a check says something or that it cannot judge; it never breaks."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetmend_agent.checks import CheckUnknown, Context, Result, prepare
from fleetmend_agent.checks._http import dechunk, parse_head, parse_statuses, parse_url
from fleetmend_agent.checks._perfdata import VALUES_MAX, parse_output
from fleetmend_agent.checks._probe import Fault
from fleetmend_agent.checks._result import FIELDS_MAX, GAUGES_MAX, SUMMARY_LENGTH_MAX, TEXT_LENGTH_MAX, bounded, clean
from fleetmend_agent.checks.cpu_load import parse_cpus, parse_load
from fleetmend_agent.checks.memory_available import parse_meminfo
from fleetmend_agent.checks.memory_pressure import parse_pressure
from fleetmend_agent.checks.process_count import parse_threads
from fleetmend_agent.checks.tcp_port import parse_address
from fleetmend_agent.host import parse_fstab, parse_mountinfo
from tests.tools.cases import CHECKS, Case, cases, host, said, server

FILES = [
    (case, str(path.relative_to(case.folder)))
    for case in cases()
    if case.name.endswith("_ok")
    for path in sorted(case.folder.rglob("*"))
    # A link is never written through: it may lead out of the fixture, into the machine that runs the test.
    if path.is_file() and not path.is_symlink() and path.parts[len(case.folder.parts)] in {"proc", "sys", "etc"}
]
LINE = st.text(st.characters(codec="latin-1"), max_size=200) | st.from_regex(r"[A-Za-z0-9 /:;|=.,%'-]{0,80}\n?", fullmatch=True)


@pytest.fixture(scope="module")
def machine_of(tmp_path_factory):
    """One copy of the case's files for each file that is spoilt: a copy for each example would be most of the work."""

    @functools.cache
    def of(case, file):
        machine = host(case, tmp_path_factory.mktemp("garbage") / "machine")
        machine.statvfs_of = _no_statvfs
        return machine

    return of


@pytest.mark.parametrize(("case", "file"), FILES, ids=lambda value: value.name if isinstance(value, Case) else value)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_a_file_full_of_garbage_never_breaks_a_check(case, file, data, machine_of):
    original = (case.folder / file).read_bytes()
    garbage = data.draw(
        st.binary(max_size=300)
        | st.integers(0, len(original)).map(lambda at: original[:at])
        | st.tuples(st.integers(0, len(original)), st.binary(min_size=1, max_size=4)).map(
            lambda cut: original[: cut[0]] + cut[1] + original[cut[0] :]
        )
    )
    machine = machine_of(case, file)
    Path(machine.path("/" + file)).write_bytes(garbage)
    context = Context(machine, prepare(case.check, case.facts.get("params", {})), 1.0)
    with contextlib.suppress(CheckUnknown):
        results = [bounded(result) for result in asyncio.run(said(case.check, context))]
        assert all(isinstance(result, Result) and result.summary for result in results)


def _no_statvfs(path):
    raise OSError(5, "input/output error")


@settings(max_examples=60, deadline=None)
@given(answer=st.binary(max_size=300) | st.binary(max_size=100).map(lambda tail: b"HTTP/1.1 200 OK\r\n" + tail))
def test_a_server_that_talks_garbage_never_breaks_a_probe(answer, tmp_path_factory):
    machine = host(cases()[0], tmp_path_factory.mktemp("garbage") / "machine")

    async def probe():
        async with server(answer) as port:
            for name, params in (
                ("http_endpoint", {"url": f"http://127.0.0.1:{port}/", "expect_text": "fine"}),
                ("tcp_port", {"address": f"127.0.0.1:{port}", "expect": "PONG"}),
            ):
                results = await CHECKS[name].run(Context(machine, prepare(CHECKS[name], params), 5.0))
                assert all(isinstance(result, Result) for result in results)

    asyncio.run(probe())


@pytest.mark.parametrize("parse", [parse_meminfo, parse_pressure, parse_mountinfo, parse_fstab, parse_output])
@settings(deadline=None)
@given(text=LINE)
def test_parsers_that_skip_what_they_do_not_know_take_anything(parse, text):
    parse(text)


@pytest.mark.parametrize("parse", [parse_load, parse_cpus, parse_threads, parse_statuses, parse_url, parse_address])
@settings(deadline=None)
@given(text=LINE)
def test_parsers_that_need_a_form_say_that_they_cannot(parse, text):
    with contextlib.suppress(CheckUnknown):
        assert parse(text) is not None


@pytest.mark.parametrize("parse", [parse_head, dechunk])
@settings(deadline=None)
@given(data=st.binary(max_size=500) | st.binary(max_size=100).map(lambda tail: b"HTTP/1.1 200 OK\r\nA: b\r\n" + tail))
def test_parsers_of_answers_take_it_or_name_a_fault(parse, data):
    with contextlib.suppress(Fault):
        parse(data)


@settings(deadline=None)
@given(text=st.text(max_size=2000))
def test_perfdata_never_exceeds_its_bounds(text):
    output = parse_output("x|" + text)
    assert len(output.values) <= VALUES_MAX


@settings(deadline=None)
@given(text=st.text(max_size=3000), limit=st.integers(3, 400))
def test_clean_text_is_one_printable_line_within_its_length(text, limit):
    line = clean(text, limit)
    assert len(line) <= limit
    assert line.isprintable()
    assert line == " ".join(line.split())


@settings(deadline=None)
@given(
    result=st.builds(
        Result,
        status=st.just(next(iter(cases())).expect),
        summary=st.text(max_size=2000),
        key=st.text(max_size=1000),
        finding=st.dictionaries(
            st.text(max_size=5),
            st.text(max_size=1000) | st.integers() | st.floats() | st.booleans(),
            max_size=50,
        ),
        gauges=st.dictionaries(st.text(max_size=5), st.floats(), max_size=120),
    )
)
def test_a_bounded_result_can_travel(result):
    safe = bounded(result)
    assert len(safe.summary) <= SUMMARY_LENGTH_MAX
    assert len(safe.finding) <= FIELDS_MAX
    assert len(safe.gauges) <= GAUGES_MAX
    for value in [safe.key, safe.summary, *safe.finding.values()]:
        if isinstance(value, str):
            assert value.isprintable()
        elif isinstance(value, float):
            assert abs(value) < float("inf")
        else:
            assert abs(value) < 2**63
    for value in safe.finding.values():
        assert not isinstance(value, str) or len(value) <= TEXT_LENGTH_MAX
    assert all(abs(value) < float("inf") for value in safe.gauges.values())


def test_what_moves_a_cursor_or_reorders_text_is_gone():
    assert clean("ok\x1b[2J\r\nall \u202egood\u202c\x00 \x9b31m") == "ok [2J all good 31m"
    assert clean("x" * 300) == "x" * 253 + "..."
