"""Files that decide who may do what belong to root and are written by root alone; those with secrets are read by nobody else.

Packages make them so, but no package manager tells when they are no longer.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from . import Check, CheckUnknown, Context, Field, Kind, Param, Result, Status

if TYPE_CHECKING:
    from ..host import Host

SECRET = (
    *("/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/sudoers", "/etc/security/opasswd"),
    *("/etc/ssh/ssh_host_rsa_key", "/etc/ssh/ssh_host_ecdsa_key", "/etc/ssh/ssh_host_ed25519_key"),
    *("/etc/krb5.keytab", "/root/.ssh/authorized_keys"),
)
GUARDED = (
    *("/etc/passwd", "/etc/group", "/etc/sudoers.d", "/etc/pam.d", "/etc/ssh/sshd_config", "/etc/ld.so.conf"),
    *("/etc/crontab", "/etc/cron.d", "/etc/systemd/system", "/usr/bin", "/usr/sbin"),
)
_BY_OTHERS = stat.S_IRWXO
_WRITTEN = stat.S_IWGRP | stat.S_IWOTH


def _run(context: Context) -> Iterable[Result]:
    host, params = context.host, context.params
    if not any(host.exists(path) for path in (*params["secret"], *params["guarded"])):
        raise CheckUnknown("cannot find any of the files that decide who may do what")
    bad = [*_exposed(host, params["secret"], secret=True), *_exposed(host, params["guarded"], secret=False)]
    count = len(params["secret"]) + len(params["guarded"])
    yield Result(Status.OK, f"{count} files that decide who may do what, {len(bad)} of them are exposed")
    yield from bad
    for key in context.known:
        if key and key not in {result.key for result in bad}:
            yield Result(Status.OK, f"{key} is root's alone", key, {"path": key, "what": ""})


def _exposed(host: Host, paths: Iterable[str], *, secret: bool) -> Iterator[Result]:
    """Links are followed: it is the file at the end that is read. What cannot be looked at is not there for others, either."""
    for path in paths:
        try:
            found = host.stat(path)
        except OSError:
            continue
        mode, words = stat.S_IMODE(found.st_mode), []
        if found.st_uid:
            words.append(f"belongs to user {found.st_uid}")
        if secret and mode & _BY_OTHERS:
            words.append("is open to every user")
        elif mode & _WRITTEN & ~(stat.S_IWGRP if found.st_gid == 0 else 0):
            words.append("may be written by others than root")
        if words:
            facts = {"path": path, "what": " and ".join(words), "mode": f"{mode:04o}"}
            yield Result(Status.CRIT, f"{path} {facts['what']} (mode {facts['mode']})", path, dict(facts))


def _watched(_host: Host, params: Mapping[str, Any]) -> Iterable[str]:
    return (*params["secret"], *params["guarded"])


CHECK = Check(
    name="exposed_files",
    summary="Files that decide who may do what are root's alone",
    run=_run,
    params=(
        Param("secret", Kind.TEXT_LIST, "nobody but root, and a group that root chose, may read these", default=list(SECRET)),
        Param("guarded", Kind.TEXT_LIST, "nobody but root may write these", default=list(GUARDED)),
    ),
    finding=(
        Field("path", Kind.TEXT, "the file or folder"),
        Field("what", Kind.TEXT, "in which way it is exposed; empty if it is not"),
        Field("mode", Kind.TEXT, "its mode, octal"),
    ),
    blocking=True,
    signal="inotify",
    watched=_watched,
    every_s=60.0,
)
