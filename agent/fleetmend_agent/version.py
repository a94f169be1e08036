"""Which versions are installed, read from the names of the metadata folders: `importlib.metadata` would cost 3 MiB for good."""

from __future__ import annotations

import functools
import sys
from pathlib import Path


@functools.cache
def version(distribution: str = "fleetmend") -> str:
    """The version of an installed distribution; empty if it is not installed."""
    for folder in sys.path:
        for found in Path(folder or ".").glob(f"{distribution}-*.dist-info"):
            return found.name.removeprefix(f"{distribution}-").removesuffix(".dist-info")
    return ""
