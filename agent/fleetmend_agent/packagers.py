"""Package managers at work: which processes change what is installed, and which only ask."""

from __future__ import annotations

from .host import Host

# As the kernel names them, at most 15 characters. Not the resident ones (packagekitd, unattended-upgrade-shutdown): what they
# do, they do by these.
PACKAGE_MANAGERS = frozenset(
    ("apt", "apt-get", "aptitude", "dpkg", "dnf", "dnf5", "dnf-3", "microdnf", "rpm", "yum", "zypper", "pacman", "apk")
)
# Where systemd puts what the executor has it run outside the sandbox, and what the agent asks.
OWN_GROUPS = ("/fleetmend-repair-", "/fleetmend-agent.service")
COMMAND_BYTES_MAX = 4096

# By tool, options with which it changes nothing; for all others the last ones.
_ASKING = {
    "dpkg": frozenset(
        (
            *("--audit", "-C", "--verify", "-V", "--list", "-l", "--status", "-s", "--listfiles", "-L", "--search", "-S"),
            *("--print-architecture", "--print-foreign-architectures", "--get-selections", "--compare-versions", "-p"),
        )
    ),
    "rpm": frozenset(("-q", "-qa", "-qf", "-qi", "-ql", "--query", "-V", "-Va", "--verify")),
}
_SIMULATING = frozenset(("-s", "--simulate", "--dry-run", "--just-print", "--no-act", "--recon", "--version", "--help"))
_ASKING_WORDS = frozenset(
    ("list", "show", "search", "policy", "depends", "rdepends", "changelog", "info", "repolist", "check-update", "indextargets")
)


def is_changing(host: Host, pid: str, name: str) -> bool:
    """Whether a package manager's process, none of Fleetmend's own, may change something. One that is gone does not."""
    try:
        groups = host.read_text(f"/proc/{pid}/cgroup", 64 * 1024)
    except OSError:
        groups = ""
    if any(own in groups for own in OWN_GROUPS):
        return False
    try:
        words = host.read_text(f"/proc/{pid}/cmdline", COMMAND_BYTES_MAX).split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    except OSError:
        return True
    arguments = words[1:]
    if not words[0]:
        # It ended, and nobody has taken note yet.
        return False
    if name in _ASKING:
        return not any(argument in _ASKING[name] for argument in arguments)
    return not (any(argument in _SIMULATING for argument in arguments) or any(a in _ASKING_WORDS for a in arguments[:1]))
