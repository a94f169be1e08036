"""Whether each declared certificate belongs to its declared key: the key is root's alone, and all that is told is a word."""

from __future__ import annotations

from typing import Any

from ..globs import PatternError, check_path
from ..rules import HostRules
from . import Look

PAIRS_MAX = 50


def _see(rules: HostRules) -> dict[str, str]:
    """By the name of the certificate: `same`, `other`, or `unknown` where one of the two cannot be read."""
    part = rules.part("certificates")
    declared: dict[str, Any] = part if isinstance(part, dict) else {}
    return {str(name): _word(each) for name, each in list(declared.items())[:PAIRS_MAX] if isinstance(each, dict)}


def _word(pair: dict[str, Any]) -> str:
    # Loaded on first use only: OpenSSL is of no use to anything else here.
    import ssl

    certificate, key = str(pair.get("file", "")), str(pair.get("key", ""))
    try:
        for path in (certificate, key):
            check_path(path)
        # A server that loads both; it never serves. A key with a passphrase must not ask anybody for it.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        return "other" if error.reason == "KEY_VALUES_MISMATCH" else "unknown"
    except (PatternError, OSError, ValueError):
        return "unknown"
    return "same"


LOOK = Look("keypairs", "Whether declared certificates belong to their declared keys.", _see)
