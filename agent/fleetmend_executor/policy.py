"""The host owner's policy file, `/etc/fleetmend/executor.yaml`: the last word on what may run here, whoever asks.

An action that the file does not list does not run. A file that cannot be read, or has one unknown word, permits nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from .globs import PatternError, check_path
from .policy_document import PolicyError, parsed, remembered
from .store import StateError, read_bounded

FILE_BYTES_MAX = 256 * 1024
COMMAND_TIMEOUT_S_MAX = 3600.0
COMMAND_OUTPUT_BYTES_MAX = 64 * 1024
_DURATIONS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Constraint(NamedTuple):
    """Within what an action may act: unit globs, unit globs excluded, path globs, names of commands. Empty: no limit."""

    units: tuple[str, ...] = ("*",)
    excluded: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


class NamedCommand(NamedTuple):
    """A command that the owner offers by name. Nothing of an order gets into its argument vector.

    `hosted`: systemd runs it outside the executor's sandbox, with root's powers and the host's network.
    """

    argv: tuple[str, ...]
    timeout_s: float = 60.0
    output_bytes_max: int = 16 * 1024
    hosted: bool = False


class AnsiblePlay(NamedTuple):
    """A playbook that the owner offers by name, with its variables. `program`: ansible-playbook, if it lies in an odd place."""

    playbook: str
    extra_vars: Mapping[str, Any] = MappingProxyType({})
    timeout_s: float = 600.0
    output_bytes_max: int = 32 * 1024
    program: str = ""


class HostPolicy(NamedTuple):
    """The file as values. `undeclared_units`: whether unit actions may touch units that no declaration names."""

    actions: Mapping[str, Constraint] = MappingProxyType({})
    commands: Mapping[str, NamedCommand] = MappingProxyType({})
    ansible: Mapping[str, AnsiblePlay] = MappingProxyType({})
    protected: tuple[str, ...] = ()
    undeclared_units: bool = False


def load(path: str, state_dir: str) -> HostPolicy:
    """Read and understand the file, or PolicyError. `state_dir` is where its values are remembered."""
    try:
        raw = read_bounded(path, FILE_BYTES_MAX)
    except OSError as error:
        raise PolicyError(f"cannot read {path}: {error.strerror}; nothing runs without it") from error
    except StateError as error:
        raise PolicyError(f"{error}; nothing runs until then") from error
    return _understood(remembered(raw, path, state_dir), path)


def parse(raw: bytes, name: str) -> HostPolicy:
    """The policy in a YAML text; `name` is how errors call it."""
    return _understood(parsed(raw, name), name)


def _understood(document: dict[str, Any], name: str) -> HostPolicy:
    _only(document, {"actions", "commands", "ansible", "protected", "undeclared"}, name)
    undeclared = document.get("undeclared", "refuse")
    if undeclared not in {"refuse", "allow"}:
        raise PolicyError(f"cannot use {name}: undeclared must be refuse or allow, not {undeclared!r}")
    actions, commands = _mapping(document, "actions", name), _mapping(document, "commands", name)
    try:
        return HostPolicy(
            {a: _constraint(given, f"{name}: actions.{a}") for a, given in actions.items()},
            {c: _command(given, f"{name}: commands.{c}") for c, given in commands.items()},
            {p: _play(given, f"{name}: ansible.{p}") for p, given in _mapping(document, "ansible", name).items()},
            tuple(p if "/" not in p else check_path(p) for p in _texts(document, "protected", name)),
            undeclared_units=undeclared == "allow",
        )
    except PatternError as error:
        raise PolicyError(f"cannot use {name}: {error}") from error


def _constraint(given: object, where: str) -> Constraint:
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise PolicyError(f"cannot use {where}: a mapping of constraints is needed, {{}} for none")
    _only(given, {"units", "except", "paths", "commands"}, where)
    return Constraint(
        units=_texts(given, "units", where) if "units" in given else ("*",),
        excluded=_texts(given, "except", where),
        paths=tuple(check_path(p) for p in _texts(given, "paths", where)),
        commands=_texts(given, "commands", where),
    )


def _command(given: object, where: str) -> NamedCommand:
    if not isinstance(given, dict):
        raise PolicyError(f"cannot use {where}: a mapping with argv is needed")
    _only(given, {"argv", "timeout", "output_bytes_max", "hosted"}, where)
    argv = _texts(given, "argv", where)
    if not argv or not argv[0].startswith("/") or any("\0" in word for word in argv):
        raise PolicyError(f"cannot use {where}: argv must be a list that begins with an absolute path")
    hosted = given.get("hosted", False)
    if not isinstance(hosted, bool):
        raise PolicyError(f"cannot use {where}: hosted must be true or false, not {str(hosted)[:80]!r}")
    timeout_s = _duration_s(given.get("timeout", "60s"), where)
    return NamedCommand(argv, timeout_s, _size(given.get("output_bytes_max", "16K"), where), hosted)


def _play(given: object, where: str) -> AnsiblePlay:
    if not isinstance(given, dict):
        raise PolicyError(f"cannot use {where}: a mapping with playbook is needed")
    _only(given, {"playbook", "extra_vars", "timeout", "output_bytes_max", "program"}, where)
    playbook, program, variables = given.get("playbook"), given.get("program", ""), given.get("extra_vars", {})
    for word, path in (("playbook", playbook), ("program", program or "/")):
        if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
            raise PolicyError(f"cannot use {where}: {word} must be an absolute path")
    if not isinstance(variables, dict) or not all(isinstance(name, str) for name in variables):
        raise PolicyError(f"cannot use {where}: extra_vars must be a mapping of names")
    try:
        json.dumps(variables)
    except (TypeError, ValueError) as error:
        raise PolicyError(f"cannot use {where}: extra_vars must be plain values: {error}") from error
    timeout_s = _duration_s(given.get("timeout", "10m"), where)
    return AnsiblePlay(str(playbook), variables, timeout_s, _size(given.get("output_bytes_max", "32K"), where), program)


def _duration_s(value: object, where: str) -> float:
    text = str(value)
    number = text.rstrip("mshd")
    unit = text[len(number) :]
    if not isinstance(value, str) or not number.isascii() or not number.isdigit() or unit not in _DURATIONS_S:
        raise PolicyError(f"cannot use {where}: {value!r} is not a duration such as 30s or 10m")
    seconds = int(number) * _DURATIONS_S[unit]
    if not 0 < seconds <= COMMAND_TIMEOUT_S_MAX:
        raise PolicyError(f"cannot use {where}: a timeout must be more than nothing and at most {COMMAND_TIMEOUT_S_MAX:.0f}s")
    return seconds


def _size(value: object, where: str) -> int:
    text = str(value)
    number = text.rstrip("KMG")
    unit = text[len(number) :]
    if isinstance(value, bool) or not number.isascii() or not number.isdigit() or unit not in _SIZES:
        raise PolicyError(f"cannot use {where}: {value!r} is not a size such as 16K")
    size = int(number) * _SIZES[unit]
    if not 0 < size <= COMMAND_OUTPUT_BYTES_MAX:
        raise PolicyError(f"cannot use {where}: output_bytes_max must be between 1 and {COMMAND_OUTPUT_BYTES_MAX}")
    return size


def _only(given: dict[Any, Any], allowed: set[str], where: str) -> None:
    unknown = [key for key in given if key not in allowed]
    if unknown:
        raise PolicyError(f"cannot use {where}: unknown key {str(unknown[0])[:80]!r}; known are {', '.join(sorted(allowed))}")


def _mapping(given: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    value = given.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise PolicyError(f"cannot use {where}: {key} must be a mapping of names")
    return value


def _texts(given: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = given.get(key)
    if value is None and key not in given:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise PolicyError(f"cannot use {where}: {key} must be a list of texts")
    return tuple(value)
