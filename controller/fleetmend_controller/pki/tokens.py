"""Join tokens: `fm1.<id>.<secret>`. The secret is shown once, its SHA-256 kept; only success spends a use."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..store.engine import Store
from ..store.tables import tokens

TTL_MS_DEFAULT = 30 * 60_000
TTL_MS_MAX = 30 * 24 * 3_600_000
USES_MAX = 10_000
LABELS_MAX = 32
_TOKEN = re.compile(r"fm1\.([0-9a-f]{12})\.([0-9a-f]{64})")
_LABEL_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,62})")
# The exposition and the groups of the core use these names themselves.
_LABELS_RESERVED = frozenset({"host", "id", "check", "key", "name"})


class TokenRefused(Exception):
    """The token is unknown, spent or expired. One text for all: a guesser learns nothing."""

    def __init__(self) -> None:
        super().__init__(
            "cannot enrol: the join token is unknown, spent or expired; ask for a new one with `fleetmend token create`"
        )


class LabelError(ValueError):
    """Labels that cannot be used; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Token:
    """What lists show of a join token; the secret is not among it."""

    id: str
    labels: dict[str, str]
    uses_left: int
    uses_total: int
    expires_ms: int
    created_ms: int
    created_by: str


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made. `text` holds the secret: print it once, never log it."""

    token: Token
    text: str = field(repr=False)


def check_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels if all are usable as groups, selectors and metric labels; LabelError otherwise."""
    if len(labels) > LABELS_MAX:
        raise LabelError(f"cannot use {len(labels)} labels: at most {LABELS_MAX}")
    for name, value in labels.items():
        if not _LABEL_NAME.fullmatch(name):
            raise LabelError(f"cannot use the label {name!r}: a name is 1 to 63 of a-z, 0-9 and _, beginning with a letter")
        if name in _LABELS_RESERVED:
            raise LabelError(f"cannot use the label {name!r}: the name is taken by Fleetmend itself")
        if not _LABEL_VALUE.fullmatch(value):
            raise LabelError(f"cannot use {value!r} for the label {name}: a value is 1 to 63 letters, digits and . _ / -")
    return dict(labels)


class Tokens:
    """The join tokens of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(self, labels: Mapping[str, str], uses: int, ttl_ms: int, by: str, now_ms: int) -> NewToken:
        """Make a token. LabelError or ValueError for what can't be; `ttl_ms` 0 means the default of 30 minutes."""
        ttl_ms = ttl_ms or TTL_MS_DEFAULT
        if not 1 <= uses <= USES_MAX:
            raise ValueError(f"cannot make a token for {uses} uses: 1 to {USES_MAX}")
        if not 1 <= ttl_ms <= TTL_MS_MAX:
            raise ValueError(f"cannot make a token that lives {ttl_ms} ms: at most {TTL_MS_MAX}, which is 30 days")
        secret = secrets.token_hex(32)
        token = Token(secrets.token_hex(6), check_labels(labels), uses, uses, now_ms + ttl_ms, now_ms, by)
        row = {
            "id": token.id,
            "secret_hash": _hash(secret),
            "labels": json.dumps(token.labels, sort_keys=True),
            "uses_left": uses,
            "uses_total": uses,
            "expires_ms": token.expires_ms,
            "created_ms": now_ms,
            "created_by": by,
        }
        await self._store.write(lambda c: c.execute(tokens.insert().values(row)))
        return NewToken(token, f"fm1.{token.id}.{secret}")

    async def live(self, now_ms: int) -> list[Token]:
        """Tokens that can still be used, newest first."""
        usable = sa.select(tokens).where(tokens.c.uses_left > 0, tokens.c.expires_ms > now_ms)
        rows = await self._store.read(lambda c: c.execute(usable.order_by(tokens.c.created_ms.desc())).all())
        return [_token(row) for row in rows]

    async def delete(self, token_id: str) -> bool:
        """Make a token worthless; False if there is none of that id."""
        statement = tokens.delete().where(tokens.c.id == token_id)
        return bool(await self._store.write(lambda c: c.execute(statement).rowcount))

    async def prune(self, before_ms: int) -> int:
        """Forget tokens that expired before a moment; how many."""
        statement = tokens.delete().where(tokens.c.expires_ms < before_ms)
        return await self._store.write(lambda c: int(c.execute(statement).rowcount))

    async def check(self, text: str, now_ms: int) -> Token:
        """The token that `text` is, unspent; TokenRefused otherwise. Cheap, and writes nothing: all that a guesser gets."""
        presented = parse_token(text)
        row = await self._store.read(lambda c: _find(c, presented))
        if row is None or row.uses_left < 1 or row.expires_ms <= now_ms:
            raise TokenRefused
        return _token(row)


@dataclass(frozen=True, slots=True)
class Presented:
    """A token as somebody presented it: its id, and the hash of its secret."""

    id: str
    secret_hash: bytes


def parse_token(text: str) -> Presented:
    """Split a token; TokenRefused if it has not the form of one."""
    match = _TOKEN.fullmatch(text)
    if match is None:
        raise TokenRefused
    return Presented(match[1], _hash(match[2]))


def spend(connection: Connection, presented: Presented, now_ms: int) -> dict[str, str]:
    """Take one use inside the enrolment's own transaction and return the token's labels. TokenRefused if there is none to take.

    The UPDATE is a compare-and-set: of many enrolments at one time, as many succeed as the token has uses.
    """
    row = _find(connection, presented)
    if row is None:
        raise TokenRefused
    take = (
        tokens.update()
        .where(tokens.c.id == presented.id, tokens.c.uses_left > 0, tokens.c.expires_ms > now_ms)
        .values(uses_left=tokens.c.uses_left - 1)
    )
    if connection.execute(take).rowcount != 1:
        raise TokenRefused
    return _token(row).labels


def _find(connection: Connection, presented: Presented) -> Any:
    row = connection.execute(sa.select(tokens).where(tokens.c.id == presented.id)).one_or_none()
    known = row.secret_hash if row is not None else bytes(32)
    return row if hmac.compare_digest(known, presented.secret_hash) and row is not None else None


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _token(row: Any) -> Token:
    labels = json.loads(row.labels)
    return Token(row.id, labels, row.uses_left, row.uses_total, row.expires_ms, row.created_ms, row.created_by)
