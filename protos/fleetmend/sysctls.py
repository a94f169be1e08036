"""Files of sysctl.d, read the same way by the check that compares and by the action that applies."""

from __future__ import annotations

import re

# One setting: parts of letters, digits and a few signs; what could leave /proc/sys cannot be written so.
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_:@-]*(?:\.[A-Za-z0-9_:@*-]+)+", re.ASCII)
SETTINGS_MAX = 500


def parse(text: str) -> dict[str, str]:
    """Values by setting, the last one wins; settings with wildcards, and lines of another form, are left out."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        key, equals, value = stripped.partition("=")
        name = normal(key)
        if equals and is_setting(name) and len(found) < SETTINGS_MAX:
            found[name] = plain(value)
    return found


def normal(key: str) -> str:
    """A setting's name with dots: a leading - (errors do not matter) is dropped, slashes become dots where slashes separate."""
    name = key.strip().lstrip("-").strip()
    first = next((c for c in name if c in "./"), "")
    # With slashes as separators, a dot is part of a name (an interface such as eth0.5): such names are not dealt with.
    return name.replace("/", ".") if first == "/" and "." not in name else name


def is_setting(name: str) -> bool:
    """Whether it names one setting."""
    return _KEY.fullmatch(name) is not None and "*" not in name


def path_of(name: str) -> str:
    """Where the kernel shows it."""
    return "/proc/sys/" + name.replace(".", "/")


def plain(value: str) -> str:
    """A value with single blanks: the kernel writes tabs."""
    return " ".join(value.split())
