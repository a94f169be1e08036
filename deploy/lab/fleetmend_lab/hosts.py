"""One host: its overlay, its container, its boot, commands inside it, its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from . import cgroups
from .machine import LabError, Process, children, run, unmount_below, wait_for
from .state import NETWORK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .state import Host, Lab

BOOT_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
LOOP_NODES = 32
# systemd-nspawn --keep-unit: the host asked for a reboot.
REBOOT_EXIT = 133
ENVIRONMENT = ["HOME=/root", "LANG=C.UTF-8", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]


def mount_root(lab: Lab, host: Host) -> Path:
    """Lays the host's own writable layer over the cached ones; returns the root."""
    directory = lab.host_directory(host.name)
    for part in ("upper", "work", "root"):
        (directory / part).mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={':'.join(host.layers)},upperdir={directory}/upper,workdir={directory}/work"
    run(["mount", "-t", "overlay", lab.tag, "-o", options, str(directory / "root")])
    return directory / "root"


def furnish(lab: Lab, host: Host, root: Path) -> None:
    """Gives the system what makes it this host: name, machine id, the others' names, device nodes for loop mounts."""
    (root / "etc/hostname").write_text(host.name + "\n")
    machine_id = uuid.uuid5(uuid.NAMESPACE_URL, f"{lab.directory}/{host.name}")
    (root / "etc/machine-id").write_text(machine_id.hex + "\n")
    names = [f"{other.address} {other.name}" for other in lab.hosts.values()]
    (root / "etc/hosts").write_text("\n".join(["127.0.0.1 localhost", f"{NETWORK}.1 outside", *names]) + "\n")
    nodes = [f"b /dev/loop{number} 0660 root disk - 7:{number}" for number in range(LOOP_NODES)]
    nodes.append("c /dev/loop-control 0660 root disk - 10:237")
    (root / "etc/tmpfiles.d/fleetmend-lab.conf").write_text("\n".join(nodes) + "\n")
    for part in ("console-getty.service", "systemd-networkd-wait-online.service"):
        mask = root / "etc/systemd/system" / part
        if not mask.is_symlink():
            mask.symlink_to("/dev/null")


