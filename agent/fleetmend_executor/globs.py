"""Path and unit patterns as people write them in policies and declarations. Pure.

In a path `*` and `?` stay within one component, `**` crosses them; `/srv/cache/**` means all below `/srv/cache`.
"""

from __future__ import annotations

import re
from functools import lru_cache

PATH_CHARS_MAX = 1024


class PatternError(ValueError):
    """A pattern that means nothing, or too much."""


def check_path(pattern: str) -> str:
    """The pattern, if it is an absolute path without `.`, `..`, empty components or control characters."""
    if not pattern.startswith("/") or len(pattern) > PATH_CHARS_MAX:
        raise PatternError(f"cannot use path {pattern[:80]!r}: it must be absolute, at most {PATH_CHARS_MAX} characters")
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in pattern):
        raise PatternError(f"cannot use path {pattern[:80]!r}: control characters")
    parts = pattern[1:].split("/")
    if any(part in {"", ".", ".."} for part in parts):
        raise PatternError(f"cannot use path {pattern[:80]!r}: empty, '.' or '..' components")
    if any("**" in part and part != "**" for part in parts):
        raise PatternError(f"cannot use path {pattern[:80]!r}: '**' must be a whole component")
    return pattern


def path_matches(path: str, pattern: str) -> bool:
    """Whether the whole path matches."""
    return _path_expression(pattern).fullmatch(path) is not None


def any_path(path: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the patterns matches the path."""
    return any(path_matches(path, pattern) for pattern in patterns)


def is_protected(path: str, patterns: tuple[str, ...]) -> bool:
    """Whether a pattern matches the path or a folder above it: what protects a folder protects all in it, and it itself."""
    patterns = (*patterns, *(pattern.removesuffix("/**") for pattern in patterns if pattern.endswith("/**")))
    parts = path.strip("/").split("/")
    above = ["/" + "/".join(parts[: n + 1]) for n in range(len(parts))]
    return any(any_path(each, patterns) for each in above)


def base_of(pattern: str) -> str:
    """The folder above the first wildcard; of a plain path, the path itself."""
    parts = pattern.strip("/").split("/")
    fixed: list[str] = []
    for part in parts:
        if _is_wild(part):
            break
        fixed.append(part)
    return "/" + "/".join(fixed)


def is_wild(pattern: str) -> bool:
    """Whether the pattern has a wildcard at all."""
    return _is_wild(pattern)


def is_below(path: str, base: str) -> bool:
    """Whether a path is the base or lies below it."""
    return path == base or path.startswith(base.rstrip("/") + "/")


def any_unit(unit: str, patterns: tuple[str, ...]) -> bool:
    """Whether a unit's name matches one of the patterns; a pattern without a suffix means services."""
    return any(_unit_expression(pattern).fullmatch(unit) is not None for pattern in patterns)


def _is_wild(part: str) -> bool:
    return any(c in part for c in "*?[")


@lru_cache(maxsize=512)
def _path_expression(pattern: str) -> re.Pattern[str]:
    """`/a/**` also matches nothing but what is below /a; `/**/` also stands for `/`."""
    out = ""
    for part in pattern.strip("/").split("/"):
        out += "(?:/[^/]+)*" if part == "**" else "/" + _component(part)
    if pattern.endswith("/**"):
        out = out.removesuffix("(?:/[^/]+)*") + "(?:/[^/]+)+"
    return re.compile(out, re.DOTALL)


@lru_cache(maxsize=512)
def _unit_expression(pattern: str) -> re.Pattern[str]:
    if "." not in pattern and not pattern.endswith("*"):
        pattern += ".service"
    return re.compile(_component(pattern), re.DOTALL)


def _component(part: str) -> str:
    out, position = "", 0
    while position < len(part):
        char = part[position]
        close = part.find("]", position + 2)
        if char == "[" and close > 0:
            body = part[position + 1 : close].replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^")
            out += "(?!/)[" + ("^" + body[1:] if body.startswith("!") else body) + "]"
            position = close + 1
            continue
        out += {"*": "[^/]*", "?": "[^/]"}.get(char, re.escape(char))
        position += 1
    return out
