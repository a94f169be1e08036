"""Strict YAML: only what means the same to everybody who reads it, with the place of every word.

Refused are duplicate keys, anchors, aliases, merge keys, tags, several documents in a file, values that YAML 1.1 reads in a
surprising way (`no`, `012`, `1e3`, `12:30`, a date), and files beyond the limits below.
"""

from __future__ import annotations

import difflib
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import yaml

from ..rules import Problem

FILE_BYTES_MAX = 1024 * 1024
DEPTH_MAX = 20
NODES_MAX = 50_000
SCALAR_CHARS_MAX = 65_536
PROBLEMS_MAX = 100
NAMES_SHOWN_MAX = 40
# How like a known name an unknown one must be (0 to 1) to be taken for a slip.
LIKE_ENOUGH = 0.7

Plain = str | int | float | bool | list["Plain"] | dict[str, "Plain"] | None
Path = tuple[str | int, ...]

# Both give the same events; the C one is ten times as quick.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})\.[0-9]{1,17}")
_TRAPS = (
    (re.compile(r"(?i)(y|n|yes|no|on|off|true|false)"), "write true or false, or put it in quotes if you mean the word"),
    (re.compile(r"(?i)(null|~|)"), "write the value, or take the key away"),
    (
        re.compile(r"[-+]?0[0-9_]+|[-+]?0[xob][0-9a-fA-F_]+"),
        "write the number in decimal, or put it in quotes if you mean the text",
    ),
    (re.compile(r"[-+]?[0-9][0-9_.]*[eE][-+]?[0-9]+"), "write the number out, or put it in quotes if you mean the text"),
    (re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"), "put it in quotes: YAML takes it for a number in base sixty"),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?"), "put it in quotes: YAML takes it for a date"),
    (
        re.compile(r"[-+]?(\.[0-9_]+|[0-9][0-9_]*\.?[0-9_]*)"),
        "write it like 12 or 0.5, or put it in quotes if you mean the text",
    ),
    (re.compile(r"(?i)[-+]?\.(inf|nan)"), "put it in quotes if you mean the text"),
)
_MERGE = "<<"


@dataclass(frozen=True, slots=True)
class Place:
    """Line and column, both from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Node:
    """One value with its place. `start` and `end` are offsets in the text of the file. `bad`: a problem was already told."""

    place: Place
    start: int
    end: int
    value: Plain = None
    bad: bool = False
    entries: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Place] = field(default_factory=dict)
    items: list[Node] = field(default_factory=list)

    def has_bad(self) -> bool:
        """Whether a problem was told about this value or one inside it."""
        return self.bad or any(child.has_bad() for child in (*self.entries.values(), *self.items))


@dataclass(frozen=True, slots=True)
class Document:
    """One file: its value and where everything stands. `root` is None when the file says nothing."""

    file: str
    text: str
    root: Node | None

    def node(self, path: Path) -> Node | None:
        """The node at a path, or None."""
        node = self.root
        for step in path:
            node = None if node is None else _child(node, step)
        return node

    def text_at(self, path: Path) -> str:
        """The text at a path; empty if there is none."""
        node = self.node(path)
        return node.value if node is not None and isinstance(node.value, str) else ""

    def place(self, path: Path, *, key: bool = False) -> Place:
        """Where the value at a path stands, else the nearest thing above that does. `key`: where its key stands."""
        node = self.root
        found = node.place if node else Place(1, 1)
        for index, step in enumerate(path):
            child = None if node is None else _child(node, step)
            if node is not None and key and index == len(path) - 1 and step in node.keys:
                return node.keys[str(step)]
            if child is None:
                return found
            node, found = child, child.place
        return found

    def problem(self, path: Path, text: str, *, key: bool = False) -> Problem:
        """A problem with the value (or the key) at a path."""
        place = self.place(path, key=key)
        return Problem(self.file, place.line, place.column, text)

    def problem_inside(self, path: Path, offset: int, text: str) -> Problem:
        """A problem with the character at an offset of a scalar's value, wherever that stands in the file."""
        node = self.node(path)
        if node is None or not isinstance(node.value, str):
            return self.problem(path, text)
        at = _offset_in_file(self.text[node.start : node.end], node.value, offset)
        if at is None:
            return self.problem(path, text)
        index = node.start + at
        line_start = self.text.rfind("\n", 0, index) + 1
        return Problem(self.file, self.text.count("\n", 0, index) + 1, index - line_start + 1, text)


