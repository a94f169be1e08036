"""Memory and swap that the machine has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..checks.memory_available import parse_meminfo
from . import Fact
from ._lines import read_or

if TYPE_CHECKING:
    from ..host import Host

_SWAP_WORDS = 5
_SWAPS_MAX = 64


def _collect(host: Host) -> dict[str, Any]:
    sizes = parse_meminfo(host.read_text("/proc/meminfo"))
    return {
        "total_bytes": sizes.get("MemTotal", 0),
        "swap_total_bytes": sizes.get("SwapTotal", 0),
        "swaps": parse_swaps(read_or(host, "/proc/swaps")),
    }


def parse_swaps(text: str) -> list[dict[str, Any]]:
    """The swap areas by name; how much of them is used is left out, since it changes."""
    swaps = []
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) >= _SWAP_WORDS and words[-3].isdecimal():
            swaps.append({"name": words[0], "type": words[1], "size_bytes": int(words[-3]) * 1024})
    return sorted(swaps, key=lambda swap: str(swap["name"]))[:_SWAPS_MAX]


FACT = Fact(name="memory", summary="Size of memory and swap", collect=_collect)
