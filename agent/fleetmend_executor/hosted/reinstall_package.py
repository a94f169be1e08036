"""`reinstall_package NAME VERSION [over]`: installs that version anew, if it or none is installed, and nothing else.

With `over` it takes the place of any other version, older or newer, and only then: that is another action.

apt says first what it would do: another package or version in that is the end of it. A hold stays a hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..actions import Refused
from ..run import ActionFailed
from . import Verb, _dpkg

OVER = "over"
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]{1,99}")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+:~-]{0,99}")
_STEP = re.compile(r"^(Inst|Remv|Purg) (\S+)(?: \[[^\]]*\])?(?: \((\S+))?", re.MULTILINE)
_APT = (
    *("apt-get", "--yes", "--quiet=2", "--no-remove", "--no-install-recommends", "--allow-change-held-packages"),
    *("-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold", "-o", "DPkg::Lock::Timeout=5"),
    *("-o", "Dpkg::Use-Pty=0"),
)


def _run(arguments: tuple[str, ...]) -> Iterable[str]:
    over = arguments[2:] == (OVER,)
    fits = len(arguments) == 2 + over and _NAME.fullmatch(arguments[0]) and _VERSION.fullmatch(arguments[1])
    if not fits:
        raise Refused("bad_parameter", f"cannot install a package: its NAME and VERSION are needed, and {OVER} or nothing")
    name, version = arguments[:2]
    _dpkg.require_free()
    # Who removed a package took its hold with it.
    wanted, present = _dpkg.look_up(name) or ("install", version)
    if over and present == version:
        raise Refused("same_version", f"cannot put {name} {version} over another version: it or none is installed")
    if not over and present != version:
        raise Refused("other_version", f"cannot install {name} {version} anew: {present} is installed")
    what = ("install", "--allow-downgrades" if over else "--reinstall", f"{name}={version}")
    planned = _dpkg.run(*_APT, "--simulate", *what)
    judge(name, version, planned)
    done = _dpkg.run(*_APT, *what)
    yield done.output.strip()
    if wanted == "hold":
        _dpkg.run("apt-mark", "hold", name)
    if done.exit:
        raise ActionFailed("exit_status", f"cannot install {name} {version} anew: apt-get ended with {done.exit}")
    now = _dpkg.installed(name)
    if now != (wanted, version):
        text = f"cannot account for {name}: it is {now[0]} {now[1]} now, it was {wanted} {version}"
        raise ActionFailed("other_version", text)
    how = f"over {present}" if over else "anew"
    yield f"installed {name} {version} {how}" + (", on hold as before" if wanted == "hold" else "")


def judge(name: str, version: str, planned: _dpkg.Done) -> None:
    """Refused unless apt would do that one thing."""
    steps = _STEP.findall(planned.output)
    if planned.exit or not steps:
        last = planned.output.strip().rpartition("\n")[2]
        raise Refused("no_source", f"cannot install {name} {version} anew: apt has no way to: {last[:300]}")
    others = [f"{verb} {package} {its}" for verb, package, its in steps if (verb, package, its) != ("Inst", name, version)]
    if others:
        raise Refused("more_than_one", f"cannot install {name} {version} anew: apt would also do {'; '.join(others)[:300]}")


VERB = Verb("reinstall_package", "Install one version of a package anew.", _run)
