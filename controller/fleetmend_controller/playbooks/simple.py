"""The part of CEL that a host can judge by itself, without CEL: what fleetmend/permits.py decides, and nothing else.

Equality and inequality with a literal, order of whole numbers, `in` a list of literals, flags, `!`, `&&`, `||` and brackets,
over finding.*, check.name, check.type and status. The text has been compiled as CEL before: names and kinds are right already.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<number>-?\d+(?![\w.]))
    |(?P<name>[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*)*)|(?P<sign>&&|\|\||==|!=|<=|>=|[!<>()\[\],]))""",
    re.VERBOSE,
)
_MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_NAMES = re.compile(r"finding\.[a-z]\w*|check\.(?:name|type)|status")
_ESCAPES = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "t": "\t"}

Condition = list[Any]


class NotSimpleError(ValueError):
    """A condition that only CEL can judge; the text says which part."""


def parse_simple(text: str) -> Condition:
    """The condition in the form of permits. Raises NotSimpleError."""
    reader = _Reader(_tokens(text), text)
    condition = reader.chain("||", "or", lambda: reader.chain("&&", "and", reader.term))
    if reader.left:
        raise NotSimpleError(f"{_short(reader.left[0][1])} cannot be judged on a host")
    return condition


def _tokens(text: str) -> list[tuple[str, Any]]:
    tokens: list[tuple[str, Any]] = []
    place = 0
    while text[place:].strip():
        found = _TOKEN.match(text, place)
        if found is None:
            raise NotSimpleError(f"{_short(text[place:].strip())} cannot be judged on a host")
        kind = str(found.lastgroup)
        tokens.append((kind, _value(kind, found[kind])))
        place = found.end()
    return tokens


def _value(kind: str, word: str) -> Any:
    if kind == "number":
        return int(word)
    if kind == "name":
        return "".join(word.split())
    return _unquoted(word) if kind == "text" else word


def _unquoted(word: str) -> str:
    def plain(found: re.Match[str]) -> str:
        if found[1] not in _ESCAPES:
            raise NotSimpleError(f"the escape \\{found[1]} cannot be judged on a host")
        return _ESCAPES[found[1]]

    return re.sub(r"\\(.)", plain, word[1:-1])


class _Reader:
    """Reads tokens from the left, by descent."""

    def __init__(self, tokens: list[tuple[str, Any]], text: str) -> None:
        self.left = tokens
        self._text = text

    def chain(self, sign: str, word: str, part: Callable[[], Condition]) -> Condition:
        """Parts joined by a sign."""
        parts = [part()]
        while self._is(sign):
            self.left.pop(0)
            parts.append(part())
        return parts[0] if len(parts) == 1 else [word, *parts]

    def term(self) -> Condition:
        """A bracket, a negation, a comparison, or a flag."""
        if self._is("!"):
            self.left.pop(0)
            return ["not", self.term()]
        if self._is("("):
            self.left.pop(0)
            inner = self.chain("||", "or", lambda: self.chain("&&", "and", self.term))
            self._take(")")
            return inner
        one = self._operand()
        sign = self.left[0][1] if self.left and self.left[0][0] in ("sign", "name") else ""
        if sign == "in" and isinstance(one, _Name):
            self.left.pop(0)
            return ["in", str(one), self._list()]
        if sign in _MIRRORED:
            self.left.pop(0)
            return _compare(one, sign, self._operand())
        if isinstance(one, _Name):
            return ["is", str(one)]
        raise NotSimpleError(f"{_short(one)} cannot be judged on a host")

    def _operand(self) -> Any:
        if not self.left:
            raise NotSimpleError(f"{_short(self._text)} cannot be judged on a host")
        kind, value = self.left.pop(0)
        if kind in ("text", "number"):
            return value
        if kind == "name" and value in ("true", "false"):
            return value == "true"
        if kind == "name" and _NAMES.fullmatch(value) and not self._is("("):
            return _Name(value)
        raise NotSimpleError(f"{_short(value)} cannot be judged on a host")

    def _list(self) -> list[Any]:
        self._take("[")
        values: list[Any] = []
        while not self._is("]"):
            value = self._operand()
            if isinstance(value, _Name):
                raise NotSimpleError(f"a list with {value} in it cannot be judged on a host")
            values.append(value)
            if not self._is("]"):
                self._take(",")
        self._take("]")
        return values

    def _is(self, sign: str) -> bool:
        return bool(self.left) and self.left[0] == ("sign", sign)

    def _take(self, sign: str) -> None:
        if not self._is(sign):
            shown = _short(self.left[0][1] if self.left else self._text)
            raise NotSimpleError(f"{shown} cannot be judged on a host")
        self.left.pop(0)


class _Name(str):
    """A variable, where a literal could stand too."""

    __slots__ = ()


def _compare(one: Any, sign: str, two: Any) -> Condition:
    if not isinstance(one, _Name):
        one, sign, two = two, _MIRRORED[sign], one
    if not isinstance(one, _Name) or isinstance(two, _Name):
        raise NotSimpleError(
            f"{_short(one)} {sign} {_short(two)} cannot be judged on a host: it compares no field with a value"
        )
    if sign == "!=":
        return ["not", ["==", str(one), two]]
    if sign != "==" and (isinstance(two, bool) or not isinstance(two, int)):
        raise NotSimpleError(f"{one} {sign} {_short(two)} cannot be judged on a host: only whole numbers have an order there")
    return [sign, str(one), two]


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
