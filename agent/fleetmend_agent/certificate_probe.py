"""A short-lived child: what a certificate says, in a file and as it is served. Prints one line of JSON.

The resident agent must not load OpenSSL for good, so this runs as a script of its own, by path, with the standard library only.
Whether the dates are good is for whoever asked to say: it has a clock.
"""

from __future__ import annotations

import base64
import calendar
import json
import re
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from typing import Any

CONNECT_S = 4.0
FILE_BYTES_MAX = 4 * 1024 * 1024
# X509_V_FLAG_NO_CHECK_TIME and X509_V_FLAG_PARTIAL_CHAIN: dates are judged apart, and a declared CA may be an intermediate one.
_FLAGS = 0x200000 | 0x80000
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _SET, _OID, _OCTETS, _UTC_TIME = 0x30, 0x31, 0x06, 0x04, 0x17
_VERSION, _EXTENSIONS, _DNS_NAME, _IP_ADDRESS = 0xA0, 0xA3, 0x82, 0x87
_COMMON_NAME, _ALTERNATIVE_NAMES = b"\x55\x04\x03", b"\x55\x1d\x11"


def main(path: str, served_at: str, ca: str, server_name: str) -> dict[str, Any]:
    """Facts about the file and about what is served; either may be empty."""
    found: dict[str, Any] = {"file": {}, "served": {}, "same": False, "problem": "", "unread": "", "not_served": ""}
    authorities: list[bytes] = []
    if ca:
        try:
            authorities = certificates_in(_read(ca))
        except OSError as error:
            found["problem"] = f"cannot read {ca}: {error.strerror}"
            return found
    mine = theirs = b""
    if path:
        mine = _from_file(path, authorities, found)
    if served_at:
        theirs = _from_server(served_at, server_name, ca, authorities, found)
    found["same"] = bool(mine) and mine == theirs
    return found


def _from_file(path: str, authorities: list[bytes], found: dict[str, Any]) -> bytes:
    try:
        held = certificates_in(_read(path))
    except FileNotFoundError:
        found["file"] = {"fault": "missing"}
        return b""
    except OSError as error:
        # A folder that only root may enter: then what is served has to do.
        found["unread"] = f"cannot read {path}: {error.strerror}"
        return b""
    if not held:
        found["file"] = {"fault": "unreadable"}
        return b""
    found["file"] = facts(held[0], [*held[1:], *authorities] if authorities else [])
    return held[0]


def _from_server(served_at: str, server_name: str, ca: str, authorities: list[bytes], found: dict[str, Any]) -> bytes:
    host, _, port = served_at.rpartition(":")
    try:
        der = _handshake(host.strip("[]"), int(port), server_name, None)
    except (OSError, ValueError) as error:
        found["not_served"] = str(error) or type(error).__name__
        return b""
    found["served"] = facts(der, authorities)
    if ca and not found["served"].get("fault"):
        try:
            _handshake(host.strip("[]"), int(port), server_name, ca)
        except ssl.SSLCertVerificationError as error:
            found["served"]["fault"] = "wrong_ca"
            found["served"]["chain"] = error.verify_message
        except OSError as error:
            found["not_served"] = str(error) or type(error).__name__
    return der


def _handshake(host: str, port: int, server_name: str, ca: str | None) -> bytes:
    """The certificate that is served; with a CA, SSLCertVerificationError unless it leads there. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED if ca else ssl.CERT_NONE
    if ca:
        context.load_verify_locations(ca)
        context.verify_flags |= _FLAGS
    with (
        socket.create_connection((host, port), CONNECT_S) as connection,
        context.wrap_socket(connection, server_hostname=server_name or None) as wrapped,
    ):
        return wrapped.getpeercert(binary_form=True) or b""


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(FILE_BYTES_MAX)


def certificates_in(data: bytes) -> list[bytes]:
    """The certificates of a PEM file, in their order; what is not one is left out."""
    found = []
    for block in _PEM.findall(data):
        try:
            found.append(base64.b64decode(b"".join(block.split()), validate=True))
        except ValueError:
            continue
    return found


def facts(der: bytes, authorities: list[bytes]) -> dict[str, Any]:
    """Dates, names and issuer of one certificate; with authorities, whether one of them has the issuer's name."""
    try:
        told = _parsed(der)
        issuers = {_parsed(each)["subject_der"] for each in authorities}
    except (ValueError, IndexError, StopIteration):
        return {"fault": "unreadable"}
    if authorities and told["issuer_der"] not in issuers:
        told["fault"] = "self_signed" if told["issuer_der"] == told["subject_der"] else "wrong_ca"
    return {name: value for name, value in told.items() if not name.endswith("_der")}


def _parsed(der: bytes) -> dict[str, Any]:
    """The fields of RFC 5280 that are needed. Raises ValueError, IndexError or StopIteration for what is no certificate."""
    _, whole = _one(der)
    _, tbs = _one(whole)
    parts = list(_each(tbs))
    if parts[0][0] == _VERSION:
        parts = parts[1:]
    issuer, validity, subject = parts[2][1], parts[3][1], parts[4][1]
    begin, end = (_seconds(tag, value) for tag, value in _each(validity))
    alternative = [value for tag, value in parts if tag == _EXTENSIONS]
    return {
        "fault": "",
        "not_before": begin,
        "not_after": end,
        "subject": _common_name(subject),
        "issuer": _common_name(issuer),
        "names": _alternative_names(alternative[0]) if alternative else [],
        "subject_der": subject,
        "issuer_der": issuer,
    }


def _one(data: bytes) -> tuple[int, bytes]:
    return next(_each(data))


def _each(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The (tag, content) pairs that stand side by side."""
    offset = 0
    while offset < len(data):
        tag, length = data[offset], data[offset + 1]
        offset += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[offset : offset + size], "big")
            offset += size
        if offset + length > len(data):
            raise ValueError("it breaks off")
        yield tag, data[offset : offset + length]
        offset += length


def _seconds(tag: int, value: bytes) -> int:
    form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return calendar.timegm(time.strptime(value.decode("ascii"), form))


def _common_name(name: bytes) -> str:
    for _, each in _each(name):
        (_, pair), *_ = _each(each)
        (_, oid), (_, value) = _each(pair)
        if oid == _COMMON_NAME:
            return value.decode("utf-8", "replace")
    return ""


def _alternative_names(extensions: bytes) -> list[str]:
    _, listed = _one(extensions)
    for _, extension in _each(listed):
        parts = list(_each(extension))
        if parts[0][1] == _ALTERNATIVE_NAMES:
            _, names = _one(parts[-1][1])
            return [_name(tag, value) for tag, value in _each(names) if tag in {_DNS_NAME, _IP_ADDRESS}]
    return []


def _name(tag: int, value: bytes) -> str:
    if tag == _DNS_NAME:
        return value.decode("ascii", "replace").lower()
    return socket.inet_ntop(socket.AF_INET6 if len(value) == 16 else socket.AF_INET, value)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:5])))
