"""Writes the catalogue of checks and actions from their registries, for programs and for people.

`python -m tests.tools.catalogue --write` writes protos/fleetmend/catalogue.json and docs/catalogue.md (part of `make protos`);
without the flag it compares: exit code 1 when a file does not say what the code says.
"""

from __future__ import annotations

import inspect
import json
import sys
from enum import Enum
from pathlib import Path
from typing import Any

import fleetmend_agent.checks
import fleetmend_executor.actions
from fleetmend import catalogue, registry
from fleetmend_agent.checks import Check
from fleetmend_executor.actions import Action

FILE = Path(catalogue.__file__).with_name("catalogue.json")
PAGE = Path(__file__).parents[2] / "docs" / "catalogue.md"
_HEAD = """# Checks and actions

Generated from the code by `make protos`; do not edit. Durations are written `500ms`, `30s`, `10m`, `2h`, `1d`, sizes `64K`,
`500M`, `10G`; defaults stand in milliseconds and bytes. A playbook uses fields of a finding as `finding.<field>`; gauges reach
Prometheus with the prefix `fleetmend_` and the labels `host`, `check` and `key`.
"""


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _entries(items: tuple[Any, ...]) -> list[dict[str, Any]]:
    """Parameters, fields or gauges; what equals its default is left away, so that the file stays readable."""
    return [
        {
            name: _plain(getattr(item, name))
            for name, parameter in inspect.signature(type(item)).parameters.items()
            if getattr(item, name) != parameter.default
        }
        for item in items
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
        **({"target": action.target} if action.target else {}),
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


def page(known: catalogue.Catalogue) -> str:
    """The catalogue as a page for people."""
    lines = [_HEAD, "## Checks", ""]
    for check in known.checks.values():
        lines += [f"### {check.name}", "", f"{check.summary}. {_pace(check)}", ""]
        lines += _table(("parameter", "kind", "default", "meaning"), [_param_row(param) for param in check.params])
        lines += _table(("finding", "kind", "meaning"), [(f"`{f.name}`", f.kind, f.doc) for f in check.finding])
        lines += _table(("gauge", "meaning"), [(f"`{gauge.name}`", gauge.doc) for gauge in check.gauges])
    lines += ["## Actions", ""]
    for action in known.actions.values():
        proofs = ", ".join(f"`{name}`" for name in action.proved_by) or "nothing"
        text = f"{action.summary.rstrip('.')}. Cost: {action.cost}; proved by {proofs}; at most {action.timeout_s:g} s."
        if action.target:
            text += f" May run by a permit: it touches one `{action.target}`."
        if action.here:
            text += " Done by the controller, as a step of a playbook."
        lines += [f"### {action.name}", "", text, ""]
        lines += _table(("parameter", "kind", "default", "meaning"), [_param_row(param) for param in action.params])
    return "\n".join(lines).rstrip("\n") + "\n"


def _pace(check: catalogue.CheckSpec) -> str:
    if check.told_by:
        page = "hosts-lost.md" if check.name == catalogue.HOST_LOST else "notify.md"
        teller = (
            "The controller finds out" if check.name == catalogue.HOST_LOST else f"{check.told_by} tells the controller of it"
        )
        return f"{teller} ([{page}]({page})): no agent looks, and nobody configures it."
    seen = f"at once by the signal `{check.signal}`, and " if check.signal else ""
    return f"Looked at {seen}every {check.every_s:g} s unless told otherwise."


def _param_row(param: catalogue.ParamSpec) -> tuple[str, ...]:
    default = "required" if param.required else f"`{json.dumps(param.default)}`"
    choices = f" ({', '.join(param.choices)})" if param.choices else ""
    return f"`{param.name}`", param.kind, default, param.doc + choices


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    if not rows:
        return []
    lines = [heads, tuple("---" for _ in heads), *rows]
    return [*("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines), ""]


def main() -> int:
    """Writes or compares."""
    text = render()
    files = {FILE: text, PAGE: page(catalogue.parse_catalogue(text))}
    if "--write" in sys.argv[1:]:
        for path, content in files.items():
            path.write_text(content, "utf-8")
        return 0
    stale = [path.name for path, content in files.items() if not path.exists() or path.read_text("utf-8") != content]
    for name in stale:
        sys.stderr.write(f"cannot accept {name}: it differs from the code; run make protos\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
