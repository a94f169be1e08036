"""Operators' certificates: issued by `fleetmend-controller operator add`, looked up at each call."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..store.engine import Store
from ..store.tables import operators
from .authority import OPERATOR_LIFETIME, Authority
from .names import OPERATOR_NAME, Role, parse_role


class OperatorError(ValueError):
    """What was asked of the list of operators cannot be done; the text says why."""


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator's certificate."""

    serial: str
    name: str
    role: str
    not_after_ms: int
    created_ms: int
    revoked_ms: int | None


@dataclass(frozen=True, slots=True)
class Credentials:
    """What an operator needs to call the controller. `key_pem` exists nowhere else."""

    key_pem: bytes
    certificate_pem: bytes
    ca_pem: bytes
    not_after_ms: int


class Operators:
    """The operators of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(
        self, authority: Authority, name: str, role: str, now_ms: int, lifetime: timedelta = OPERATOR_LIFETIME
    ) -> Credentials:
        """Issue a certificate. OperatorError if the name or the role is not one, or the name has a certificate in force."""
        rank = parse_role(role)
        if rank is None:
            raise OperatorError(f"cannot add {name!r}: {role!r} is not a role; roles are {', '.join(r.word for r in Role)}")
        if not OPERATOR_NAME.fullmatch(name):
            raise OperatorError(
                f"cannot add {name!r}: a name is 1 to 63 of a-z, 0-9 and . _ @ -, beginning with a letter or digit"
            )
        key_pem, issued = authority.issue_operator(name, rank, lifetime, now_ms)
        row = {
            "serial": issued.serial,
            "name": name,
            "role": role,
            "not_after_ms": issued.not_after_ms,
            "created_ms": now_ms,
            "revoked_ms": None,
        }
        await self._store.write(lambda connection: _insert_unless_in_force(connection, row, now_ms))
        return Credentials(key_pem, issued.certificate_pem, authority.ca_pem, issued.not_after_ms)

    async def revoke(self, name: str, now_ms: int) -> int:
        """Refuse every certificate of a name from now on; how many were in force."""
        statement = (
            operators.update().where(operators.c.name == name, operators.c.revoked_ms.is_(None)).values(revoked_ms=now_ms)
        )
        return await self._store.write(lambda c: int(c.execute(statement).rowcount))

    async def all(self) -> list[Operator]:
        """Every certificate ever issued to an operator, by name, newest first."""
        ordered = sa.select(operators).order_by(operators.c.name, operators.c.created_ms.desc())
        return [_operator(row) for row in await self._store.read(lambda c: c.execute(ordered).all())]

    async def in_force(self, serial: str, name: str, role: Role, now_ms: int) -> bool:
        """Whether a certificate with this serial number is on the list as this name and role, unrevoked and unexpired."""
        query = sa.select(operators).where(operators.c.serial == serial)
        row = await self._store.read(lambda c: c.execute(query).one_or_none())
        if row is None or row.revoked_ms is not None or row.not_after_ms <= now_ms:
            return False
        return bool(row.name == name and row.role == role.word)


def _insert_unless_in_force(connection: Connection, row: dict[str, Any], now_ms: int) -> None:
    in_force = sa.select(operators.c.serial).where(
        operators.c.name == row["name"], operators.c.revoked_ms.is_(None), operators.c.not_after_ms > now_ms
    )
    if connection.execute(in_force.limit(1)).first() is not None:
        raise OperatorError(
            f"cannot add {row['name']!r}: the name has a certificate in force; `operator rm {row['name']}` first"
        )
    connection.execute(operators.insert().values(row))


def _operator(row: Any) -> Operator:
    return Operator(row.serial, row.name, row.role, row.not_after_ms, row.created_ms, row.revoked_ms)
