"""Writes the catalogue of checks and actions from their registries: `python -m tests.tools.catalogue --write`.

Without `--write` it compares: exit code 1 when the file does not say what the code says.
"""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any

import fleetmend_agent.checks
import fleetmend_executor.actions
from fleetmend import catalogue, registry
from fleetmend_agent.checks import Check
from fleetmend_executor.actions import Action

FILE = Path(catalogue.__file__).with_name("catalogue.json")


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _entries(items: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Parameters, fields or gauges; what equals its default is left away, so that the file stays readable."""
    return [
        {f.name: _plain(getattr(item, f.name)) for f in fields(item) if getattr(item, f.name) != f.default} for item in items
    ]


def _check(check: Check) -> dict[str, Any]:
    return {
        "summary": check.summary,
        "params": _entries(check.params),
        "finding": _entries(check.finding),
        "gauges": _entries(check.gauges),
        "signal": check.signal,
        "every_s": check.every_s,
        "timeout_s": check.timeout_s,
        "blocking": check.blocking,
    }


def _action(action: Action) -> dict[str, Any]:
    return {
        "summary": action.summary,
        "cost": action.cost.value,
        "params": _entries(action.params),
        "proved_by": list(action.proved_by),
        "timeout_s": action.timeout_s,
    }


def render() -> str:
    """The catalogue as the registries have it now."""
    checks = registry.load(fleetmend_agent.checks, "CHECK", Check)
    actions = registry.load(fleetmend_executor.actions, "ACTION", Action)
    document = {
        "version": catalogue.VERSION,
        "checks": {name: _check(check) for name, check in checks.items()},
        "actions": {name: _action(action) for name, action in actions.items()},
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Writes or compares."""
    text = render()
    if "--write" in sys.argv[1:]:
        FILE.write_text(text, "utf-8")
        return 0
    if FILE.read_text("utf-8") != text:
        sys.stderr.write("cannot accept catalogue.json: it differs from the code; run make protos\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
