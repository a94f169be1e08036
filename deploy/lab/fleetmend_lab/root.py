"""The cached Debian root that all hosts share read-only, built once from the machine's own apt sources."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from .machine import LabError, remove_tree, run

SUITE = "bookworm"
BUILD_TIMEOUT_S = 900.0
# Raise it when the way the root is built changes: every cached root is then built anew.
RECIPE = "1"
PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "iproute2",
    "procps",
    "python3",
    "python3-venv",
    "ca-certificates",
    "kmod",
    "e2fsprogs",
    "util-linux",
    "netbase",
    "prometheus",
)
# What is installed for the controller's host only, or for an experiment, starts when somebody asks for it.
NOT_AT_BOOT = ("prometheus.service", "prometheus-node-exporter.service", "monit.service", "zabbix-agent2.service")


def ensure(cache: Path, extra_packages: tuple[str, ...] = ()) -> Path:
    """The cached root for these packages; builds it (about half a minute) if it is not there."""
    packages = sorted({*PACKAGES, *extra_packages})
    sources = machine_sources()
    key = hashlib.sha256("\n".join([RECIPE, SUITE, *packages]).encode()).hexdigest()[:12]
    root = cache / f"root-{key}"
    if root.is_dir():
        return root
    building = cache / f"building-root-{key}"
    remove_tree(building)
    building.mkdir(parents=True)
    options = _apt_options(building / "apt.conf")
    run(
        [
            *("setpriv", "--pdeathsig", "KILL", "mmdebstrap", "--variant=minbase", "--mode=root", "--quiet"),
            f"--include={','.join(packages)}",
            f"--aptopt={options}",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            *(SUITE, str(building / "root"), *sources),
        ],
        timeout_s=BUILD_TIMEOUT_S,
    )
    _settle(building / "root")
    (building / "root").rename(root)
    remove_tree(building)
    return root


def machine_sources() -> list[str]:
    """The machine's apt sources that carry this suite, as mmdebstrap takes them: files, or one-line entries."""
    directory = Path("/etc/apt/sources.list.d")
    deb822 = [str(path) for path in sorted(directory.glob("*.sources")) if _carries_suite(path.read_text())]
    one_line = [
        line
        for path in [Path("/etc/apt/sources.list"), *sorted(directory.glob("*.list"))]
        if path.is_file()
        for line in path.read_text().splitlines()
        if re.match(rf"deb\s+(\[.*\]\s+)?\S+\s+{SUITE}(-updates|-security|/updates)?\s", line)
    ]
    if not deb822 and not one_line:
        raise LabError(f"cannot build the hosts' root: no apt source of this machine carries {SUITE}; add one to {directory}")
    return [*deb822, *one_line]


def _carries_suite(text: str) -> bool:
    suites = re.findall(r"^Suites:(.*)$", text, flags=re.MULTILINE)
    return any(word.split("-")[0] == SUITE for line in suites for word in line.split())


def _apt_options(target: Path) -> Path:
    """How this machine reaches its sources (proxy, validity): the build must reach them in the same way."""
    lines = run(["apt-config", "dump", "Acquire"]).splitlines()
    wanted = re.compile(r"^Acquire::(http|https|Check-|Retries|ForceIPv)", flags=re.IGNORECASE)
    target.write_text("\n".join(line for line in lines if wanted.match(line)) + "\n")
    return target


def _settle(root: Path) -> None:
    """Makes the root anonymous, and keeps optional services from starting at boot."""
    (root / "etc/machine-id").write_text("")
    (root / "etc/apt/apt.conf.d/99mmdebstrap").unlink(missing_ok=True)
    for unit in NOT_AT_BOOT:
        for link in (root / "etc/systemd/system").glob(f"*.wants/{unit}"):
            link.unlink()
