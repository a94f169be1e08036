"""No package is left half-way: unpacked, half-configured or half-installed by something that was interrupted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..packagers import PACKAGE_MANAGERS, is_changing
from . import Check, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._dpkg import STATUS, UPDATES, just_written, packages, present

if TYPE_CHECKING:
    from ..host import Host

NAMES_MAX = 8
_HALF_WAY = frozenset({"half-configured", "half-installed", "unpacked", "triggers-awaited", "triggers-pending"})
_MANAGERS = PACKAGE_MANAGERS | {"unattended-upgr", "apt.systemd.dai"}


def _run(context: Context) -> Iterable[Result]:
    host = context.host
    if not present(host):
        return [Result(Status.OK, "no dpkg on this machine", finding=_facts([], "", ""))]
    half = {package.name: package.status for package in packages(host).values() if package.status in _HALF_WAY}
    broken = {p.name: "reinstreq" for p in packages(host).values() if p.flag == "reinstreq"}
    journal = _journal(host)
    wrong = sorted({*half, *broken})
    gauges = {"packages_half_way_value": float(len(wrong))}
    if not wrong and not journal:
        facts = _facts([], "", "")
        return [Result(Status.OK, f"all {len(packages(host))} packages are configured", finding=facts, gauges=gauges)]
    if manager := _at_work(host):
        # Half-way is where packages are while somebody installs them: as it was before, until that ends.
        before = context.known.get("", Status.OK)
        text = f"{manager} is at work; {len(wrong)} packages are half-way"
        return [Result(before, text, finding=_facts(wrong, "at-work", ""), gauges=gauges)]
    if just_written(host):
        before = context.known.get("", Status.OK)
        text = f"{len(wrong)} packages were half-way a moment ago"
        return [Result(before, text, finding=_facts(wrong, "at-work", ""), gauges=gauges)]
    # One that must be installed anew cannot be configured into health.
    remedy = "" if broken or any(half.get(name) == "half-installed" for name in wrong) else context.params["configure"]
    what = "reinstreq" if broken else next((half[name] for name in wrong), "interrupted")
    named = ", ".join(wrong[:NAMES_MAX]) or "dpkg itself"
    text = f"left half-way ({what}): {named}" + (f" and {len(wrong) - NAMES_MAX} more" if len(wrong) > NAMES_MAX else "")
    return [Result(Status.CRIT, text, finding=_facts(wrong, what, remedy), gauges=gauges)]


def _facts(wrong: list[str], what: str, remedy: str) -> dict[str, Scalar]:
    return {"packages": " ".join(wrong[:NAMES_MAX]), "what": what, "configure": remedy}


def _journal(host: Host) -> bool:
    """Whether dpkg was cut off before it wrote down what it had done."""
    try:
        return any(name.isdecimal() for name in host.listdir(UPDATES))
    except OSError:
        return False


def _at_work(host: Host) -> str:
    """A package manager that runs now. Asked only when something is half-way."""
    try:
        pids = [name for name in host.listdir("/proc") if name.isdecimal()]
    except OSError:
        return ""
    for pid in pids:
        try:
            name = host.read_text(f"/proc/{pid}/comm", 64).strip()
        except OSError:
            continue
        if name in _MANAGERS and is_changing(host, pid, name):
            return name
    return ""


CHECK = Check(
    name="package_state",
    summary="No package is left half-way by an interrupted installation",
    run=_run,
    params=(Param("configure", Kind.TEXT, "allowed: what is half-way may be configured, for the finding", default=""),),
    finding=(
        Field("packages", Kind.TEXT, "the packages that are half-way, the first few"),
        Field("what", Kind.TEXT, "unpacked, half-configured, half-installed, reinstreq, interrupted or at-work; empty: well"),
        Field("configure", Kind.TEXT, "allowed: configuring them is declared allowed, and can help"),
    ),
    gauges=(Gauge("packages_half_way_value", "packages that are half-way"),),
    blocking=True,
    signal="inotify",
    watched=lambda _host, _params: (STATUS,),
    every_s=10.0,
)
