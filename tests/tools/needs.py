"""Tests that drive a program of the system: absent on a developer's machine they say what to install, in CI they fail."""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str, package: str) -> str:
    """The path of a program from a Debian package; skips the test without it, unless CI=true."""
    found = shutil.which(name)
    if found:
        return found
    message = f"cannot run {name}: install the Debian package {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
