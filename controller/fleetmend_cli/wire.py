"""The protocol's messages, imported when the first one is used: printing help needs none of them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fleetmend.v1 import admin_pb2 as pb
else:

    class _Messages:
        """Stands for the module until somebody looks into it."""

        def __getattr__(self, name: str) -> Any:
            return getattr(importlib.import_module("fleetmend.v1.admin_pb2"), name)

    pb = _Messages()

__all__ = ["pb"]