def boot(lab: Lab, host: Host, *, binds: Sequence[tuple[Path, str]] = ()) -> None:
    """Starts the container and records its processes; `wait_ready` waits for the system inside."""
    root = lab.root_of(host.name)
    argv = [
        "systemd-nspawn",
        f"--directory={root}",
        "--register=no",
        *([] if cgroups.machine_manages() else ["--keep-unit"]),
        "--boot",
        "--quiet",
        f"--hostname={host.name}",
        f"--network-namespace-path=/run/netns/{lab.namespace_of(host.name)}",
        "--console=pipe",
        # As root has on a real server: links, routes and rules of its own namespace are its own to change.
        "--capability=CAP_NET_ADMIN",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        *(f"--bind-ro={source}:{target}" for source, target in binds),
    ]
    console = lab.host_directory(host.name) / "console.log"
    with console.open("ab") as out:
        child = subprocess.Popen(
            _in_own_group(lab, host, argv), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    host.nspawn = Process.of(child.pid)
    found: list[Process] = []

    def has_leader() -> bool:
        if child.poll() is not None:
            raise LabError(f"cannot boot {host.name}: {console.read_text(errors='replace')[-1000:]}")
        leader = _leader_of(child.pid)
        if leader is not None:
            found.append(leader)
        return bool(found)

    wait_for(has_leader, timeout_s=BOOT_TIMEOUT_S, what=f"the first process of {host.name}")
    host.leader = found[0]


def _in_own_group(lab: Lab, host: Host, argv: Sequence[str]) -> list[str]:
    """The command, begun by a small Python that first moves itself into the host's control group.

    There systemd-nspawn does not boot a host again that asks for a reboot: it ends, says so by its status, and is begun anew.
    """
    if cgroups.machine_manages():
        return list(argv)
    enter = (
        "import subprocess, sys; from fleetmend_lab import cgroups; cgroups.enter(sys.argv[1])\n"
        f"while (code := subprocess.call(sys.argv[2:])) == {REBOOT_EXIT}: pass\n"
        "sys.exit(code)"
    )
    python = ["env", f"PYTHONPATH={Path(__file__).resolve().parent.parent}", sys.executable, "-c", enter]
    return [*python, lab.namespace_of(host.name), *argv]


def _leader_of(nspawn: int) -> Process | None:
    beside = children(nspawn)
    for pid in [*beside, *(pid for child in beside for pid in children(child))]:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        numbers = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
        if len(numbers) > 1 and numbers[-1] == "1":
            return Process.of(pid)
    return None


def wait_ready(lab: Lab, host: Host) -> str:
    """Waits until systemd has finished booting; returns its word for it (running or degraded)."""
    words: list[str] = []

    def ready() -> bool:
        done = execute(host, ["systemctl", "is-system-running"], timeout_s=10)
        words.append(done.stdout.strip())
        return words[-1] in ("running", "degraded")

    what = f"systemd on {host.name} (see {lab.host_directory(host.name)}/console.log)"
    wait_for(ready, timeout_s=BOOT_TIMEOUT_S, what=what, every_s=0.2)
    return words[-1]


def follow(host: Host) -> None:
    """A host that rebooted by itself has another first process than the record says."""
    if host.running() or host.nspawn is None or not host.nspawn.alive():
        return
    host.leader = _leader_of(host.nspawn.pid) or host.leader


def enter_argv(host: Host, argv: Sequence[str]) -> list[str]:
    """The command that runs argv inside the host, as root, with a clean environment."""
    follow(host)
    if not host.running() or host.leader is None:
        raise LabError(f"cannot enter {host.name}: it does not run; boot it with: lab start {host.name}")
    return ["nsenter", f"--target={host.leader.pid}", "--all", "--", "env", "-i", *ENVIRONMENT, *argv]


def execute(host: Host, argv: Sequence[str], *, timeout_s: float = 60.0, text_in: str = "") -> subprocess.CompletedProcess[str]:
    """Runs a command inside the host to its end."""
    inside = enter_argv(host, argv)
    try:
        return subprocess.run(inside, input=text_in, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise LabError(f"cannot finish {' '.join(argv)} on {host.name}: still running after {timeout_s:g} s") from error


def must_execute(host: Host, argv: Sequence[str], *, timeout_s: float = 60.0, text_in: str = "") -> str:
    """As `execute`, but raises LabError with the command's last words if it fails."""
    done = execute(host, argv, timeout_s=timeout_s, text_in=text_in)
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise LabError(f"cannot run {' '.join(argv)} on {host.name}: exit {done.returncode}: {words}")
    return done.stdout


def power_off(host: Host) -> None:
    """Shuts the system down in good order."""
    if host.leader is None or host.nspawn is None:
        return
    host.leader.kill(signal.SIGRTMIN + 4)
    wait_for(lambda: not _reap(host), timeout_s=STOP_TIMEOUT_S, what=f"{host.name} to power off")
    host.leader = host.nspawn = None


def _reap(host: Host) -> bool:
    """Whether the container still runs; collects it if it was our own child."""
    if host.nspawn is None:
        return False
    with contextlib.suppress(ChildProcessError):
        os.waitpid(host.nspawn.pid, os.WNOHANG)
    return host.nspawn.alive()


def kill_containers(directory: Path) -> list[int]:
    """Ends every container whose root lies below this directory, recorded or not; returns the pids of their nspawn."""
    ended = []
    for nspawn in _containers_below(directory):
        for pid in children(nspawn.pid):
            leader = Process.of(pid)
            if leader is not None:
                leader.kill()
        nspawn.kill()
        ended.append(nspawn)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while any(nspawn.alive() for nspawn in ended):
        for nspawn in ended:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(nspawn.pid, os.WNOHANG)
        if time.monotonic() > deadline:
            raise LabError(f"cannot end the containers below {directory}: they outlive SIGKILL for {STOP_TIMEOUT_S:g} s")
        time.sleep(0.02)
    return [nspawn.pid for nspawn in ended]


def _containers_below(directory: Path) -> list[Process]:
    """Our own containers: the directory in their command line is this lab's, and no other lab has it."""
    prefix = f"--directory={directory}/".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        process = Process.of(int(entry.name))
        try:
            argv = (entry / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if process is not None and any(word.startswith(prefix) and word.endswith(b"/root") for word in argv):
            found.append(process)
    return found


def discard(lab: Lab) -> None:
    """Takes away all mounts of the lab's hosts."""
    unmount_below(lab.directory / "hosts")
