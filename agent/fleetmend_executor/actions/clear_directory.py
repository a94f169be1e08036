"""Delete old files where a declaration calls them disposable."""

from __future__ import annotations

from typing import Any

from ..effects import ClearFiles, Effect
from ..globs import PatternError, base_of, check_path, is_below, is_wild
from ..rules import HostRules
from . import Action, Cost, Param, Refused

FILES_MAX = 100_000
PERCENT_MAX = 100


def _plan(params: dict[str, Any], rules: HostRules) -> tuple[Effect, ...]:
    """By path, or everything disposable on one mount. Which files those are is decided file by file when it runs."""
    path, mount = params["path"], params["mount"]
    rules.constraint(ACTION.name)
    if bool(path) == bool(mount):
        raise Refused("bad_parameter", "cannot clear: give either path or mount")
    if params["until_used_percent"] >= PERCENT_MAX:
        raise Refused("bad_parameter", f"cannot clear: until_used_percent must be below {PERCENT_MAX}")
    if params["until_inodes_percent"] >= PERCENT_MAX:
        raise Refused("bad_parameter", f"cannot clear: until_inodes_percent must be below {PERCENT_MAX}")
    if not 0 < params["files_max"] <= FILES_MAX:
        raise Refused("bad_parameter", f"cannot clear: files_max must be between 1 and {FILES_MAX}")
    patterns = _by_path(path, rules) if path else _by_mount(mount, rules)
    effect = ClearFiles(
        patterns,
        rules.declaration.disposable,
        rules.protected_paths,
        params["min_age_ms"] // 1000,
        params["free_bytes"],
        params["until_used_percent"],
        params["files_max"],
        mount,
        params["until_inodes_percent"],
    )
    return (effect,)


def _by_path(path: str, rules: HostRules) -> tuple[str, ...]:
    """A plain path means the file, or the folder and all below it."""
    pattern = _checked(path)
    patterns = (pattern,) if is_wild(pattern) else (pattern, f"{pattern}/**")
    return tuple(rules.clearable(ACTION.name, each) for each in patterns)


def _by_mount(mount: str, rules: HostRules) -> tuple[str, ...]:
    """The disposable patterns that can have files on the mount: their folder is below it, or above it."""
    if mount != "/":
        _checked(mount)
    related = [p for p in rules.declaration.disposable if is_below(base_of(p), mount) or is_below(mount, base_of(p))]
    refusal = Refused("undeclared", f"cannot clear {mount}: no declaration calls anything on it disposable")
    kept = []
    for pattern in related:
        try:
            kept.append(rules.clearable(ACTION.name, pattern))
        except Refused as error:
            refusal = error
    if not kept:
        raise refusal
    return tuple(kept)


def _checked(path: str) -> str:
    try:
        return check_path(path)
    except PatternError as error:
        raise Refused("bad_parameter", str(error)) from error


ACTION = Action(
    name="clear_directory",
    summary="Delete the oldest files that a declaration calls disposable, until enough is free.",
    cost=Cost.DESTRUCTIVE,
    plan=_plan,
    params=(
        Param(
            "path", "text", "Folder, file or pattern, e.g. /var/log/shop/*.gz; inside what is declared disposable.", default=""
        ),
        Param("mount", "text", "Instead of path: everything declared disposable on the filesystem mounted here.", default=""),
        Param("min_age_ms", "duration_ms", "Only files not modified for so long.", default=0),
        Param("free_bytes", "size_bytes", "Stop when so much was freed; 0: no such target.", default=0),
        Param(
            "until_used_percent", "integer", "Stop when the filesystem is used no more than this; 0: no such target.", default=0
        ),
        Param(
            "until_inodes_percent", "integer", "Instead: stop when so few of its inodes are used; 0: no such target.", default=0
        ),
        Param("files_max", "integer", "Delete at most so many files.", default=10_000),
    ),
    proved_by=("filesystem_space", "filesystem_inodes", "file_age", "nagios_plugin"),
    timeout_s=300.0,
)
