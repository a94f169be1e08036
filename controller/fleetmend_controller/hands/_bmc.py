"""How the BMC of each host is reached, `/etc/fleetmend/bmc.yaml`: read at each use, passwords in files of their own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from ..core.model import Host
from ..options import Option, Problems, entries, flag, mapping, path, text, url

FILE_BYTES_MAX = 1024 * 1024
_PART = re.compile(r"\{host\.(name|labels\.([a-z][a-z0-9_-]{0,62}))\}")
_SAFE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?")


class BmcError(RuntimeError):
    """How a BMC is reached cannot be told; the text begins with `cannot` and says the way out."""


@dataclass(frozen=True, slots=True)
class Bmc:
    """One BMC. `system` is the id of its system, empty if it has only one."""

    url: str
    user: str
    password_file: Path
    system: str = ""
    ca_file: Path | None = None
    verify: bool = True


def _on(node: yaml.Node) -> dict[str, str]:
    return {name: text(value) for name, _, value in entries(node)}


_READ = mapping((
    Option("host", text, "name of the host"),
    Option("on", _on, "labels of the hosts"),
    Option("url", text, "address of the BMC; {host.name} and {host.labels.X} are filled in", required=True),
    Option("user", text, "user at the BMC", required=True),
    Option("password_file", path, "a file with the password", required=True),
    Option("system", text, "id of the system at the BMC, where it has several", ""),
    Option("ca_file", path, "certificates to trust instead of the system's"),
    Option("verify", flag, "false: any certificate is believed", True),
))  # fmt: skip


def find(file: Path, host: Host) -> Bmc:
    """The first entry that fits a host: by its name, or by its labels."""
    for number, node in enumerate(_entries(file), 1):
        try:
            entry = _READ(node)
        except ValueError as error:
            said = error.found[0][1] if isinstance(error, Problems) else str(error)
            raise BmcError(f"cannot use entry {number} of {file}: {said}") from error
        if (entry["host"] is None) == (entry["on"] is None):
            raise BmcError(f"cannot use entry {number} of {file}: say either host or on")
        fits = entry["host"] == host.name if entry["host"] is not None else _selects(entry["on"], host)
        if fits:
            filled = _filled(entry["url"], host, file)
            rest = {name: entry[name] for name in ("user", "password_file", "system", "ca_file", "verify")}
            return Bmc(filled, **rest)
    raise BmcError(f"cannot find the BMC of {host.name}: add it to {file}")


def _entries(file: Path) -> list[yaml.Node]:
    try:
        with file.open("rb") as opened:
            raw = opened.read(FILE_BYTES_MAX + 1)
        root = yaml.compose(raw.decode(), Loader=yaml.SafeLoader)
    except OSError as error:
        raise BmcError(f"cannot read {file}: {error.strerror}; it says how the BMCs are reached") from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise BmcError(f"cannot use {file}: {' '.join(str(error).split())}") from error
    if len(raw) > FILE_BYTES_MAX or not isinstance(root, yaml.SequenceNode):
        raise BmcError(f"cannot use {file}: it must be a list of entries, and not larger than 1 MiB")
    return list(root.value)


def _selects(labels: dict[str, str], host: Host) -> bool:
    return bool(labels) and all(host.labels.get(name) == value for name, value in labels.items())


def _filled(template: str, host: Host, file: Path) -> str:
    def value(found: re.Match[str]) -> str:
        word = host.name if found[1] == "name" else host.labels.get(found[2] or "", "")
        if not _SAFE.fullmatch(word):
            raise BmcError(f"cannot fill {found[0]} of {file} for {host.name}: {word[:80]!r} is no part of an address")
        return word

    filled = _PART.sub(value, template)
    try:
        return url(yaml.ScalarNode("tag:yaml.org,2002:str", filled))
    except ValueError as error:
        raise BmcError(f"cannot use the url {filled!r} of {file}: {error}") from error
