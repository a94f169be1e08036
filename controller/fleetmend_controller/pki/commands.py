"""What `fleetmend-controller init` and `operator` do. Plain functions: they print nothing and raise what went wrong."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from ..clock import wall_ms
from ..config import Config
from ..store.engine import Store, open_engine
from ..store.migrate import ensure_schema
from .authority import OPERATOR_LIFETIME, Authority, init_state
from .files import DIRECTORY_MODE, StateError, make_private_dir, require_private, write_secret
from .operators import Operator, OperatorError, Operators

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Initialised:
    """What `init` leaves: whether it had to create anything, the CA to give to agents, and how to recognise it."""

    created: bool
    ca_path: Path
    fingerprint: str


def init(config: Config) -> Initialised:
    """Create secret, CA, certificate and database where they are absent; what exists stays. StateError, SchemaError."""
    with _as_owner(config.state_dir):
        created = init_state(config.state_dir, config.names, wall_ms())
        engine = open_engine(config.database_url)
        try:
            ensure_schema(engine)
        finally:
            engine.dispose()
        return Initialised(created, config.state_dir / "pki" / "ca.crt", Authority(config.state_dir).fingerprint)


def operator_add(config: Config, name: str, role: str, out: Path, lifetime: timedelta = OPERATOR_LIFETIME) -> list[Path]:
    """Issue an operator's certificate and write operator.key, operator.crt and ca.crt into the directory `out`; their paths.

    OperatorError if the name or role is unusable; StateError if the directory is not private or holds a key already.
    """
    make_private_dir(out)
    paths = [out / "operator.key", out / "operator.crt", out / "ca.crt"]
    if paths[0].exists():
        raise StateError(f"cannot write {paths[0]}: it exists; name another directory with --out")
    made = _with_operators(config, lambda known: known.add(Authority(config.state_dir), name, role, wall_ms(), lifetime))
    for path, content in zip(paths, (made.key_pem, made.certificate_pem, made.ca_pem), strict=True):
        write_secret(path, content)
    return paths


def operator_remove(config: Config, name: str) -> int:
    """Revoke every certificate of an operator at once; how many. OperatorError if there was none in force."""
    revoked = _with_operators(config, lambda known: known.revoke(name, wall_ms()))
    if not revoked:
        raise OperatorError(f"cannot remove {name!r}: no certificate in force has that name; see `operator ls`")
    return revoked


def operator_list(config: Config) -> list[Operator]:
    """Every certificate issued to operators."""
    return _with_operators(config, lambda known: known.all())


def _with_operators(config: Config, work: Callable[[Operators], Awaitable[T]]) -> T:
    async def run(store: Store) -> T:
        return await work(Operators(store))

    with _as_owner(config.state_dir):
        require_private(config.state_dir, DIRECTORY_MODE)
        engine = open_engine(config.database_url)
        try:
            ensure_schema(engine)
        except BaseException:
            engine.dispose()
            raise
        store = Store(engine)
        try:
            return asyncio.run(run(store))
        finally:
            store.close()


@contextmanager
def _as_owner(state_dir: Path) -> Iterator[None]:
    """Act as the user whose directory it is when root runs the command, so that the service can read what comes of it.

    The umask matters too: SQLite creates its files with it, and nobody else may read them.
    """
    umask = os.umask(0o077)
    owner = state_dir.stat() if os.geteuid() == 0 and state_dir.is_dir() else None
    try:
        if owner is not None:
            os.setegid(owner.st_gid)
            os.seteuid(owner.st_uid)
        yield
    finally:
        if owner is not None:
            os.seteuid(0)
            os.setegid(0)
        os.umask(umask)
