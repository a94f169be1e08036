"""Mutual TLS with the controller: this host's certificate, and nobody trusted but the CA that came with the installation."""

from __future__ import annotations

import ssl
from pathlib import Path

from . import identity

# The name in the controller's certificate, whatever name or address was dialled.
TARGET_NAME = "fleetmend-controller"


def context(state_dir: Path) -> ssl.SSLContext:
    """With the credentials of now. Raises IdentityError, or OSError if they cannot be used."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(cadata=identity.credentials(state_dir).ca.decode())
    made.load_cert_chain(state_dir / identity.CERTIFICATE, state_dir / identity.KEY)
    made.set_alpn_protocols(["h2"])
    return made
