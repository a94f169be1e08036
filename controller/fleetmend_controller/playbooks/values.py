"""Values as people write them in YAML, and what they mean: durations, sizes, rates, names, labels, paths."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from .text import shown

_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_UNIT_BYTES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")
_SIZE = re.compile(r"([0-9]{1,12})([KMGT]?)")
_RATE = re.compile(r"([0-9]{1,6}) per ([0-9]{1,9}(?:ms|s|m|h|d))")
_DURATION_MAX_MS = 366 * 86_400_000

PATH_CHARS_MAX = 1024

NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,62}$"
LABEL_PATTERN = r"^[a-z][a-z0-9_.-]{0,62}$"
UNIT_PATTERN = r"^[A-Za-z0-9:_.@\\-]{1,240}\.(service|socket|timer|mount|automount|path)$"
MOUNT_UNIT_PATTERN = r"^[A-Za-z0-9:_.@\\-]{1,240}\.mount$"
URL_PATTERN = r"^https?://[^\s/]+(/\S*)?$"
ADDRESS_PATTERN = r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$"
PERSON_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.@+-]{0,127}$"
DURATION_PATTERN = f"^{_DURATION.pattern}$"
RATE_PATTERN = f"^{_RATE.pattern}$"
PATTERN_WORDS = {
    NAME_PATTERN: "a name: small letters, digits, - and _, beginning with a letter, at most 63",
    UNIT_PATTERN: "the full name of a systemd unit, such as shop.service",
    MOUNT_UNIT_PATTERN: "the name of a mount unit, such as srv-data.mount",
    URL_PATTERN: "an http or https address, such as http://127.0.0.1:8080/healthz",
    ADDRESS_PATTERN: "a host and a port, such as 127.0.0.1:5433",
    PERSON_PATTERN: "a team or a person: letters, digits and . _ @ + -",
}


def duration_ms(value: object) -> int:
    """Milliseconds of `500ms`, `30s`, `10m`, `2h` or `1d`; 0 only as `0s`. ValueError says what is wrong."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("it is no duration: write it like 500ms, 30s, 10m, 2h or 1d")
    total = int(found[1]) * _UNIT_MS[found[2]]
    if total > _DURATION_MAX_MS:
        raise ValueError("it is longer than 366 days")
    return total


