"""The agent itself: versions of its parts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ..version import version
from . import Fact

if TYPE_CHECKING:
    from ..host import Host

_PARTS = ("h2", "protobuf", "jeepney", "psutil")


def _collect(_host: Host) -> dict[str, Any]:
    return {
        "version": version(),
        "python": ".".join(str(number) for number in sys.version_info[:3]),
        "parts": {name: version(name) for name in _PARTS},
    }


FACT = Fact(name="agent", summary="Version of the agent and of what it is built on", collect=_collect)
