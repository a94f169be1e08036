"""Between the agent's own nouns and the messages of link.proto. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable

from fleetmend.v1 import link_pb2 as pb

from .checks import Scalar, Status
from .gauges import Delta
from .runner import Observed, Spec

TEXT_BYTES_MAX = 4096
SNAPSHOT_BYTES_MAX = 384 * 1024
EVERY_MS_MIN = 100

_STATUS = {
    Status.OK: pb.STATUS_OK,
    Status.WARN: pb.STATUS_WARN,
    Status.CRIT: pb.STATUS_CRIT,
    Status.UNKNOWN: pb.STATUS_UNKNOWN,
}


def status(word: Status) -> pb.Status.ValueType:
    """The wire's number of a status."""
    return _STATUS[word]


def value(scalar: Scalar) -> pb.Value:
    """A typed value; a flag is a flag although Python calls it an integer too."""
    if isinstance(scalar, bool):
        return pb.Value(flag=scalar)
    if isinstance(scalar, int):
        return pb.Value(integer=scalar)
    if isinstance(scalar, float):
        return pb.Value(number=scalar)
    return pb.Value(text=scalar)


def observation(observed: Observed, wall_ms: int) -> pb.Observation:
    """One observation; `wall_ms` is the host's wall clock, for people."""
    result = observed.result
    return pb.Observation(
        check=observed.check,
        check_type=observed.check_type,
        key=result.key,
        status=status(result.status),
        finding={name: value(scalar) for name, scalar in result.finding.items()},
        summary=result.summary,
        sampled_clock_ms=observed.sampled_clock_ms,
        requested=observed.requested,
        wall_ms=wall_ms,
    )


def snapshot(observations: Iterable[pb.Observation], completed: Iterable[str]) -> pb.Snapshot:
    """All subjects. Too many to carry: those that are OK are left out, which means the same to the controller."""
    everything = list(observations)
    message = pb.Snapshot(observations=everything, checks=sorted(completed))
    if message.ByteSize() <= SNAPSHOT_BYTES_MAX:
        return message
    bad = [each for each in everything if each.status != pb.STATUS_OK]
    message = pb.Snapshot(observations=bad, checks=sorted(completed))
    if message.ByteSize() <= SNAPSHOT_BYTES_MAX:
        return message
    for each in bad:
        each.finding.clear()
    while bad and message.ByteSize() > SNAPSHOT_BYTES_MAX:
        # Not all sick subjects fit: then nothing may be concluded from absence.
        bad = bad[: len(bad) // 2]
        message = pb.Snapshot(observations=bad)
    return message


def specs(config: pb.AgentConfig) -> list[Spec]:
    """The checks of a configuration. One that cannot run keeps its place, with the reason."""
    return [_spec(check) for check in config.checks]


def heartbeat_gauges(message: pb.Heartbeat, delta: Delta) -> None:
    """Writes what changed of the gauges into a heartbeat."""
    for number, (name, check, key) in delta.series:
        message.series.add(id=number, name=name, check=check, key=key)
    message.series_ids.extend(delta.ids)
    message.values.extend(delta.values)
    message.ended_series_ids.extend(delta.ended)


def short(text: str) -> str:
    """A text that fits a message."""
    return text[:TEXT_BYTES_MAX]


def _spec(check: pb.CheckSpec) -> Spec:
    problem = ""
    params = {}
    try:
        params = json.loads(check.params_json or "{}")
    except (ValueError, RecursionError) as error:
        problem = f"cannot read the parameters of {check.name}: {error}"
    if not isinstance(params, dict):
        params, problem = {}, f"cannot read the parameters of {check.name}: not a JSON object"
    return Spec(
        name=check.name,
        type=check.type,
        params=params,
        every_ms=max(EVERY_MS_MIN, check.every_ms or 30_000),
        timeout_ms=max(EVERY_MS_MIN, check.timeout_ms or 10_000),
        confirm_bad=max(1, check.confirm_bad),
        confirm_good=max(1, check.confirm_good),
        problem=problem,
    )
