"""OpenSSL only where it is used.

The link has its own TLS inside gRPC; the standard library's costs 4.6 MiB (1.5 private, 3.1 of mapped libraries) and only
checks of https addresses need it. But asyncio imports it whenever it can.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any, cast


def leave_out() -> None:
    """Imports asyncio as on a Python without ssl, which asyncio supports. Does nothing if asyncio is there already."""
    if "asyncio" in sys.modules or "ssl" in sys.modules:
        return
    sys.modules["ssl"] = cast("ModuleType", None)  # The documented way to make an import fail.
    try:
        importlib.import_module("asyncio")
    finally:
        del sys.modules["ssl"]


def bring_in() -> Any:
    """The ssl module, after asyncio was told of it."""
    ssl = importlib.import_module("ssl")
    late = [name for name, module in sys.modules.items() if name.startswith("asyncio.") and getattr(module, "ssl", ssl) is None]
    for name in late:
        vars(sys.modules[name])["ssl"] = ssl
    if late:
        # It decides once, when imported, which errors mean "again".
        importlib.reload(sys.modules["asyncio.sslproto"])
    return ssl
