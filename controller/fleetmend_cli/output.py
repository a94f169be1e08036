"""What commands print: JSON and YAML of the answer as it came, tables for people.

JSON is the protocol's message field by field (see protos/fleetmend/v1/admin.proto): enums as lower-case words without their
prefix, unset optional fields as null. Nothing that a server wrote can steer the terminal, in any of the forms.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from unicodedata import combining, east_asian_width

import click

from fleetmend.plain import plain_line

if TYPE_CHECKING:
    from google.protobuf.descriptor import EnumDescriptor
    from google.protobuf.message import Message

# Valid JSON, but not harmless on a terminal.
_STEERING = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_GAP = 2

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


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """A table without lines; words with a meaning are coloured on a terminal."""
    cells = [[plain_line(cell) for cell in row] for row in rows]
    _print_cells(columns, cells, [column.title for column in columns])


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Names and values, one pair a line; long values fold."""
    cells = []
    for name, value in pairs:
        first, *more = value.split("\n")
        cells += [[plain_line(name), plain_line(first)], *(["", plain_line(line)] for line in more)]
    _print_cells((Column(""), Column("", fixed=False)), cells, None)


def print_heading(text: str) -> None:
    """A line above a table."""
    click.echo()
    click.echo(styled(plain_line(text), "bold"))


def labels_text(labels: Mapping[str, str]) -> str:
    """Labels as a selector would have them."""
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items())) or "-"


def is_terminal(*, err: bool = False) -> bool:
    """Whether a person watches the stream."""
    stream = sys.stderr if err else sys.stdout
    return stream.isatty()


def _print_cells(columns: Sequence[Column], cells: list[list[str]], titles: list[str] | None) -> None:
    """Lines of cells. Most tables fit; only for folding the others is rich worth its start."""
    lines = [*([titles] if titles else []), *cells]
    widths = [max((_width(line[place]) for line in lines), default=0) for place in range(len(columns))]
    room = _room()
    if room is not None and sum(widths) + _GAP * (len(columns) - 1) > room:
        _print_folded(columns, cells, titles, room)
        return
    out = []
    for number, line in enumerate(lines):
        heading = titles is not None and number == 0
        padded = (
            _padded(cell, width, column, "bold" if heading or (titles is None and column.fixed) else STYLES.get(cell, ""))
            for cell, width, column in zip(line, widths, columns, strict=True)
        )
        out.append((" " * _GAP).join(padded).rstrip())
    if out:
        click.echo("\n".join(out))


def _padded(cell: str, width: int, column: Column, style: str) -> str:
    space = " " * (width - _width(cell))
    shown = styled(cell, style)
    return space + shown if column.right else shown + space


def styled(text: str, style: str) -> str:
    """Text in a style such as `bold red`, where a terminal shows it."""
    if not style or not _colours():
        return text
    return click.style(text, fg=style.removeprefix("bold").strip() or None, bold="bold" in style)


def _width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(c) else 2 if east_asian_width(c) in {"W", "F"} else 1 for c in text)


def _room() -> int | None:
    """How many columns there are; None where a program reads and nothing may be folded."""
    fixed = os.environ.get("COLUMNS", "")
    if fixed.isdigit() and int(fixed) > 0:
        return int(fixed)
    return shutil.get_terminal_size().columns if is_terminal() else None


def _colours() -> bool:
    return is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _print_folded(columns: Sequence[Column], cells: list[list[str]], titles: list[str] | None, room: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold", show_header=titles is not None)
    for column in columns:
        style = "bold" if titles is None and column.fixed else ""
        justify: Literal["left", "right"] = "right" if column.right else "left"
        table.add_column(column.title, no_wrap=column.fixed, overflow="fold", justify=justify, style=style)
    for line in cells:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in line))
    colours: Literal["auto"] | None = "auto" if _colours() else None
    console = Console(color_system=colours, width=room, markup=False, highlight=False, emoji=False)
    with console.capture() as capture:
        console.print(table)
    click.echo("".join(line.rstrip() + "\n" for line in capture.get().splitlines()), nl=False)


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
