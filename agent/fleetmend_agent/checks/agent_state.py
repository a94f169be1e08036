"""The agent itself: whether what it sees can be written down where it survives the agent, and whether its hands are there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Status
from ._source import human_bytes, why

if TYPE_CHECKING:
    from ..host import Host

EXECUTOR_POLICY, EXECUTOR_SOCKET = "/etc/fleetmend/executor.yaml", "/run/fleetmend/executor.sock"
PROBE = ".written"
PROBE_BYTES = 4096


def _run(context: Context) -> Iterable[Result]:
    return [*_state(context), *_hands(context)]


def _hands(context: Context) -> Iterable[Result]:
    """Without the executor's socket nothing is repaired here, and each order says so for itself. Of hosts that have one.

    One look may fall into an update of the executor.
    """
    host, memory = context.host, context.memory
    if not host.exists(EXECUTOR_POLICY):
        return []
    there = host.exists(EXECUTOR_SOCKET)
    status = Status.OK if there else Status.CRIT if memory.get("without_executor") else Status.WARN
    memory["without_executor"] = not there
    finding: dict[str, str | int | float | bool] = {"path": EXECUTOR_SOCKET, "problem": "" if there else "no such socket"}
    text = "the executor can be reached" if there else f"nothing can be repaired here: {EXECUTOR_SOCKET} is not there"
    return [Result(status, text, "executor", finding)]


def _state(context: Context) -> Iterable[Result]:
    """Writes a block, syncs it and takes it away again: a full or broken disk shows nowhere else before it is too late."""
    folder, least = context.params["path"] or context.host.state_dir, context.params["min_free"]
    if not folder or not context.host.exists(folder):
        raise CheckUnknown(f"cannot judge the agent's state: {folder or 'its directory'} is not there")
    covered = _covered(context.host, folder)
    if covered:
        text = f"the agent's state in {folder} is covered by {covered}: the next agent will not find what this one writes"
        return [Result(Status.CRIT, text, finding={"path": folder, "problem": f"covered by {covered}"})]
    path = context.host.path(f"{folder}/{PROBE}")
    finding: dict[str, str | int | float | bool] = {"path": folder, "problem": ""}
    try:
        numbers = context.host.statvfs(folder)
        free = numbers.f_bavail * numbers.f_frsize
        _write(path)
    except OSError as error:
        finding["problem"] = why(error)
        return [Result(Status.CRIT, f"cannot write the agent's own state in {folder}: {why(error)}", finding=finding)]
    finding["free_bytes"] = free
    status = Status.WARN if free < least else Status.OK
    text = f"the agent's state in {folder} is written; {human_bytes(free)} free"
    return [Result(status, text, finding=finding, gauges={"agent_state_free_bytes": free})]


def _covered(host: Host, folder: str) -> str:
    """What was mounted there for everybody else since the agent started: its own view of the files is older than that."""
    try:
        everybodys = [mount for mount in host.mounts("1") if mount.mount_point == folder]
        own = {mount.device for mount in host.mounts() if mount.mount_point == folder}
    except OSError:
        # Without the right to see the first process's mounts nothing is known of them; a write that fails still shows.
        return ""
    return everybodys[-1].fstype if everybodys and everybodys[-1].device not in own else ""


def _write(path: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if os.write(descriptor, bytes(PROBE_BYTES)) != PROBE_BYTES:
            raise OSError(28, os.strerror(28), path)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
        os.unlink(path)


CHECK = Check(
    name="agent_state",
    summary="The agent can write down what it sees",
    run=_run,
    params=(
        Param("path", Kind.TEXT, "the agent's state directory; empty: its own", default=""),
        Param("min_free", Kind.SIZE, "WARN with less free than this", default=16 << 20),
    ),
    finding=(
        Field("path", Kind.TEXT, "the directory"),
        Field("problem", Kind.TEXT, "why it cannot be written, empty if it can"),
        Field("free_bytes", Kind.INTEGER, "what is free on its filesystem"),
    ),
    gauges=(Gauge("agent_state_free_bytes", "what is free where the agent keeps its state"),),
    blocking=True,
    every_s=15.0,
)
