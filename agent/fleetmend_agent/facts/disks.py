"""Block devices, and the local filesystems on them. Sizes, not use: use changes, and is a gauge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..checks._filesystems import local
from . import Fact
from ._lines import number_or, read_or

if TYPE_CHECKING:
    from ..host import Host, Mount

ENTRIES_MAX = 256
_SECTOR_BYTES = 512
# Devices that come and go by themselves, or hold nothing.
_PASSING = ("loop", "ram", "zram", "nbd", "fd", "sr")


def _collect(host: Host) -> dict[str, Any]:
    names = sorted(name for name in host.listdir("/sys/block") if not name.startswith(_PASSING))
    mounts = local(host.mounts(), ())
    return {
        "devices": [_device(host, name) for name in names[:ENTRIES_MAX]],
        "filesystems": [_filesystem(mount) for mount in mounts[:ENTRIES_MAX]],
        "truncated": len(names) > ENTRIES_MAX or len(mounts) > ENTRIES_MAX,
    }


def _device(host: Host, name: str) -> dict[str, Any]:
    at = f"/sys/block/{name}"
    return {
        "name": name.replace("!", "/"),
        "size_bytes": number_or(host, f"{at}/size") * _SECTOR_BYTES,
        "rotational": number_or(host, f"{at}/queue/rotational") == 1,
        "removable": number_or(host, f"{at}/removable") == 1,
        "vendor": read_or(host, f"{at}/device/vendor"),
        "model": read_or(host, f"{at}/device/model"),
    }


def _filesystem(mount: Mount) -> dict[str, Any]:
    return {"mount": mount.mount_point, "device": mount.source, "fstype": mount.fstype}


FACT = Fact(name="disks", summary="Block devices and the local filesystems on them", collect=_collect)
