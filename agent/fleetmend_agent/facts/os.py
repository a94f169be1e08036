"""The operating system: distribution, name of the machine, what it runs in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import Fact
from ._lines import assignments, read_or

if TYPE_CHECKING:
    from ..host import Host

_ZONES = "/zoneinfo/"


def _collect(host: Host) -> dict[str, Any]:
    release = assignments(read_or(host, "/etc/os-release") or host.read_text("/usr/lib/os-release"))
    return {
        "id": release.get("ID", ""),
        "id_like": release.get("ID_LIKE", ""),
        "version": release.get("VERSION_ID", ""),
        "codename": release.get("VERSION_CODENAME", ""),
        "name": release.get("PRETTY_NAME", ""),
        "hostname": host.hostname(),
        "timezone": _timezone(host),
        "vendor": read_or(host, "/sys/class/dmi/id/sys_vendor"),
        "product": read_or(host, "/sys/class/dmi/id/product_name"),
    }


def _timezone(host: Host) -> str:
    try:
        return host.readlink("/etc/localtime").partition(_ZONES)[2]
    except OSError:
        return read_or(host, "/etc/timezone", "UTC")


FACT = Fact(name="os", summary="Distribution, hostname, time zone, make of the machine", collect=_collect)
