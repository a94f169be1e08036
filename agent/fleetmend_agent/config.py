"""The agent's own settings, from one small YAML file. Everything about checks comes from the controller, not from here."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmend.catalogue import parse_duration_ms

if TYPE_CHECKING:
    from yaml.nodes import MappingNode, Node

DEFAULT_PATH = Path("/etc/fleetmend/agent.yaml")
LINK_PORT = 7443
ENROLL_PORT = 7444
CONFIG_BYTES_MAX = 64 * 1024
# Sooner than this a restart of the controller would look like its absence.
ALONE_AFTER_MS_MIN = 1_000

_SIZE = re.compile(r"^(\d{1,12})([KMG]?)$")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_TEXT_KEYS = ("controller", "state_dir", "executor_socket", "dbus_socket")
_ROOT_KEYS = ("proc", "sys", "etc", "root", "tools", "kmsg", "overlay")


class ConfigError(ValueError):
    """The file cannot be used; every line of the text is one error as `file:line:col: cannot ...`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What one agent needs to know of itself. Addresses are `host:port`; `roots` holds what differs from the machine's own.

    `report_presence`: tell the controller who is logged in at a terminal, so that it stays out of their way.
    `alone_after_ms`: how long no controller must have been heard before a permit may be used.
    """

    controller: str = ""
    enroll_port: int = ENROLL_PORT
    state_dir: str = "/var/lib/fleetmend-agent"
    executor_socket: str = "/run/fleetmend/executor.sock"
    dbus_socket: str = "/run/dbus/system_bus_socket"
    outbox_bytes_max: int = 16 << 20
    report_presence: bool = True
    alone_after_ms: int = 10_000
    roots: dict[str, str] = field(default_factory=dict)

    @property
    def enroll_address(self) -> str:
        """Where joining is served: the controller's host, on the enrolment port."""
        return f"{split_address(self.controller, LINK_PORT)[0]}:{self.enroll_port}"


def split_address(text: str, port_default: int) -> tuple[str, int]:
    """Host and port of `host`, `host:port` or `[v6]:port`. Raises ValueError with a sentence."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?", text)
    if match is None:
        raise ValueError(f"cannot read address {text!r}: write host or host:port")
    port = int(match.group(2) or port_default)
    if not 0 < port < 65536:
        raise ValueError(f"cannot read address {text!r}: the port must be 1 to 65535")
    return match.group(1), port


def load(path: Path) -> Settings:
    """Reads and validates a settings file. Raises ConfigError with all errors at once."""
    import yaml

    try:
        text = path.read_bytes()[: CONFIG_BYTES_MAX + 1].decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}:1:1: cannot read the settings: {error}") from error
    if len(text) > CONFIG_BYTES_MAX:
        raise ConfigError(f"{path}:1:1: cannot read the settings: larger than {CONFIG_BYTES_MAX} bytes")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        at = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
        raise ConfigError(f"{path}:{at}: cannot read the settings: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:
        # Control characters, or brackets without end: the library knows no place.
        raise ConfigError(f"{path}:1:1: cannot read the settings: {str(error).splitlines()[0]}") from error
    return _Reader(str(path)).settings(node)


def load_apart(path: Path) -> Settings:
    """As `load`, in a forked child, so that the YAML library never becomes resident. Call it before any thread exists."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        _answer_and_exit(path, write_end)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    document = json.loads(answer) if answer else {"error": f"{path}:1:1: cannot read the settings: the reader died"}
    if "error" in document:
        raise ConfigError(document["error"])
    return Settings(**document)


def _answer_and_exit(path: Path, pipe: int) -> None:
    try:
        document: dict[str, Any] = asdict(load(path))
    except ConfigError as error:
        document = {"error": str(error)}
    try:
        with os.fdopen(pipe, "wb") as stream:
            stream.write(json.dumps(document).encode())
        sys.stderr.flush()
    finally:
        os._exit(0)


