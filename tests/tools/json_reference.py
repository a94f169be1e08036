"""docs/json.md: what `--output json` prints, field by field, from the comments of admin.proto.

Run with --write to bring the file up to date; tests/unit/cli/test_reference.py holds it so.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path

import click
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

from fleetmend.v1 import admin_pb2
from fleetmend_cli.__main__ import root
from fleetmend_cli.output import word

ROOT = Path(__file__).parents[2]
TARGET = ROOT / "docs" / "json.md"
_HEAD = """# What `--output json` prints

Made from `protos/fleetmend/v1/admin.proto` by `python -m tests.tools.json_reference --write`; do not edit.

Fields are added, never renamed or given another meaning. Enums are lower-case words; a program must bear words it does not
know. A field that is not set is `null`. `*_ms` are integers: Unix milliseconds for an instant, milliseconds for a length.
`--output yaml` prints the same document. `incidents watch` prints one document a line.
"""
_NUMBERS = {
    descriptor_pb2.FieldDescriptorProto.TYPE_INT32: "integer",
    descriptor_pb2.FieldDescriptorProto.TYPE_INT64: "integer",
    descriptor_pb2.FieldDescriptorProto.TYPE_UINT32: "integer",
    descriptor_pb2.FieldDescriptorProto.TYPE_UINT64: "integer",
    descriptor_pb2.FieldDescriptorProto.TYPE_BOOL: "true or false",
    descriptor_pb2.FieldDescriptorProto.TYPE_STRING: "text",
}


def reference() -> str:
    """The whole page."""
    file = _describe()
    comments = {tuple(place.path): place.leading_comments.strip() for place in file.source_code_info.location}
    messages = {message.name: (index, message) for index, message in enumerate(file.message_type)}
    commands = list(_commands(root(), ("fleetmend",)))
    parts = [_HEAD, "## Commands\n", "| command | document |", "|---|---|"]
    parts += [f"| `{' '.join(words)}` | {_linked(says, messages)} |" for words, says in commands]
    wanted = _reachable((name for _, says in commands for name in re.findall(r"\b[A-Z]\w+", says)), messages)
    parts.append("\n## Documents")
    parts += [_message(messages[name][1], messages[name][0], comments, messages) for name in wanted]
    return "\n".join(parts).rstrip() + "\n"


def _describe() -> descriptor_pb2.FileDescriptorProto:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "admin.binpb"
        include = resources.files("grpc_tools") / "_proto"
        argv = ["protoc", f"-I{ROOT / 'protos'}", f"-I{include}", "--include_source_info", f"--descriptor_set_out={out}"]
        if protoc.main([*argv, "fleetmend/v1/admin.proto"]) != 0:
            raise SystemExit("cannot describe admin.proto: protoc failed")
        return descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file[0]


def _commands(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if not isinstance(command, click.Group):
        yield words, re.search(r"JSON: (.*)", command.epilog or "")[1]
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        yield from _commands(command.get_command(context, name), (*words, name))


def _reachable(names: Iterable[str], messages: dict) -> list[str]:
    """The named messages and those inside them, in the order in which a reader meets them."""
    found: dict[str, None] = {}
    waiting = [name for name in names if name in messages]
    while waiting:
        name = waiting.pop(0)
        if name in found:
            continue
        found[name] = None
        waiting += [kind for field in messages[name][1].field if (kind := field.type_name.split(".")[-1]) in messages]
    return list(found)


def _message(message, index: int, comments: dict, messages: dict) -> str:
    lines = [f"\n### {message.name}\n"]
    if about := comments.get((4, index)):
        lines += [_flat(about) + "\n"]
    lines += ["| field | value | meaning |", "|---|---|---|"]
    for place, field in enumerate(message.field):
        lines.append(
            f"| `{field.name}` | {_kind(field, message, messages)} | {_flat(comments.get((4, index, 2, place), ''))} |"
        )
    return "\n".join(lines)


def _kind(field, message, messages: dict) -> str:
    name = field.type_name.split(".")[-1]
    nested = {entry.name: entry for entry in message.nested_type}
    if name in nested:
        return "object: name to text"
    if field.type == field.TYPE_ENUM:
        enum = admin_pb2.DESCRIPTOR.enum_types_by_name[name]
        text = ", ".join(f"`{word(enum, value.number)}`" for value in enum.values)
    else:
        text = _linked(name, messages) if name else _NUMBERS[field.type]
    if field.label == field.LABEL_REPEATED:
        return f"list of {text}"
    unset = field.proto3_optional or (name in messages) or field.HasField("oneof_index")
    return f"{text}, or null" if unset else text


def _linked(text: str, messages: dict) -> str:
    return re.sub(r"\b[A-Z]\w+", lambda found: f"[{found[0]}](#{found[0].lower()})" if found[0] in messages else found[0], text)


def _flat(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    if "--write" in sys.argv:
        TARGET.parent.mkdir(exist_ok=True)
        TARGET.write_text(reference(), "utf-8")
    else:
        print(reference(), end="")
