"""Where the controller is and how to reach it: its own socket, or mutual TLS with an operator's certificate."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import Unreachable, WrongUse

SOCKET = Path("/run/fleetmend-controller/admin.sock")
PORT = 7443
# The controller's certificate has this name whatever address leads to it.
CONTROLLER_NAME = "fleetmend-controller"
MESSAGE_BYTES_MAX = 64 * 1024 * 1024
_CONFIG_KEYS = ("controller", "ca", "certificate", "key")
_HOW = "name a controller with --controller, or run this on the controller's machine as root"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One controller: a Unix socket, or an address with the three files of mutual TLS."""

    socket: Path | None = None
    controller: str = ""
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @property
    def address(self) -> str:
        """As error messages name it."""
        return str(self.socket) if self.socket is not None else self.controller


def find_endpoint(options: Mapping[str, Any], environment: Mapping[str, str]) -> Endpoint:
    """The controller that options, environment, the local socket or the configuration file name, in this order."""
    given = {name: value for name, value in options.items() if value}
    named = _names(given, environment)
    if named.get("socket") and named.get("controller"):
        raise WrongUse("cannot use both a socket and a controller's address", "give one of --socket and --controller")
    if named.get("socket"):
        return Endpoint(socket=Path(named["socket"]))
    # Whoever names a certificate wants to be that operator, not the local administrator.
    if not given and not named.get("controller") and os.access(SOCKET, os.R_OK | os.W_OK):
        return Endpoint(socket=SOCKET)
    if not all(named.get(name) for name in _CONFIG_KEYS):
        named = {**_read_config(environment), **named}
    if not named.get("controller"):
        raise Unreachable(f"cannot find a controller: {_missing_socket()} and no configuration names one", _HOW)
    return _over_tls(named)


def open_channel(endpoint: Endpoint) -> Any:
    """A gRPC channel. Nothing is dialled before the first call."""
    # gRPC writes its own opinion about failed connections to stderr; ours is better.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import grpc

    options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)]
    if endpoint.socket is not None:
        return grpc.insecure_channel(f"unix:{endpoint.socket.absolute()}", options)
    if endpoint.ca is None or endpoint.certificate is None or endpoint.key is None:
        raise AssertionError("an address comes with its three files")
    credentials = grpc.ssl_channel_credentials(_read(endpoint.ca), _read(endpoint.key), _read(endpoint.certificate))
    options.append(("grpc.ssl_target_name_override", CONTROLLER_NAME))  # type: ignore[arg-type]
    return grpc.secure_channel(endpoint.controller, credentials, options)


def _names(given: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
    """Options before environment; an option for one way shuts out the environment's other way."""
    named = {name: str(value) for name, value in given.items()}
    for name, variable in (("ca", "CA"), ("certificate", "CERT"), ("key", "KEY")):
        if environment.get(f"FLEETMEND_{variable}"):
            named.setdefault(name, environment[f"FLEETMEND_{variable}"])
    if "socket" not in named and "controller" not in named:
        for name in ("socket", "controller"):
            if environment.get(f"FLEETMEND_{name.upper()}"):
                named[name] = environment[f"FLEETMEND_{name.upper()}"]
    return named


def _over_tls(named: Mapping[str, str]) -> Endpoint:
    absent = [name for name in ("ca", "certificate", "key") if not named.get(name)]
    if absent:
        wanted = ", ".join(f"--{'cert' if name == 'certificate' else name}" for name in absent)
        raise WrongUse(
            f"cannot reach {named['controller']}: {wanted} missing",
            "`fleetmend-controller operator add` makes these files",
        )
    address = named["controller"]
    host, colon, port = address.rpartition(":")
    bare_ipv6 = address.count(":") > 1 and not address.startswith("[")
    if bare_ipv6:
        address = f"[{address}]:{PORT}"
    elif not colon or not host or not port.isdigit():
        address = f"{address}:{PORT}"
    return Endpoint(None, address, Path(named["ca"]), Path(named["certificate"]), Path(named["key"]))


def _read_config(environment: Mapping[str, str]) -> dict[str, str]:
    base = environment.get("XDG_CONFIG_HOME") or f"{environment.get('HOME', '~')}/.config"
    path = Path(base).expanduser() / "fleetmend" / "config.yaml"
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUse(f"cannot read {path}: {error}", "make it readable, or name the controller with --controller") from error
    import yaml

    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise WrongUse(f"cannot read {path}: {error}", "it is YAML with the keys " + ", ".join(_CONFIG_KEYS)) from error
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise WrongUse(f"cannot use {path}: not a mapping of texts", "it has the keys " + ", ".join(_CONFIG_KEYS))
    unknown = sorted(str(name) for name in values if name not in _CONFIG_KEYS)
    if unknown:
        raise WrongUse(f"cannot use {path}: unknown key {unknown[0]!r}", "it has the keys " + ", ".join(_CONFIG_KEYS))
    # Files are named relative to the configuration that names them.
    return {
        name: value if name == "controller" else str(path.parent / Path(value).expanduser()) for name, value in values.items()
    }


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WrongUse(
            f"cannot read {path}: {error.strerror}", "`fleetmend-controller operator add` makes these files"
        ) from error


def _missing_socket() -> str:
    if SOCKET.exists():
        return f"{SOCKET} may not be opened by you"
    return f"{SOCKET} is not there"
