"""Text from servers, made harmless for a terminal: it must not move the cursor, colour or reorder what people read."""

from __future__ import annotations

import re

# C0 and C1 controls and DEL, and the characters that reorder or hide text. Tab and newline are the caller's choice.
_HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")

_BYTE_MAX = 0xFF


def plain_line(text: str) -> str:
    r"""One line: controls become visible escapes such as `\x1b`, line ends and tabs too."""
    return plain_lines(text).replace("\n", "\\n").replace("\t", "\\t")


def plain_lines(text: str) -> str:
    """Several lines: as `plain_line`, but newlines and tabs stay."""
    return _HARMFUL.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code <= _BYTE_MAX else f"\\u{code:04x}"
