"""`fleetmend facts`: the newest inventory of a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from ..command import Session, command
from ..output import print_heading, print_pairs
from ..times import when
from ..wire import pb


def _run(session: Session, host: str, sections: tuple[str, ...]) -> None:
    answer = session.call("GetFacts", pb.GetFactsRequest(host=host, sections=sections))
    if session.output == "table":
        _print(answer, session.now_ms)
        return
    listed = [{"name": s.name, "at_ms": s.at_ms, "value": _value(s), "error": s.error} for s in answer.sections]
    session.show_value({"host_id": answer.host_id, "host_name": answer.host_name, "sections": listed})


def _print(answer: pb.GetFactsResponse, now_ms: int) -> None:
    if not answer.sections:
        click.echo("no inventory yet")
    for section in answer.sections:
        print_heading(f"{section.name}  {when(section.at_ms, now_ms)}")
        pairs = list(_leaves("", _value(section))) if section.json else []
        print_pairs([*pairs, *([("error", section.error)] if section.error else [])])


def _value(section: pb.FactsSection) -> Any:
    """The section as values; text that is no JSON as it is."""
    try:
        return json.loads(section.json) if section.json else None
    except ValueError:
        return section.json


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Every value of a document with its path: `cpus.0.model`."""
    if isinstance(value, dict) and value:
        for name in sorted(value):
            yield from _leaves(f"{path}.{name}" if path else str(name), value[name])
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for index, item in enumerate(value):
            yield from _leaves(f"{path}.{index}", item)
    elif isinstance(value, list):
        yield path, ", ".join(map(_show, value)) or "-"
    else:
        yield path, _show(value)


def _show(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


COMMAND = command(
    "facts",
    "Show the newest inventory of a host.",
    _run,
    params=[click.Argument(["host"]), click.Argument(["sections"], nargs=-1)],
    examples=["fleetmend facts web-3", "fleetmend facts web-3 kernel os", "fleetmend facts web-3 memory --output json"],
    json="{host_id, host_name, sections: [{name, at_ms, value, error}]}; value is the section as the host sent it",
)
