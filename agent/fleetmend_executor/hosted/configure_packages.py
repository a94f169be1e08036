"""`configure_packages all`: lets dpkg finish what was interrupted. Changed configuration files stay; nothing is removed."""

from __future__ import annotations

from collections.abc import Iterable

from ..actions import Refused
from ..run import ActionFailed
from . import Verb, _dpkg


def _run(arguments: tuple[str, ...]) -> Iterable[str]:
    if arguments != ("all",):
        raise Refused("bad_parameter", "cannot configure packages: say all")
    _dpkg.require_free()
    done = _dpkg.run("dpkg", *_dpkg.OPTIONS, "--configure", "--pending")
    yield done.output.strip()
    left = _dpkg.run("dpkg", "--audit").output.strip()
    if done.exit or left:
        last = (done.output.strip() or left).rpartition("\n")[2]
        raise ActionFailed("still_half_way", f"cannot configure everything: dpkg ended with {done.exit}: {last[:300]}")
    yield "all packages are configured"


VERB = Verb("configure_packages", "Let dpkg finish what was interrupted.", _run)
