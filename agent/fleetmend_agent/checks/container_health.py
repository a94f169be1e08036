"""Declared containers run and are healthy, by the engine's API on its Unix socket.

The socket lets whoever may open it do anything as root, so the agent's user may not: where it cannot open it, the executor
looks, and tells of the declared containers only.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any

from fleetmend.engine import Container, EngineError, look

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status

FAULTS = "missing, exited, unhealthy, restarting"
_LOOP_RESTARTS = 3
_BUDGET_SHARE = 0.8


def _run(context: Context) -> Iterable[Result]:
    containers = _containers(context)
    running = sum(container.state == "running" for container in containers)
    yield Result(
        Status.OK,
        f"{running} of {len(containers)} declared containers run",
        gauges={"running_containers_value": float(running), "declared_containers_value": float(len(containers))},
    )
    for container in containers:
        yield _judge(context, container)


def _containers(context: Context) -> list[Container]:
    """From the engine, or from the executor where this process may not ask it."""
    host, params = context.host, context.params
    try:
        return look(host.path(params["engine"]), params["names"], context.timeout_s * _BUDGET_SHARE)
    except EngineError as error:
        if error.errno not in {errno.EACCES, errno.EPERM} or host.look is None:
            raise CheckUnknown(str(error.strerror or error)) from error
    try:
        seen = host.look("containers", context.timeout_s * _BUDGET_SHARE)
        known = {container.name: container for container in map(Container.of, _list(seen))}
    except OSError as error:
        raise CheckUnknown(str(error.strerror or error)) from error
    return [known.get(name, Container(name)) for name in dict.fromkeys(params["names"])]


def _list(seen: Any) -> list[Any]:
    if not isinstance(seen, list):
        raise EngineError("cannot understand what the executor saw of containers")
    return seen


def fault_of(container: Container, restarts: int) -> str:
    """A word of FAULTS, or nothing. `restarts`: how often the engine restarted it lately."""
    if container.state == "missing":
        return "missing"
    if container.state == "restarting" or restarts >= _LOOP_RESTARTS:
        return "restarting"
    if container.state in {"exited", "dead", "created", "removing", "stopped", "configured"}:
        return "exited"
    return "unhealthy" if container.health == "unhealthy" else ""


def _judge(context: Context, container: Container) -> Result:
    restarts = _recent_restarts(context, container)
    fault = fault_of(container, restarts)
    status = Status.CRIT if fault else Status.OK
    if not fault and container.state == "paused":
        status = Status.WARN
    if not fault and container.health == "starting":
        # Not healthy yet and not sick: it stays what it was.
        status = context.known.get(container.name, Status.OK)
    finding: dict[str, Scalar] = {
        "container": container.name,
        "fault": fault,
        "state": container.state,
        "health": container.health,
        "restart": "allowed" if container.name in context.params["restartable"] else "never",
        "restarts": container.restarts,
        "exit_code": container.exit_code,
    }
    words = f"container {container.name} is {container.state}"
    words += f" and {container.health}" if container.health != "none" else ""
    words += f" with exit code {container.exit_code}" if fault == "exited" else ""
    words += f", restarted {restarts} times lately" if fault == "restarting" and restarts else ""
    return Result(status, words, container.name, finding, {"container_restarts_total": float(container.restarts)})


def _recent_restarts(context: Context, container: Container) -> int:
    """Restarts by the engine itself within the window."""
    now_ms, window_ms = context.host.clock_ms(), context.params["window"]
    history: dict[str, list[tuple[int, int]]] = context.memory.setdefault("restarts", {})
    kept = [each for each in history.get(container.name, []) if each[0] >= now_ms - window_ms and each[1] <= container.restarts]
    kept = [*kept, (now_ms, container.restarts)][-100:]
    history[container.name] = kept
    return container.restarts - kept[0][1]


CHECK = Check(
    name="container_health",
    summary="Declared containers run and are healthy",
    run=_run,
    params=(
        Param("engine", Kind.TEXT, "Unix socket of docker, or of podman's compatible API", default="/run/docker.sock"),
        Param("names", Kind.TEXT_LIST, "names of the containers", required=True),
        Param("restartable", Kind.TEXT_LIST, "those of them that may be restarted, for the finding", default=[]),
        Param(
            "window", Kind.DURATION, "three restarts by the engine within this time are a loop", default=300_000, minimum=1000
        ),
    ),
    finding=(
        Field("container", Kind.TEXT, "name of the container"),
        Field("fault", Kind.TEXT, f"what is wrong, empty if nothing: {FAULTS}"),
        Field("state", Kind.TEXT, "the engine's word: running, exited, paused ...; missing when it knows none of that name"),
        Field("health", Kind.TEXT, "healthy, unhealthy, starting, or none"),
        Field("restart", Kind.TEXT, "allowed, or never, as declared"),
        Field("restarts", Kind.INTEGER, "how often the engine restarted it by itself"),
        Field("exit_code", Kind.INTEGER, "how it ended last"),
    ),
    gauges=(
        Gauge("running_containers_value", "declared containers that run"),
        Gauge("declared_containers_value", "containers that are declared"),
        Gauge("container_restarts_total", "restarts by the engine itself"),
    ),
    blocking=True,
    every_s=10.0,
    timeout_s=10.0,
)
