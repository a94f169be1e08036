"""Failures as people meet them: a sentence that begins with `cannot`, the way out, and an exit code."""

from __future__ import annotations

import re
from typing import IO, Any

import click

from fleetmend.plain import plain_lines


class CliError(click.ClickException):
    """What went wrong, and what to do about it."""

    exit_code = 1

    def __init__(self, text: str, way_out: str = "") -> None:
        super().__init__(text)
        self.way_out = way_out

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it on standard error."""
        click.echo(f"fleetmend: {plain_lines(self.message)}", err=True, file=file)
        if self.way_out:
            click.echo(f"  {plain_lines(self.way_out)}", err=True, file=file)


class WrongUse(CliError):
    """The command, an option or the configuration cannot be right."""

    exit_code = 2


class Unreachable(CliError):
    """There is no answer from a controller."""

    exit_code = 3


def of_call(error: Any, address: str) -> CliError:
    """What a failed call means to the caller. `error` is a grpc.RpcError with code and details."""
    import grpc

    code, details = error.code(), (error.details() or "").strip()
    # A handler's own refusal begins with `cannot`; what gRPC itself says does not.
    answered = details.startswith("cannot")
    if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED} and not answered:
        return _unreachable(code is grpc.StatusCode.DEADLINE_EXCEEDED, details, address)
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return WrongUse(details)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return CliError("cannot do this: the controller is older than this program", "upgrade the controller")
    if code in {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED} and not answered:
        return CliError(
            f"cannot do this: the controller refuses it: {details}", "ask an admin for a certificate with the right role"
        )
    return CliError(details if answered else f"cannot do this: the controller says {code.name.lower()}: {details}")


def _unreachable(late: bool, details: str, address: str) -> CliError:
    cause = "no answer in time" if late else _cause(details)
    way_out = "is fleetmend-controller running there? Another one is named with --controller or --socket"
    lowered = details.lower()
    if "certificate" in lowered or "handshake" in lowered or "ssl" in lowered:
        way_out = "do --ca, --cert and --key belong to this controller, and is the certificate still in force?"
    return Unreachable(f"cannot reach the controller at {address}: {cause}", way_out)


def _cause(details: str) -> str:
    """The last part of gRPC's chain of causes says what happened."""
    known = (
        "connection refused",
        "no such file or directory",
        "permission denied",
        "connection reset by peer",
        "dns resolution failed",
    )
    lowered = details.lower()
    last = re.sub(r"^.*last error: (?:\w+: )?(?:\S+:\d+: )?", "", details)
    return next((cause for cause in known if cause in lowered), last.rstrip(".") or "no connection")
