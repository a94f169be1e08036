"""`hold_package NAME`: puts an installed package on hold."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..actions import Refused
from ..run import ActionFailed
from . import Verb, _dpkg

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]{1,99}")


def _run(arguments: tuple[str, ...]) -> Iterable[str]:
    if len(arguments) != 1 or _NAME.fullmatch(arguments[0]) is None:
        raise Refused("bad_parameter", "cannot hold a package: its NAME is needed")
    name = arguments[0]
    _dpkg.require_free()
    _dpkg.installed(name)
    done = _dpkg.run("apt-mark", "hold", name)
    if done.exit:
        raise ActionFailed("exit_status", f"cannot hold {name}: {' '.join(done.output.split())[:300]}")
    yield f"{name} is on hold"


VERB = Verb("hold_package", "Put a package on hold.", _run)
