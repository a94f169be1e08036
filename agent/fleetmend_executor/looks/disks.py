"""What each disk says of its health: smartctl needs root's powers over the devices, so systemd runs it beside the sandbox."""

from __future__ import annotations

import json
import re
from typing import Any

from ..actions import Refused
from ..commands import Finished, run_argv
from ..rules import HostRules
from ..run import hosted_argv
from . import Look

DISKS_MAX = 32
TIMEOUT_S = 10.0
OUTPUT_BYTES_MAX = 64 * 1024
ALL_BYTES_MAX = 768 * 1024
_NAME = re.compile(r"/dev/[A-Za-z0-9_/-]{1,64}")
_KIND = re.compile(r"[a-z0-9][a-z0-9_,+/]{0,31}")


def _see(_rules: HostRules) -> dict[str, Any]:
    scan = _smartctl("--scan", "-j")
    if scan.exit == 127:
        raise Refused("unavailable", f"cannot run smartctl: {scan.output[:200]}")
    answers: list[dict[str, str]] = []
    for name, kind in _devices(scan.output)[:DISKS_MAX]:
        chosen = ("-d", kind) if kind else ()
        text = _smartctl("-j", "-a", name, *chosen, "-n", "standby,0").output
        if sum(len(answer["text"]) for answer in answers) + len(text) > ALL_BYTES_MAX:
            break
        answers.append({"name": name, "kind": kind, "text": text})
    return {"scan": scan.output, "answers": answers}


def _smartctl(*words: str) -> Finished:
    return run_argv(hosted_argv(("smartctl", *words), TIMEOUT_S), TIMEOUT_S, OUTPUT_BYTES_MAX)


def _devices(text: str) -> list[tuple[str, str]]:
    """Names and kinds that a scan names and that can be words of a command."""
    try:
        rows = json.loads(text)["devices"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return []
    found = []
    for row in rows if isinstance(rows, list) else []:
        name, kind = (row.get("name"), row.get("type") or "") if isinstance(row, dict) else (None, "")
        if isinstance(name, str) and _NAME.fullmatch(name) and isinstance(kind, str) and (not kind or _KIND.fullmatch(kind)):
            found.append((name, kind))
    return found


LOOK = Look("disks", "What smartctl tells of each disk.", _see)
