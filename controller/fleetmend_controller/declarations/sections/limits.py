"""From which use on the kernel's limits on processes, open files and semaphores, and of a processor, it is a fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...playbooks.schema import Model
from ...playbooks.values import Percent, PositiveDuration
from ..schema import DeclarationFile
from ..section import Derived, Section

_PIDS_EVERY_MS, _SEMAPHORES_EVERY_MS, _BUSY_EVERY_MS = 10_000, 15_000, 10_000
_WARN_BEFORE_PERCENT = 10


class HostLimitsModel(Model):
    """Shares of the limits; what is left away keeps the default of the checks."""

    pids_percent: Percent | None = None
    """Processes and threads against the smallest limit on them."""
    descriptors_percent: Percent | None = None
    """What a declared service holds open against its own limit."""
    sysv_semaphores_percent: Percent | None = None
    """Sets and single semaphores against kernel.sem."""
    core_percent: Percent | None = None
    """What one process may use of one processor, if it belongs to no job that is `heavy: true`. People are told of more."""
    core_for: PositiveDuration = 600_000
    """For so long."""


def _derive(limits: HostLimitsModel, _declaration: DeclarationFile) -> Iterator[Derived]:
    for key, name, check_type, every_ms in (
        ("pids_percent", "pids:limit", "pid_usage", _PIDS_EVERY_MS),
        ("sysv_semaphores_percent", "semaphores:limit", "semaphores", _SEMAPHORES_EVERY_MS),
    ):
        percent: int | None = getattr(limits, key)
        if percent is not None:
            params: dict[str, Any] = {"crit_percent": percent, "warn_percent": max(1, percent - _WARN_BEFORE_PERCENT)}
            yield Derived(("limits", key), name, check_type, params, every_ms)
    if limits.core_percent is not None:
        asked: dict[str, Any] = {"cpu_percent": limits.core_percent, "hold": limits.core_for}
        yield Derived(("limits", "core_percent"), "busy:processes", "process_busy", asked, _BUSY_EVERY_MS)


SECTION = Section(
    name="limits",
    doc="From which use on the kernel's limits and a processor are a fault.",
    kind=HostLimitsModel,
    default=HostLimitsModel,
    derive=_derive,
)
