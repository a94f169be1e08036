"""Runs one check once, outside the resident agent, and prints what it finds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmend import registry

from . import checks, config, log
from .checks import CheckUnknown, Status, prepare
from .host import Host, Roots
from .runner import Observed, Runner, Spec, load_check
from .signals.logs import LogsSignal
from .signals.systemd import SystemdSignal
from .workers import Workers

if TYPE_CHECKING:
    import argparse

DONE, FAILED, USAGE = 0, 1, 2
CONNECT_TIMEOUT_S = 3.0


def check(arguments: argparse.Namespace) -> int:
    """0 if the check could judge (whatever it found), 1 if it is UNKNOWN, 2 if it cannot be run like this."""
    log.setup(to_journal=False)
    try:
        settings = config.load(arguments.config) if arguments.config.exists() else config.Settings()
        spec = _spec(arguments.name, _given(arguments.given), Path(settings.state_dir))
        prepare(load_check(spec.type), spec.params)
    except (CheckUnknown, ValueError) as error:
        print(error, file=sys.stderr)
        if isinstance(error, CheckUnknown):
            print(f"check types: {', '.join(registry.names(checks))}", file=sys.stderr)
        return USAGE
    found = asyncio.run(_run(settings, spec))
    if arguments.output == "json":
        print(json.dumps([_document(each) for each in found], indent=2, ensure_ascii=False))
    else:
        _print(found)
    return FAILED if any(each.result.status is Status.UNKNOWN for each in found) else DONE


def _given(words: list[str]) -> dict[str, Any]:
    given = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise ValueError(f"cannot read --with {word!r}: write it as name=value")
        given[name] = text
    return given


def _spec(name: str, given: dict[str, Any], state_dir: Path) -> Spec:
    """A check type with the parameters given, or a configured check whose parameters those given replace."""
    if name in registry.names(checks):
        declared = load_check(name)
        return Spec(name, name, given, timeout_ms=int(declared.timeout_s * 1000))
    from google.protobuf.message import DecodeError

    from fleetmend.v1 import link_pb2

    from .wire import specs

    with contextlib.suppress(OSError, DecodeError):
        known = link_pb2.AgentConfig.FromString((state_dir / "config.pb").read_bytes())
        for spec in specs(known):
            if spec.name == name:
                return Spec(name, spec.type, {**spec.params, **given}, timeout_ms=spec.timeout_ms)
    raise CheckUnknown(f"cannot run {name!r}: neither a check type nor a check that the controller configured")


async def _run(settings: config.Settings, spec: Spec) -> list[Observed]:
    host = Host(Roots(**settings.roots), state_dir=settings.state_dir)
    systemd = SystemdSignal(host, settings.dbus_socket, lambda _: None)
    host.unit_source = systemd.units
    found: list[Observed] = []
    runner = Runner(host, Workers(), found.append, refreshers={"systemd": systemd.refresh})
    runner.configure([spec])
    watching = None
    if load_check(spec.type).signal == "systemd":
        watching = asyncio.get_running_loop().create_task(systemd.run())
        await systemd.ready(CONNECT_TIMEOUT_S)
    logs = LogsSignal(host, lambda _: None)
    if load_check(spec.type).signal in {"kmsg", "journal"}:
        logs.follow_for(runner)
        await logs.ready(CONNECT_TIMEOUT_S)
    runner.start(spec.name)
    task = runner.watches[spec.name].task
    if task is not None:
        await task
    await logs.stop()
    if watching is not None:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    watch = runner.watches[spec.name]
    return [Observed(spec.name, spec.type, subject.result, subject.sampled_clock_ms) for subject in watch.subjects.values()]


def _document(observed: Observed) -> dict[str, Any]:
    result = observed.result
    return {
        "check": observed.check,
        "type": observed.check_type,
        "key": result.key,
        "status": result.status.value,
        "summary": result.summary,
        "finding": result.finding,
        "gauges": result.gauges,
    }


def _print(found: list[Observed]) -> None:
    for observed in found:
        result = observed.result
        name = f"{observed.check} {result.key}".strip()
        print(f"{result.status.value.upper():8}{name}: {result.summary}")
        for field, value in {**result.finding, **result.gauges}.items():
            print(f"          {field} = {value}")
