"""What commands print: JSON and YAML of the answer as it came, tables for people.

JSON is the protocol's message field by field (see protos/fleetmend/v1/admin.proto): enums as lower-case words without their
prefix, unset optional fields as null. Nothing that a server wrote can steer the terminal, in any of the forms.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from fleetmend.plain import plain_line

if TYPE_CHECKING:
    from google.protobuf.descriptor import EnumDescriptor
    from google.protobuf.message import Message

# Valid JSON, but not harmless on a terminal.
_STEERING = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
# Wide enough that nothing is cut where a program reads.
_PIPE_COLUMNS = 4096

STYLES = {
    "up": "green",
    "lost": "red",
    "open": "yellow",
    "held": "yellow",
    "ordered": "cyan",
    "running": "cyan",
    "proving": "cyan",
    "resolved": "green",
    "escalated": "bold red",
    "allow": "green",
    "hold": "yellow",
    "refuse": "red",
    "done": "green",
    "failed": "red",
    "refused": "red",
    "wait_over": "yellow",
    "destructive": "red",
    "disruptive": "yellow",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. `fixed`: never folded, so that it can be copied; others fold when the terminal is narrow."""

    title: str
    fixed: bool = True
    right: bool = False


def plain(message: Message) -> dict[str, Any]:
    """A message as JSON values."""
    return {field.name: _field(message, field) for field in message.DESCRIPTOR.fields}


def word(enum: EnumDescriptor, value: int) -> str:
    """An enum's value as a word: HOST_STATE_UP of HostState is `up`; a value of a later protocol is its number."""
    known = enum.values_by_number.get(value)
    if known is None:
        return str(value)
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper() + "_"
    return known.name.removeprefix(prefix).lower()


def print_json(value: object, *, lines: bool = False) -> None:
    """One JSON document; with `lines` on one line, for streams."""
    text = json.dumps(value, indent=None if lines else 2, ensure_ascii=False)
    click.echo(_STEERING.sub(lambda found: f"\\u{ord(found.group()):04x}", text))


def print_yaml(value: object, *, lines: bool = False) -> None:
    """One YAML document; with `lines` begun by `---`, for streams."""
    import yaml

    click.echo(yaml.safe_dump(value, sort_keys=False, explicit_start=lines, width=100), nl=False)


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]], *, indent: int = 0) -> None:
    """A table without lines; words with a meaning are coloured on a terminal."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        justify = "right" if column.right else "left"
        table.add_column(column.title, no_wrap=column.fixed, overflow="fold", justify=justify)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(Text(plain_line(cell), style=STYLES.get(cell, "")) for cell in row))
    _print(Padding(table, (0, 0, 0, indent)))


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Names and values, one pair a line; long values fold."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in pairs:
        lines = "\n".join(plain_line(line) for line in value.split("\n"))
        table.add_row(Text(plain_line(name)), Text(lines, style=STYLES.get(value, "")))
    _print(table)


def print_heading(text: str) -> None:
    """A line above a table."""
    from rich.text import Text

    click.echo()
    _print(Text(plain_line(text), style="bold"))


def labels_text(labels: Mapping[str, str]) -> str:
    """Labels as a selector would have them."""
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items())) or "-"


def is_terminal(*, err: bool = False) -> bool:
    """Whether a person watches the stream."""
    stream = sys.stderr if err else sys.stdout
    return stream.isatty()


def _print(renderable: Any) -> None:
    from rich.console import Console

    colourless = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    fixed = is_terminal() or "COLUMNS" in os.environ
    console = Console(
        color_system=None if colourless else "auto",
        width=None if fixed else _PIPE_COLUMNS,
        markup=False,
        highlight=False,
        emoji=False,
        soft_wrap=False,
    )
    with console.capture() as capture:
        console.print(renderable)
    text = "".join(line.rstrip() + "\n" for line in capture.get().splitlines())
    click.echo(text, nl=False)


def _field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return {key: value[key] for key in sorted(value)}
    if field.is_repeated:
        return [_value(field, item) for item in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    return _value(field, value)


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return plain(value)
    if field.enum_type is not None:
        return word(field.enum_type, value)
    return value
