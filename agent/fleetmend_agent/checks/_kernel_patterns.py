"""Which records of the kernel tell a fault, and of what. Pure.

The words are the kernel's own, gathered from its sources and from the stock rules of node-problem-detector and others. A class
that one record proves is CRIT at once; one whose single records are harmless (a corrected bit, a flap of a link) counts them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Drives without a medium: what they say of errors is about nothing.
_NO_DISK = re.compile(r"(fd|sr)\d+")


@dataclass(frozen=True, slots=True)
class Pattern:
    """One kind of record. The group `device` names what is sick; `crit_from` records make the class CRIT, fewer are WARN."""

    kind: str
    what: str
    expression: re.Pattern[str]
    crit_from: int = 1


def _pattern(kind: str, what: str, *expressions: str, crit_from: int = 1) -> list[Pattern]:
    return [Pattern(kind, what, re.compile(expression), crit_from) for expression in expressions]


_IN_BRACKETS = r"\((?:device )?(?P<device>[^):]{1,64})"
_NAMED = r"(?P<device>\S{1,64})"
_DISK = r"(?P<device>[^,\s]{1,64})"

# The first that fits decides, so what is more special comes first.
PATTERNS: tuple[Pattern, ...] = (
    *_pattern(
        "oom_kill",
        "the kernel killed a process for memory",
        r"^oom-kill:constraint=",
        r"^(?:Memory cgroup out of memory|Out of memory(?: \(oom_kill_allocating_task\))?): Kill(?:ed)? process \d+",
    ),
    *_pattern(
        "soft_lockup",
        "a CPU is stuck",
        r"BUG: soft lockup - (?P<device>CPU#\d+)",
        r"hard LOCKUP on (?P<device>cpu \d+)",
        r"rcu_\w+ (?:self-)?detected (?:expedited )?stalls?",
    ),
    *_pattern("hung_task", "a task hangs in the kernel", r"INFO: task (?P<device>.{1,64}?):\d+ (?:<\S+> )?(?:is )?blocked "),
    *_pattern(
        "memory_uncorrected",
        "memory lost data",
        r"EDAC (?P<device>MC\d+): (?:\d+ )?UE\b",
        r"Memory failure: 0x[0-9a-f]+: ",
        r"\[Hardware Error\]: .*\bUncorrected\b",
    ),
    *_pattern(
        "hardware_error",
        "hardware reports an error that it could not correct",
        r"\[Hardware Error\]: event severity: (?:fatal|recoverable)",
        r"Machine check: ?(?:Processor context corrupt|.*[Ff]atal)",
        r"mce: \[Hardware Error\]: CPU \d+: Machine Check Exception",
        r"AER: (?:Multiple )?Uncorrect(?:ed|able) .*error.*: (?P<device>[0-9a-f:.]{7,12})",
        r"NMI: (?:PCI system error|IOCK error|memory parity error)",
    ),
    *_pattern(
        "hardware_corrected",
        "hardware corrects errors again and again",
        r"EDAC (?P<device>MC\d+): (?:\d+ )?CE\b",
        r"\[Hardware Error\]: (?:event severity: corrected|Corrected error|Machine check events logged)",
        crit_from=20,
    ),
    *_pattern(
        "mounted_readonly",
        "a filesystem was turned read-only",
        rf"(?:EXT[234]-fs|F2FS-fs|FAT-fs|NILFS|JFS|OCFS2|GFS2)[: ]*{_IN_BRACKETS}\).*[Rr]emounting filesystem read-only",
        rf"{_NAMED}: Remounting filesystem read-only",
        rf"BTRFS.*{_IN_BRACKETS}.*forced readonly",
    ),
    *_pattern(
        "filesystem_error",
        "a filesystem is damaged",
        rf"(?:EXT[234]|F2FS|FAT|OCFS2|NILFS)-fs error {_IN_BRACKETS}\)",
        rf"EXT[234]-fs {_IN_BRACKETS}\): (?:Delayed block allocation failed|failed to convert unwritten|error count since)",
        r"Aborting journal on device (?P<device>\S{1,64}?)(?:-\d+)?\.?$",
        r"JBD2: .*[Ee]rror.*(?:on|for) (?P<device>\S{1,64}?)(?:-\d+)?[.:]?$",
        rf"XFS {_IN_BRACKETS}\): .*(?:[Cc]orruption|[Ss]hutting down|[Ss]hutdown|Internal error|I/O error)",
        rf"BTRFS:? (?:error|critical) {_IN_BRACKETS}",
        r"(?:SQUASHFS|EROFS|erofs).*(?:error|corrupt)",
        r"overlayfs: .*(?:corrupt|invalid (?:origin|redirect|metacopy)|failed to (?:resolve|decode) )",
    ),
    *_pattern(
        "disk_error",
        "a disk fails to read or write",
        rf"Buffer I/O error on (?:dev|device) {_DISK}",
        rf"(?:I/O|critical (?:medium|target|nexus)|protection|device (?:resource|offline)) error, dev {_DISK},? sector",
        rf"lost (?:async )?page write due to I/O error on {_DISK}",
        r"rejecting I/O to (?:offline|dead) device",
        r"nvme (?P<device>nvme\d+): (?:controller is down|Removing after probe failure|Device not ready)",
        r"nvme (?P<device>nvme\d+): I/O .*timeout, (?:aborting|reset|disable)",
        r"(?P<device>ata\d+(?:\.\d+)?): (?:failed command|hard resetting link failed|device reported invalid|disabled)",
        r"sd \S{1,32} \[(?P<device>\w{1,32})\] .*Sense Key : (?:Medium Error|Hardware Error|Aborted Command)",
        r"md/raid[^:]*:(?P<device>[^:]{1,64}): .*Disk failure",
        r"device-mapper: (?:multipath|thin|raid|cache|integrity).*(?:[Ff]ailing path|[Ff]ailed|out of (?:data|metadata) space)",
    ),
    *_pattern(
        "network_timeout",
        "a network card hangs",
        r"NETDEV WATCHDOG: .*?(?P<device>\S{1,32}) \(.*\).*transmit queue \d+ timed out",
        rf"{_NAMED}: (?:Detected (?:Tx|Hardware) Unit Hang|transmit timed out|TX timeout detected|tx timeout)",
        rf"{_NAMED}: (?:device's health compromised|Fatal (?:fw|firmware) error|firmware (?:crash|hang|error))",
    ),
    *_pattern(
        "table_full",
        "a table of the kernel is full",
        r"(?P<device>nf_conntrack): (?:\S+ )?table full, dropping packet",
        r"[Nn]eighbour.*table overflow",
        r"VFS: (?P<device>file-max) limit \d+ reached",
        r"(?P<device>TCP): out of memory -- consider tuning tcp_mem",
    ),
    *_pattern(
        "network_stuck",
        "a network device cannot be removed",
        r"unregister_netdevice: waiting for (?P<device>\S{1,32}) to become free",
        crit_from=3,
    ),
    *_pattern(
        "network_reset",
        "a network card resets or loses its link again and again",
        r"(?P<device>(?:eth|en|em|ib|bond|wl)\S{0,28}?):? (?:\S{1,32}: )?(?:NIC )?[Ll]ink is [Dd]own",
        rf"{_NAMED}: (?:Reset adapter|Resetting adapter)",
        crit_from=5,
    ),
    *_pattern(
        "server_silent",
        "a file server does not answer",
        r"nfs: server (?P<device>\S{1,64}) not responding",
        r"CIFS: VFS: \\\\(?P<device>\S{1,64}) has not responded in \d+ seconds",
        r"(?P<device>rbd\d+|libceph): .*(?:socket closed|connect error|osd\d+ down)",
        crit_from=3,
    ),
    *_pattern(
        "thermal",
        "the CPU is slowed down by heat",
        r"(?P<device>CPU\d+): (?:Core|Package) temperature (?:is )?above threshold",
        crit_from=3,
    ),
    *_pattern(
        "allocation_failed", "the kernel finds no memory for itself", r"page allocation failure: order:\d+", crit_from=20
    ),
    # Last: its words are the widest.
    *_pattern(
        "kernel_bug",
        "the kernel failed",
        r"^(?:\S{1,32}: )?BUG: (?!using |sleeping |workqueue |scheduling while|non-zero|MAX_)",
        r"kernel BUG at ",
        r"^(?:Oops|Internal error): ",
        r"^(?:general protection fault|divide error|invalid opcode|stack segment|double fault)[,:]",
        r"^Unable to handle kernel ",
        r"Kernel panic - not syncing",
    ),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """What one record tells."""

    pattern: Pattern
    device: str


def judge(text: str) -> Fault | None:
    """The fault that a record of the kernel tells; None for all the others."""
    for pattern in PATTERNS:
        found = pattern.expression.search(text)
        if found is not None:
            device = (found.groupdict().get("device") or "").strip()
            return None if _NO_DISK.fullmatch(device) else Fault(pattern, device)
    return None
