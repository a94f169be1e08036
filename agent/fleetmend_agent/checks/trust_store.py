"""The bundle of CA certificates that programs trust: it is there, whole, and holds the declared CA."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import Check, CheckUnknown, Context, Field, Gauge, Kind, Param, Result, Scalar, Status
from ._source import why

if TYPE_CHECKING:
    from ..host import Host

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_BYTES_MAX = 8 * 1024 * 1024
# Where Debian says what its bundle is made of.
_SELECTED = "/etc/ca-certificates.conf"
_OWN_FOLDER = "/usr/local/share/ca-certificates"
_MADE_OF_THEM = "/etc/ssl/certs/ca-certificates.crt"


def _run(context: Context) -> Iterable[Result]:
    bundle: str = context.params["path"]
    finding: dict[str, Scalar] = {"path": bundle, "ca": context.params["ca"], "rebuild": context.params["rebuild"]}
    try:
        held = blocks(context.host.read_text(bundle, _BYTES_MAX))
    except FileNotFoundError:
        held = []
    except OSError as error:
        raise CheckUnknown(f"cannot read {bundle}: {why(error)}") from error
    wanted = _wanted(context)
    expected = _selected(context.host) if bundle == _MADE_OF_THEM else 0
    if not held:
        fault, text = "empty", f"{bundle} holds no certificate: no TLS connection can be trusted"
    elif None in held:
        fault, text = "broken", f"{bundle} breaks off in a certificate"
    elif not set(wanted) <= set(held):
        fault, text = "lacks_ca", f"{bundle} lacks the declared CA {context.params['ca']}"
    elif len(held) < expected:
        fault, text = "incomplete", f"{bundle} holds {len(held)} certificates of {expected} that are selected"
    else:
        fault, text = "", f"{bundle} holds {len(held)} certificates"
    finding["fault"] = fault
    return [
        Result(
            Status.CRIT if fault else Status.OK, text, finding=finding, gauges={"trusted_certificates_value": float(len(held))}
        )
    ]


def blocks(text: str) -> list[str | None]:
    """The certificates of a PEM text, each as one line; None for one that breaks off."""
    found: list[str | None] = []
    for part in text.split(_BEGIN)[1:]:
        body, end, _ = part.partition(_END)
        found.append("".join(body.split()) if end else None)
    return found


def _wanted(context: Context) -> list[str | None]:
    ca: str = context.params["ca"]
    if not ca:
        return []
    try:
        wanted = blocks(context.host.read_text(ca))
    except OSError as error:
        raise CheckUnknown(f"cannot read {ca}: {why(error)}") from error
    if not wanted:
        raise CheckUnknown(f"cannot find a certificate in {ca}")
    return wanted


def _selected(host: Host) -> int:
    """How many certificates Debian's bundle must hold at least: those that are switched on, and this host's own."""
    try:
        lines = host.read_text(_SELECTED).splitlines()
    except OSError:
        return 0
    selected = sum(1 for line in lines if line.strip() and line[0] not in "#!")
    try:
        own = sum(1 for name in host.listdir(_OWN_FOLDER) if name.endswith(".crt"))
    except OSError:
        own = 0
    # One that is named twice, or that a package no longer brings, is not a fault of the bundle.
    return (selected + own) * 9 // 10


CHECK = Check(
    name="trust_store",
    summary="The bundle of trusted CA certificates is whole and holds the declared CA",
    run=_run,
    params=(
        Param("path", Kind.TEXT, "the bundle", default=_MADE_OF_THEM),
        Param("ca", Kind.TEXT, "PEM file of a CA that it must hold; empty: none in particular", default=""),
        Param("rebuild", Kind.TEXT, "name of the host's command that makes it anew, for the finding", default=""),
    ),
    finding=(
        Field("path", Kind.TEXT, "the bundle"),
        Field("ca", Kind.TEXT, "the CA that it must hold"),
        Field("fault", Kind.TEXT, "what is wrong, empty if nothing: empty, broken, lacks_ca, incomplete"),
        Field("rebuild", Kind.TEXT, "the command that makes it anew, if one is declared"),
    ),
    gauges=(Gauge("trusted_certificates_value", "certificates in the bundle"),),
    blocking=True,
    signal="inotify",
    every_s=300.0,
)
