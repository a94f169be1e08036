"""`set_ownership PATH OWNER GROUP MODE RECREATE`: owner, group and mode of one path, `-` for as it is.

By handle, so that nothing is changed through a link, and nothing below it. RECREATE is `directory` or `-`.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from collections.abc import Iterable

from ..actions import Refused
from ..run import ActionFailed
from . import Verb
from ._folders import checked_path, look, open_folder, refuse_link

AS_IT_IS = "-"
_MODE = re.compile(r"[0-7]{3,4}")
_PATH_ONLY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def _run(arguments: tuple[str, ...]) -> Iterable[str]:
    if len(arguments) != 5:
        raise Refused("bad_parameter", "cannot set an owner: PATH OWNER GROUP MODE RECREATE are needed")
    path, owner, group, mode, recreate = arguments
    checked_path(path)
    if recreate not in {AS_IT_IS, "directory"} or (mode != AS_IT_IS and _MODE.fullmatch(mode) is None):
        raise Refused("bad_parameter", f"cannot set mode {mode[:20]!r}, recreate {recreate[:20]!r}")
    yield from put_right(path, _user(owner), _group(group), None if mode == AS_IT_IS else int(mode, 8), recreate == "directory")


def put_right(path: str, uid: int, gid: int, mode: int | None, recreate: bool) -> Iterable[str]:
    """-1 and None leave as it is."""
    folder, _, name = path.rpartition("/")
    fd = open_folder(folder)
    try:
        if look(name, fd) is None:
            if not recreate:
                raise ActionFailed("missing", f"cannot set the owner of {path}: it is not there; only folders are made anew")
            os.mkdir(name, 0o700, dir_fd=fd)
            os.fsync(fd)
            yield f"made the folder {path} anew"
        refuse_link(name, fd, path)
        handle = os.open(name, _PATH_ONLY, dir_fd=fd)
        try:
            yield _set(path, handle, uid, gid, mode)
        finally:
            os.close(handle)
    finally:
        os.close(fd)


def _set(path: str, handle: int, uid: int, gid: int, mode: int | None) -> str:
    """A handle without access opens no device and wakes no FIFO; /proc leads from it to the very same thing."""
    found = os.fstat(handle)
    if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
        raise Refused("not_a_file", f"cannot set the owner of {path}: it is neither a file nor a folder")
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        raise Refused("hard_link", f"cannot set the owner of {path}: the file has {found.st_nlink} names")
    here = f"/proc/self/fd/{handle}"
    os.chown(here, uid, gid)
    # A change of owner takes set-uid bits away, so the mode comes last.
    os.chmod(here, stat.S_IMODE(found.st_mode) if mode is None else mode)
    now = os.fstat(handle)
    before = f"{found.st_uid}:{found.st_gid} {stat.S_IMODE(found.st_mode):04o}"
    return f"{path} was {before} and is {now.st_uid}:{now.st_gid} {stat.S_IMODE(now.st_mode):04o}"


def _user(name: str) -> int:
    if name == AS_IT_IS or name.isdecimal():
        return -1 if name == AS_IT_IS else int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError) as error:
        raise Refused("bad_parameter", f"cannot set owner {name[:40]!r}: no such user here") from error


def _group(name: str) -> int:
    if name == AS_IT_IS or name.isdecimal():
        return -1 if name == AS_IT_IS else int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError) as error:
        raise Refused("bad_parameter", f"cannot set group {name[:40]!r}: no such group here") from error


VERB = Verb("set_ownership", "Give one path its owner, group and mode.", _run)
