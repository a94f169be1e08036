"""`sysctl`: the file of kernel settings that these hosts should have in force."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from ...playbooks.schema import Model
from ...playbooks.values import AbsolutePath
from ..schema import DeclarationFile
from ..section import Derived, Section

# The kernel does not tell when a setting changes; reading a few is nothing.
EVERY_MS = 10_000


class SysctlModel(Model):
    """A file of sysctl.d."""

    file: AbsolutePath
    """The file, such as /etc/sysctl.d/90-shop.conf."""
    apply: Literal["allowed", "never"] = "never"
    """Whether a setting that differs may be set to what the file says."""


def _derive(sysctl: SysctlModel | None, _declaration: DeclarationFile) -> Iterator[Derived]:
    if sysctl is not None:
        params: dict[str, Any] = {"path": sysctl.file, "apply": sysctl.apply}
        yield Derived(("sysctl",), "sysctl:host", "sysctl_value", params, EVERY_MS)


def _host(sysctl: SysctlModel | None) -> dict[str, Any] | None:
    return None if sysctl is None else sysctl.model_dump()


SECTION = Section(
    name="sysctl",
    doc="The file of kernel settings that these hosts should have in force.",
    kind=SysctlModel | None,
    default=lambda: None,
    derive=_derive,
    host=_host,
)
