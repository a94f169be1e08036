"""What agents say is bounded and cleaned here, before it reaches journal, metrics or a terminal. Agents are not trusted."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from fleetmend.v1 import link_pb2

from ..core.model import Scalar, Status

CHECK_CHARS_MAX = 128
KEY_CHARS_MAX = 512
SUMMARY_CHARS_MAX = 500
DETAIL_CHARS_MAX = 1_000
OUTPUT_CHARS_MAX = 64 * 1024
ID_CHARS_MAX = 128
FINDING_FIELDS_MAX = 32
FINDING_TEXT_CHARS_MAX = 1_000
FINDING_INTEGER_MAX = 2**53

# Control characters, the line separators of Unicode, what turns the direction of text, and lone surrogates.
_HOSTILE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_HOSTILE_LINES = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_FIELD = re.compile(r"[a-z][a-z0-9_]{0,63}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

_STATUS = {
    link_pb2.STATUS_OK: Status.OK,
    link_pb2.STATUS_WARN: Status.WARN,
    link_pb2.STATUS_CRIT: Status.CRIT,
    link_pb2.STATUS_UNKNOWN: Status.UNKNOWN,
}


class Malformed(ValueError):
    """A message that no agent of ours sends; the text says what is wrong with it."""


def line(text: str, chars_max: int) -> str:
    """One line without control characters, cut to `chars_max`."""
    return _HOSTILE.sub(" ", text[: chars_max * 2]).strip()[:chars_max]


def lines(text: str, chars_max: int) -> str:
    """Several lines, tabs kept, without other control characters, cut to `chars_max`."""
    return _HOSTILE_LINES.sub(" ", text[: chars_max * 2])[:chars_max]


def subject(check: str, key: str) -> tuple[str, str]:
    """Check name and subject key, refused rather than cut: two subjects must not become one."""
    if not check or len(check) > CHECK_CHARS_MAX or _HOSTILE.search(check):
        raise Malformed("the name of a check is empty, too long or has control characters")
    if len(key) > KEY_CHARS_MAX or _HOSTILE.search(key):
        raise Malformed("the key of a subject is too long or has control characters")
    return check, key


def identifier(text: str, what: str) -> str:
    """An id of letters, digits and `._-`."""
    if len(text) > ID_CHARS_MAX or not _ID.fullmatch(text):
        raise Malformed(f"the {what} is empty, too long or has odd characters")
    return text


def clock_ms(value: int) -> int:
    """A reading of a boot clock: never negative, at most three hundred years."""
    if not 0 <= value < 10**13:
        raise Malformed("a clock reading is out of range")
    return value


def status(value: int) -> Status:
    """The status of a result; Malformed if it is none."""
    for word, known in _STATUS.items():
        if word == value:
            return known
    raise Malformed("the status is none of ok, warn, crit and unknown")


def finding(values: Mapping[str, link_pb2.Value]) -> dict[str, Scalar]:
    """The typed facts, by name in order; fields that cannot be used are left out."""
    kept: dict[str, Scalar] = {}
    for name in sorted(values)[:FINDING_FIELDS_MAX]:
        value = _scalar(values[name])
        if value is not None and _FIELD.fullmatch(name):
            kept[name] = value
    return kept


def plain_scalars(values: object) -> dict[str, Scalar]:
    """As `finding`, of a JSON object; Malformed if it is none."""
    if not isinstance(values, dict):
        raise Malformed("a mapping is expected")
    kept: dict[str, Scalar] = {}
    for name in sorted(values)[:FINDING_FIELDS_MAX]:
        value = values[name]
        if isinstance(value, str):
            value = line(value, FINDING_TEXT_CHARS_MAX)
        elif not isinstance(value, bool) and (not isinstance(value, int) or abs(value) > FINDING_INTEGER_MAX):
            continue
        if _FIELD.fullmatch(name):
            kept[name] = value
    return kept


def _scalar(value: link_pb2.Value) -> Scalar | None:
    match value.WhichOneof("kind"):
        case "text":
            return line(value.text, FINDING_TEXT_CHARS_MAX)
        case "integer":
            return value.integer if abs(value.integer) <= FINDING_INTEGER_MAX else None
        case "number":
            return value.number if math.isfinite(value.number) else None
        case "flag":
            return value.flag
    return None
