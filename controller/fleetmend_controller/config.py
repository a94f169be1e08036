"""The controller's configuration file, `/etc/fleetmend/controller.yaml`: strict, all errors at once, every key optional."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from .alertmanager.settings import AlertmanagerIn, read_alertmanager
from .gateway.looking import LOOKING, Looking, read_looking
from .handover.routing import Notify, read_notify
from .hands import DrainHook
from .hands._drain import read_drain
from .options import Address, Problems, Reader, address, duration, items, path, text, whole

DEFAULT_PATH = Path("/etc/fleetmend/controller.yaml")
FILE_BYTES_MAX = 64 * 1024
LISTEN, ENROL_LISTEN, METRICS_LISTEN = Address("::", 7443), Address("::", 7444), Address("127.0.0.1", 7480)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]{0,252}")


class ConfigError(ValueError):
    """What is wrong with the file, one line an error: `file:line:col: cannot ...: why`."""


@dataclass(frozen=True, slots=True)
class Config:
    """Where the controller listens and keeps its things.

    `names` are further DNS names and addresses in the server certificate; clients of Fleetmend need none of them.
    A host is silent when `missed_heartbeats` intervals passed without a word of it. Without `notify` nobody is told of anything
    but by log and list; without `alertmanager` no alerts are taken.
    """

    listen: Address = LISTEN
    enrol_listen: Address = ENROL_LISTEN
    metrics_listen: Address = METRICS_LISTEN
    admin_socket: Path = Path("/run/fleetmend-controller/admin.sock")
    state_dir: Path = Path("/var/lib/fleetmend")
    rules_dirs: tuple[Path, ...] = (Path("/etc/fleetmend/rules"),)
    database: str = ""
    heartbeat_interval_ms: int = 10_000
    missed_heartbeats: int = 3
    names: tuple[str, ...] = field(default=())
    notify: Notify | None = None
    alertmanager: AlertmanagerIn | None = None
    witness: Looking = LOOKING
    bmc_file: Path = Path("/etc/fleetmend/bmc.yaml")
    drain: DrainHook | None = None

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL; SQLite in the state directory unless the file says otherwise."""
        return self.database or f"sqlite:///{self.state_dir / 'fleetmend.db'}"

    @property
    def silent_after_ms(self) -> int:
        """How long a host may say nothing."""
        return self.heartbeat_interval_ms * self.missed_heartbeats

    @property
    def start_grace_ms(self) -> int:
        """How long hosts have to come back after the controller started before they can be declared silent."""
        return max(60_000, 6 * self.heartbeat_interval_ms)


def load_config(path: Path = DEFAULT_PATH) -> Config:
    """Read the file; ConfigError names every mistake in it. An absent file at the default path means all defaults."""
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError as error:
        if path == DEFAULT_PATH:
            return Config()
        raise ConfigError(f"cannot read {path}: there is no such file; name the right one with --config") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    if len(text) > FILE_BYTES_MAX:
        raise ConfigError(f"cannot read {path}: larger than {FILE_BYTES_MAX} bytes")
    try:
        return parse_config(text.decode(), str(path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read {path}: not UTF-8 at byte {error.start}") from error


def parse_config(text: str, name: str = "controller.yaml") -> Config:
    """As `load_config`, for text at hand."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise ConfigError(f"{where}: cannot read the file: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{name}:1:1: cannot read the file: not YAML") from error
    if root is None:
        return Config()
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{name}:1:1: cannot read the file: it must be a mapping of settings")
    values, errors = _read_settings(root, name)
    if errors:
        raise ConfigError("\n".join(errors))
    return Config(**values)


def _read_settings(root: yaml.MappingNode, name: str) -> tuple[dict[str, Any], list[str]]:
    values: dict[str, Any] = {}
    errors: list[str] = []
    for key_node, value_node in root.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else ""
        where = f"{name}:{key_node.start_mark.line + 1}:{key_node.start_mark.column + 1}"
        setting = SETTINGS.get(key)
        if setting is None:
            errors.append(f"{where}: cannot use {key!r}: unknown setting; known are {', '.join(sorted(SETTINGS))}")
            continue
        attribute, read = setting
        if attribute in values:
            errors.append(f"{where}: cannot use {key!r}: given twice")
            continue
        try:
            values[attribute] = read(value_node)
        except Problems as error:
            found = sorted(error.found, key=lambda problem: problem[0].start_mark.index)
            marks = ((place.start_mark, said) for place, said in found)
            errors += [f"{name}:{mark.line + 1}:{mark.column + 1}: cannot use {key!r}: {said}" for mark, said in marks]
        except ValueError as error:
            mark = value_node.start_mark
            errors.append(f"{name}:{mark.line + 1}:{mark.column + 1}: cannot use {key!r}: {error}")
    return values, errors


def _database(node: yaml.Node) -> str:
    url = text(node)
    if not url.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise ValueError("it must be a URL that begins with sqlite:/// or postgresql+psycopg://")
    return url


def _paths(node: yaml.Node) -> tuple[Path, ...]:
    return tuple(path(item) for item in items(node))


def _names(node: yaml.Node) -> tuple[str, ...]:
    names = tuple(text(item) for item in items(node))
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is neither a DNS name nor an address")
    return names


# What may stand in the file: the name there, the attribute of Config, and how it is read.
SETTINGS: dict[str, tuple[str, Reader]] = {
    "listen": ("listen", address),
    "enrol_listen": ("enrol_listen", address),
    "metrics_listen": ("metrics_listen", address),
    "admin_socket": ("admin_socket", path),
    "state_dir": ("state_dir", path),
    "rules_dirs": ("rules_dirs", _paths),
    "database": ("database", _database),
    "heartbeat_interval": ("heartbeat_interval_ms", duration("200ms", "10m")),
    "missed_heartbeats": ("missed_heartbeats", whole(2, 100)),
    "names": ("names", _names),
    "notify": ("notify", read_notify),
    "alertmanager": ("alertmanager", read_alertmanager),
    "witness": ("witness", read_looking),
    "bmc_file": ("bmc_file", path),
    "drain": ("drain", read_drain),
}
