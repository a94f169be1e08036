"""What dpkg knows, read from its files: no tool is run. Parsed again only when a file changed."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import CheckUnknown
from ._source import why

if TYPE_CHECKING:
    from ..host import Host

STATUS = "/var/lib/dpkg/status"
UPDATES = "/var/lib/dpkg/updates"
INFO = "/var/lib/dpkg/info"
STATUS_BYTES_MAX = 32 << 20
LIST_BYTES_MAX = 8 << 20
LISTS_MAX = 20_000
SETTLED_S = 5.0


@dataclass(frozen=True, slots=True)
class Package:
    """One paragraph of dpkg's status file. `status` is its third word: installed, half-configured, config-files ..."""

    name: str
    architecture: str
    wanted: str
    flag: str
    status: str
    version: str


def present(host: Host) -> bool:
    """Whether dpkg keeps this machine's packages."""
    return host.exists(STATUS)


def just_written(host: Host) -> bool:
    """Whether dpkg wrote its files so lately that it may be between two of its runs."""
    for path in (STATUS, UPDATES):
        try:
            if 0 <= host.wall_ms() / 1000 - host.stat(path).st_mtime < SETTLED_S:
                return True
        except OSError:
            continue
    return False


def packages(host: Host) -> Mapping[str, Package]:
    """By name; of several architectures, the one that is worse off. Raises CheckUnknown."""
    try:
        found = host.stat(STATUS)
        mark = (found.st_ino, found.st_size, found.st_mtime_ns)
        held: tuple[tuple[int, ...], Mapping[str, Package]] | None = host.kept.get("dpkg")
        if held is not None and held[0] == mark:
            return held[1]
        text = host.read_text(STATUS, STATUS_BYTES_MAX)
    except OSError as error:
        raise CheckUnknown(f"cannot read {STATUS}: {why(error)}") from error
    by_name: dict[str, Package] = {}
    for package in parse(text):
        if package.name not in by_name or package.status != "installed":
            by_name[package.name] = package
    host.kept["dpkg"] = (mark, by_name)
    return by_name


def parse(text: str) -> Iterable[Package]:
    """The packages of a status file; what is not wanted and not there is left out."""
    for paragraph in text.split("\n\n"):
        fields = dict.fromkeys(("Package", "Architecture", "Status", "Version"), "")
        for line in paragraph.split("\n"):
            name, colon, value = line.partition(": ")
            if colon and name in fields and not fields[name]:
                fields[name] = value.strip()
        words = fields["Status"].split()
        if fields["Package"] and len(words) == 3 and words[2] != "not-installed":
            # Thousands of packages share a few of these words: each is kept once.
            wanted, flag, status = map(sys.intern, words)
            yield Package(fields["Package"], sys.intern(fields["Architecture"]), wanted, flag, status, fields["Version"])


def info_file(host: Host, package: Package, kind: str) -> str:
    """The text of one of dpkg's lists about a package: `list` or `md5sums`. Raises OSError."""
    try:
        return host.read_text(f"{INFO}/{package.name}.{kind}", LIST_BYTES_MAX)
    except FileNotFoundError:
        return host.read_text(f"{INFO}/{package.name}:{package.architecture}.{kind}", LIST_BYTES_MAX)


def owned(host: Host, paths: Iterable[str]) -> set[str]:
    """Those of the paths that some package has in its list. Reads every list: only for what is rarely asked. Raises OSError."""
    # Searched as bytes: a list that is split into its lines would leave its thousands of pieces all over the memory.
    wanted = {b"\n%b\n" % name.encode("utf-8", "surrogateescape"): path for path in paths for name in _names(path)}
    found: set[str] = set()
    for name in sorted(host.listdir(INFO))[:LISTS_MAX]:
        if not name.endswith(".list"):
            continue
        try:
            listed = host.read_bytes(f"{INFO}/{name}", LIST_BYTES_MAX)
        except OSError:
            continue
        found.update(path for line, path in wanted.items() if line in listed or listed.startswith(line[1:]))
    return found


def _names(path: str) -> tuple[str, ...]:
    """Where /bin leads to /usr/bin, a package may still call a file by the old name."""
    short = path.removeprefix("/usr")
    return (path, short) if path.startswith(("/usr/bin/", "/usr/sbin/", "/usr/lib")) else (path,)