def parse(file: str, text: str) -> tuple[Document, list[Problem]]:
    """The document of one file, as far as it can be understood, and what is wrong with it."""
    reader = _Reader(file, text)
    try:
        text.encode()
        root = reader.document(_events(text))
    except _GiveUp:
        root = None
    except UnicodeEncodeError as error:
        reader.add(_place_of(text, error.start), "cannot read the file: it is not valid Unicode text")
        root = None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        reader.add(place, f"cannot read the file as YAML: {_reason(error)}")
        root = None
    except yaml.YAMLError as error:
        position = getattr(error, "position", 0)
        reader.add(_place_of(text, position), "cannot read the file as YAML: it has a character that YAML does not allow")
        root = None
    return Document(file, text, root), reader.problems


class _GiveUp(Exception):
    """Nothing after this place can be understood."""


def _events(text: str) -> Iterator[yaml.Event]:
    loader = _LOADER(text)
    try:
        while loader.check_event():
            yield loader.get_event()
    finally:
        loader.dispose()


class _Reader:
    """Builds nodes from YAML events and collects problems."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self.problems: list[Problem] = []
        self._nodes = 0

    def add(self, place: Place, text: str) -> None:
        self.problems.append(Problem(self.file, place.line, place.column, text))
        if len(self.problems) >= PROBLEMS_MAX:
            raise _GiveUp

    def document(self, events: Iterator[yaml.Event]) -> Node | None:
        """The only document of the stream."""
        root: Node | None = None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.add(_place(event), "cannot use a second document: write one document a file")
                    raise _GiveUp
            elif isinstance(event, yaml.NodeEvent):
                root = self._node(event, events, 1)
        empty = root is None or (root.value is None and root.start == root.end)
        return None if empty else root

    def _child(self, event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> Node:
        if not isinstance(event, yaml.NodeEvent):
            self.add(_place(event), "cannot read the file as YAML: a value is missing")
            raise _GiveUp
        return self._node(event, events, depth + 1)

    def _node(self, event: yaml.NodeEvent, events: Iterator[yaml.Event], depth: int) -> Node:
        place = _place(event)
        self._nodes += 1
        if depth > DEPTH_MAX:
            self.add(place, f"cannot read the file: it is nested deeper than {DEPTH_MAX} levels")
            raise _GiveUp
        if self._nodes > NODES_MAX:
            self.add(place, f"cannot read the file: it has more than {NODES_MAX} values")
            raise _GiveUp
        if isinstance(event, yaml.AliasEvent):
            self.add(place, f"cannot use the alias *{event.anchor}: aliases are not allowed, write the value again")
            return Node(place, *_span(event), bad=True)
        if event.anchor:
            self.add(place, f"cannot use the anchor &{event.anchor}: anchors are not allowed")
        if tag := getattr(event, "tag", None):
            self.add(place, f"cannot use the tag {shown(tag)}: tags are not allowed")
        node = Node(place, *_span(event))
        if isinstance(event, yaml.MappingStartEvent):
            self._mapping(node, events, depth)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._sequence(node, events, depth)
        elif isinstance(event, yaml.ScalarEvent):
            problems = len(self.problems)
            node.value = self._scalar(event, place)
            node.bad = len(self.problems) > problems
        return node

    def _mapping(self, node: Node, events: Iterator[yaml.Event], depth: int) -> None:
        value: dict[str, Plain] = {}
        node.value = value
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                return
            place = _place(event)
            if not isinstance(event, yaml.ScalarEvent):
                self.add(place, "cannot use this key: a key must be plain text")
                raise _GiveUp
            key = event.value
            if key == _MERGE and not event.style:
                self.add(place, "cannot use the merge key <<: write the entries again")
            child = self._child(next(events), events, depth)
            child.bad = child.bad or key == _MERGE
            if key in value:
                self.add(place, f"cannot use the key {shown(key)} twice: it stands already in line {node.keys[key].line}")
                continue
            value[key] = child.value
            node.entries[key] = child
            node.keys[key] = place

    def _sequence(self, node: Node, events: Iterator[yaml.Event], depth: int) -> None:
        value: list[Plain] = []
        node.value = value
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                return
            child = self._child(event, events, depth)
            node.items.append(child)
            value.append(child.value)

    def _scalar(self, event: yaml.ScalarEvent, place: Place) -> Plain:
        text: str = event.value
        if len(text) > SCALAR_CHARS_MAX:
            self.add(place, f"cannot use this value: it has more than {SCALAR_CHARS_MAX} characters")
            return ""
        if event.style:
            return text
        if text in ("true", "false"):
            return text == "true"
        if _INTEGER.fullmatch(text):
            return int(text)
        if _NUMBER.fullmatch(text):
            return float(text)
        for trap, way_out in _TRAPS:
            if not trap.fullmatch(text):
                continue
            # A file of comments has one empty value: it says nothing, which is no fault.
            if text or self._nodes > 1:
                what = f"the bare value {text}" if text else "an empty value"
                self.add(place, f"cannot use {what}: {way_out}")
            return None
        return text


def shown(text: object) -> str:
    """A value as it is quoted in a message: one line, bounded."""
    written = str(text) if not isinstance(text, bool) else str(text).lower()
    line = " ".join(written.split())
    line = "".join(c if c.isprintable() else "?" for c in line)
    return line if len(line) <= 80 else line[:77] + "..."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The way out of an unknown name: the one or two most like it, else all there are."""
    names = sorted(known)
    ranked = [(difflib.SequenceMatcher(None, each, name).ratio(), each) for each in names]
    best = max((score for score, _ in ranked), default=0.0)
    near = [each for score, each in ranked if score == best and score >= LIKE_ENOUGH][:2]
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"there is {', '.join(names[:NAMES_SHOWN_MAX])}" if names else "there is none"