def size_bytes(value: object) -> int:
    """Bytes of `4096`, `64K`, `10M`, `1G`; multiples of 1024. ValueError says what is wrong."""
    found = _SIZE.fullmatch(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if found is None:
        raise ValueError("it is no size: write it like 500K, 10M or 1G")
    total = int(found[1]) * _UNIT_BYTES[found[2]]
    if total >= 2**63:
        raise ValueError("it is too large")
    return total


def duration_text(value_ms: int) -> str:
    """The shortest way to write a duration."""
    for unit in ("d", "h", "m", "s"):
        if value_ms and value_ms % _UNIT_MS[unit] == 0:
            return f"{value_ms // _UNIT_MS[unit]}{unit}"
    return "0s" if value_ms == 0 else f"{value_ms}ms"


def _rate(value: object) -> tuple[int, int]:
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("it is no rate: write it like 3 per 1h")
    count, window_ms = int(found[1]), duration_ms(found[2])
    if count < 1 or window_ms < 1:
        raise ValueError("it would permit nothing: take the playbook away, or set trust: observe")
    return count, window_ms


def _positive(value: int) -> int:
    if value < 1:
        raise ValueError("it must be longer than 0s")
    return value


def _some(value: int) -> int:
    if value < 1:
        raise ValueError("it must be more than nothing")
    return value


def _label_values(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ValueError("an empty list selects no host: name a value, or take the label away")
    for item in values:
        if not isinstance(item, str):
            raise ValueError(f"the value {shown(item)} is not text: put it in quotes")  # noqa: TRY004 - pydantic collects ValueError
        if not item or len(item) > 128 or not item.isprintable():
            raise ValueError(f"the value {shown(item)} cannot be a label's: 1 to 128 printable characters")
    if len(set(values)) != len(values):
        raise ValueError("a value stands in the list twice")
    return sorted(values)


def _labels(value: dict[str, list[str]]) -> dict[str, list[str]]:
    if not value:
        raise ValueError("an empty selection is not every host: take `on` away if you mean every host")
    for label in value:
        if not re.fullmatch(LABEL_PATTERN, label):
            raise ValueError(f"{shown(label)} cannot be a label: small letters, digits, _ . and -, beginning with a letter")
    return value


def absolute(value: str) -> str:
    """An absolute path without `.`, `..`, doubled slashes or control characters; ValueError says what is wrong."""
    if not value.startswith("/"):
        raise ValueError("it is not an absolute path")
    if not value.isprintable():
        raise ValueError("it has characters that cannot be printed")
    if value != "/" and any(part in ("", ".", "..") for part in value[1:].rstrip("/").split("/")):
        raise ValueError("it must not have empty parts, . or ..")
    return value


def _glob(value: str) -> str:
    absolute(value)
    parts = value[1:].split("/")
    if len(value) > PATH_CHARS_MAX:
        raise ValueError(f"it has more than {PATH_CHARS_MAX} characters")
    if not parts[-1]:
        raise ValueError(f"it must not end with /: write {value}** for everything below")
    if any("**" in part and part != "**" for part in parts):
        raise ValueError("** must be a whole part, as in /srv/cache/**")
    if is_wild(parts[0]):
        raise ValueError("it is too wide: its first folder must be named in full")
    return value


def _disposable(value: str) -> str:
    _glob(value)
    parts = value[1:].split("/")
    if len(parts) == 1 or (len(parts) == 2 and parts[1] in ("*", "**")):
        raise ValueError("it is too wide to be disposable: name two folders, or a folder and a pattern for its files")
    return value


def _protected(value: str) -> str:
    if "/" not in value and re.fullmatch(UNIT_PATTERN, re.sub(r"[*?]", "x", value)):
        return value
    return _glob(value)


def _unit(value: str) -> str:
    if "@." in value:
        raise ValueError("it is a template, which never runs itself: name its instances")
    return value


def is_wild(part: str) -> bool:
    """Whether a part of a path stands for several names."""
    return any(c in part for c in "*?[")


def base_of(pattern: str) -> str:
    """The folder above the first wildcard; of a plain path, the path itself."""
    fixed: list[str] = []
    for part in pattern.strip("/").split("/"):
        if is_wild(part):
            break
        fixed.append(part)
    return "/" + "/".join(fixed)


def is_below(path: str, base: str) -> bool:
    """Whether a path is the base or lies below it."""
    return path == base or path.startswith(base.rstrip("/") + "/")


def _check_duration(value: Any) -> int:
    return duration_ms(value)


_DURATION_SCHEMA = {"type": "string", "pattern": DURATION_PATTERN, "examples": ["30s", "10m", "2h"]}
_PATH_SCHEMA = {"type": "string", "pattern": "^/"}


def _check_size(value: Any) -> int:
    return size_bytes(value)


_SIZE_SCHEMA = {"type": ["string", "integer"], "pattern": "^[0-9]{1,12}[KMGT]?$", "examples": ["200M", "1G"]}

Size = Annotated[int, BeforeValidator(_check_size), AfterValidator(_some), WithJsonSchema(_SIZE_SCHEMA)]
Duration = Annotated[int, BeforeValidator(_check_duration), WithJsonSchema(_DURATION_SCHEMA)]
PositiveDuration = Annotated[int, BeforeValidator(_check_duration), AfterValidator(_positive), WithJsonSchema(_DURATION_SCHEMA)]
RateText = Annotated[
    tuple[int, int],
    BeforeValidator(_rate),
    WithJsonSchema({"type": "string", "pattern": RATE_PATTERN, "examples": ["3 per 1h"]}),
]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Person = Annotated[str, Field(pattern=PERSON_PATTERN)]
Sentence = Annotated[str, Field(min_length=1, max_length=500)]
Percent = Annotated[int, Field(ge=1, le=100)]
UnitName = Annotated[str, Field(pattern=UNIT_PATTERN), AfterValidator(_unit)]
LabelValues = Annotated[
    list[str],
    BeforeValidator(_label_values),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
On = Annotated[dict[str, LabelValues], AfterValidator(_labels)]
AbsolutePath = Annotated[str, AfterValidator(absolute), WithJsonSchema(_PATH_SCHEMA)]
ProtectedGlob = Annotated[str, AfterValidator(_protected)]
DisposableGlob = Annotated[str, AfterValidator(_disposable), WithJsonSchema(_PATH_SCHEMA)]
