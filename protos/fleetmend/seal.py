"""The sealed documents between controller and executor: orders out, outcomes back, declarations out.

A document is canonical JSON text (sorted keys, no spaces, UTF-8) with an HMAC-SHA256 over exactly those bytes, under a key that
only root on one host and the controller hold. The agent carries both parts and can read them, but cannot make or change one.
Standard library only: the executor imports this.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

KEY_BYTES = 32
DOCUMENT_BYTES_MAX = 256 * 1024


class SealError(ValueError):
    """A document that must not be trusted; the text says why."""


def canonical(document: dict[str, Any]) -> bytes:
    """The one byte form of a document. Floats are refused: their text is not canonical across platforms."""
    _refuse_floats(document, "document")
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def seal(key: bytes, document: dict[str, Any]) -> tuple[bytes, bytes]:
    """The canonical payload and its MAC."""
    payload = canonical(document)
    return payload, mac(key, payload)


def mac(key: bytes, payload: bytes) -> bytes:
    """HMAC-SHA256 of a payload under a per-host key of exactly KEY_BYTES."""
    if len(key) != KEY_BYTES:
        raise SealError(f"cannot seal: the key has {len(key)} bytes, not {KEY_BYTES}")
    return hmac.new(key, payload, hashlib.sha256).digest()


def unseal(key: bytes, payload: bytes, claimed: bytes, kind: str) -> dict[str, Any]:
    """The document, after its MAC, size, form and kind were verified; SealError otherwise."""
    if len(payload) > DOCUMENT_BYTES_MAX:
        raise SealError(f"cannot accept {kind}: {len(payload)} bytes, limit {DOCUMENT_BYTES_MAX}")
    if not hmac.compare_digest(mac(key, payload), claimed):
        raise SealError(f"cannot accept {kind}: its seal does not match")
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise SealError(f"cannot accept {kind}: not JSON") from error
    if not isinstance(document, dict) or document.get("kind") != kind:
        raise SealError(f"cannot accept {kind}: the document is of another kind")
    return document


def derive_host_key(master: bytes, host_id: str) -> bytes:
    """The executor key of one host, from the controller's master secret."""
    if len(master) < KEY_BYTES:
        raise SealError(f"cannot derive a key: the master secret has {len(master)} bytes, at least {KEY_BYTES} needed")
    return hmac.new(master, b"fleetmend executor key v1\0" + host_id.encode(), hashlib.sha256).digest()


def _refuse_floats(value: object, where: str) -> None:
    if isinstance(value, float):
        raise SealError(f"cannot seal {where}: floating point numbers are not canonical")
    if isinstance(value, dict):
        for name, item in value.items():
            _refuse_floats(item, f"{where}.{name}")
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _refuse_floats(item, f"{where}[{index}]")