def _place(event: yaml.Event) -> Place:
    mark = event.start_mark
    return Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)


def _span(event: yaml.Event) -> tuple[int, int]:
    start, end = event.start_mark, event.end_mark
    return (start.index, end.index) if start and end else (0, 0)


def _place_of(text: str, index: int) -> Place:
    before = text[: max(0, index)]
    return Place(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


def _reason(error: yaml.MarkedYAMLError) -> str:
    parts = [part for part in (error.context, error.problem) if part]
    return shown(", ".join(parts) or "it is malformed")


def _child(node: Node, step: str | int) -> Node | None:
    if isinstance(step, int):
        return node.items[step] if 0 <= step < len(node.items) else None
    return node.entries.get(step)


def _offset_in_file(raw: str, value: str, offset: int) -> int | None:
    """Where the character `value[offset]` stands in the text that the value was written as.

    Quotes, escapes, indentation and folding only add characters to what is written, so the n-th visible character of the value
    is found by walking both; white space has no place of its own.
    """
    at = 0
    body = re.match(r"[|>][-+0-9]*[ \t]*(#[^\n]*)?\n", raw)
    if body:
        at = body.end()
    visible = [index for index, character in enumerate(value) if not character.isspace()]
    wanted = bisect_right(visible, offset)
    for number, index in enumerate(visible, start=1):
        at = raw.find(value[index], at)
        if at < 0:
            return None
        if number == max(1, wanted):
            # An offset at white space or past the end is shown right behind the last visible character before it.
            return at + min(1, offset - index) if offset >= index else at
        at += 1
    return None
