"""The checks, one file each. Each declares `CHECK = Check(...)`; the folder listing is the feature list."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import TYPE_CHECKING, Any

from fleetmend.catalogue import ParamSpec, validate

if TYPE_CHECKING:
    from ..host import Host

Scalar = str | int | float | bool


@unique
class Status(Enum):
    """What a check says. UNKNOWN is never OK."""

    OK = "ok"
    WARN = "warn"
    CRIT = "crit"
    UNKNOWN = "unknown"


@unique
class Kind(Enum):
    """How a parameter is written in YAML and carried on the wire.

    DURATION is written `30s` or `10m` and carried as integer milliseconds; SIZE is written `500M` and carried as integer bytes.
    """

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    FLAG = "flag"
    DURATION = "duration_ms"
    SIZE = "size_bytes"
    TEXT_LIST = "text_list"


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter: required, or with a default. Limits are inclusive, and count for durations and sizes in ms and bytes."""

    name: str
    kind: Kind
    doc: str
    default: Any = None
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Field:
    """One typed fact in a check's finding."""

    name: str
    kind: Kind
    doc: str


@dataclass(frozen=True, slots=True)
class Gauge:
    """One number for Prometheus. The name ends with its base unit; the exposed name gets the prefix `fleetmend_`."""

    name: str
    doc: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a check says about one subject. `key` is empty for a check with a single subject."""

    status: Status
    summary: str
    key: str = ""
    finding: dict[str, Scalar] = field(default_factory=dict)
    gauges: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Context:
    """What a check is given.

    `fresh` asks for a reading from the source, not from a cache kept by events: it may become a proof. `known` holds the
    subjects of this check that the runner remembers, by key, with their last status (and the key it was asked about, UNKNOWN if
    new): a check that reports only what is wrong answers for these too, so that a repair is seen and can be proved. `memory`
    is the check's own, kept from run to run while the agent runs: earlier counters, to tell what happened since.
    """

    host: Host
    params: dict[str, Any]
    timeout_s: float
    fresh: bool = False
    known: Mapping[str, Status] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)


Run = Callable[[Context], Iterable[Result]] | Callable[[Context], Awaitable[Iterable[Result]]]


@dataclass(frozen=True, slots=True)
class Check:
    """One check type.

    `run` is a plain function or a coroutine function. `blocking`: the plain function may hang (a dead mount), so it runs on a
    worker thread that can be given up. A plain non-blocking function runs in the event loop and must return within a
    millisecond or so. `signal` names the file in signals/ whose events make the check run at once. Raising
    `CheckUnknown` gives UNKNOWN with its text for every known subject (the one without a key, if none is known); any other
    exception does too, and is counted as a defect. A gauge whose name ends with `*` stands for a family of names.

    With the signal `inotify`, events come for the parameter `path`, or for the paths that `watched(host, params)` names; one
    that ends with / means whatever is in that folder.
    """

    name: str
    summary: str
    run: Run
    params: tuple[Param, ...] = ()
    finding: tuple[Field, ...] = ()
    gauges: tuple[Gauge, ...] = ()
    blocking: bool = False
    signal: str = ""
    watched: Callable[[Host, Mapping[str, Any]], Iterable[str]] | None = None
    every_s: float = 30.0
    timeout_s: float = 10.0


def prepare(check: Check, given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters for one check, validated, with defaults filled in. Raises CheckUnknown with every error."""
    specs = [
        ParamSpec(p.name, p.kind.value, p.doc, p.default, p.required, p.minimum, p.maximum, p.choices) for p in check.params
    ]
    values, errors = validate(specs, given)
    if errors:
        raise CheckUnknown("; ".join(errors))
    return values


class CheckUnknown(Exception):
    """The check cannot judge; the text begins with `cannot`."""