class _Reader:
    """Walks the node tree and gathers every error before it gives up."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._errors: list[str] = []

    def settings(self, root: Node | None) -> Settings:
        from yaml.nodes import MappingNode

        values: dict[str, Any] = {}
        if root is not None and not isinstance(root, MappingNode):
            self._error(root, "cannot read the settings: the file must be a mapping")
        if isinstance(root, MappingNode):
            values = self._mapping(root, self._value)
        if not self._errors and not values.get("controller"):
            self._errors.append(f"{self._path}:1:1: cannot use the settings: `controller: host:port` is missing")
        if self._errors:
            raise ConfigError("\n".join(self._errors))
        if "alone_after" in values:
            values["alone_after_ms"] = values.pop("alone_after")
        return Settings(**values)

    def _mapping(self, node: MappingNode, read: Any) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if key in values:
                self._error(key_node, f"cannot use {key!r}: it is given twice")
                continue
            values[key] = read(key, key_node, value_node)
        return values

    def _value(self, key: str, key_node: Node, node: Node) -> Any:
        from yaml.nodes import MappingNode, ScalarNode

        if key == "roots" and isinstance(node, MappingNode):
            return self._mapping(node, self._root)
        known = (*_TEXT_KEYS, "enroll_port", "outbox_bytes_max", "report_presence", "alone_after", "roots")
        if key not in known:
            self._error(key_node, f"cannot use {key!r}: unknown key, known are {', '.join(known)}")
            return None
        if not isinstance(node, ScalarNode) or key == "roots":
            self._error(node, f"cannot use {key!r}: it must be a {'mapping' if key == 'roots' else 'single value'}")
            return None
        return self._scalar(key, node)

    def _scalar(self, key: str, node: Any) -> Any:
        text = str(node.value)
        try:
            if key == "controller":
                host, port = split_address(text, LINK_PORT)
                return f"{host}:{port}"
            if key == "enroll_port":
                return split_address(f"host:{text}", ENROLL_PORT)[1]
            if key == "outbox_bytes_max":
                return parse_size(text)
            if key == "report_presence":
                return parse_flag(text)
            if key == "alone_after":
                return parse_alone_after(text)
        except ValueError as error:
            self._error(node, str(error))
            return None
        if not text.startswith("/"):
            self._error(node, f"cannot use {key!r}: {text!r} is not an absolute path")
        return text

    def _root(self, key: str, key_node: Node, node: Any) -> str:
        if key not in _ROOT_KEYS:
            self._error(key_node, f"cannot use root {key!r}: known are {', '.join(_ROOT_KEYS)}")
        if not str(node.value).startswith("/"):
            self._error(node, f"cannot use root {key!r}: it must be an absolute path")
        return str(node.value)

    def _error(self, node: Node, text: str) -> None:
        mark = node.start_mark
        self._errors.append(f"{self._path}:{mark.line + 1}:{mark.column + 1}: {text}")


def parse_alone_after(text: str) -> int:
    """A duration of at least a second, in milliseconds. Raises ValueError with a sentence."""
    try:
        duration_ms = parse_duration_ms(text)
    except ValueError:
        duration_ms = 0
    if duration_ms < ALONE_AFTER_MS_MIN:
        raise ValueError(f"cannot read {text!r} as a duration of at least 1s: write it like 10s or 2m")
    return duration_ms


def parse_flag(text: str) -> bool:
    """True or false, written so. Raises ValueError with a sentence."""
    if text not in {"true", "false"}:
        raise ValueError(f"cannot read {text!r} as a flag: write true or false")
    return text == "true"


def parse_size(text: str) -> int:
    """Bytes of `64K`, `16M`, `1G` or a plain number (binary units). Raises ValueError with a sentence."""
    match = _SIZE.match(text)
    if match is None or int(match.group(1)) == 0:
        raise ValueError(f"cannot read size {text!r}: write a number with K, M or G, for example 16M")
    return int(match.group(1)) * _UNITS[match.group(2)]
