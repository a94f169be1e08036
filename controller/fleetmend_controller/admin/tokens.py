"""Join tokens for operators: made, shown, made worthless."""

from __future__ import annotations

from fleetmend.v1 import admin_pb2 as pb

from ..decider.ports import JournalUnavailable
from ..pki.tokens import NewToken, Token
from .desk import Desk
from .errors import invalid, not_found


async def create_token(desk: Desk, request: pb.CreateTokenRequest, who: str) -> NewToken:
    """Make a token. One that cannot be audited is not given out."""
    try:
        made = await desk.tokens.create(request.labels, request.uses or 1, request.ttl_ms, who, desk.now_ms())
    except ValueError as error:
        raise invalid(str(error)) from error
    detail = {"token": made.token.id, "uses": str(made.token.uses_total), "expires_ms": str(made.token.expires_ms)}
    try:
        await desk.decider.audit("token_created", who, "", detail)
    except JournalUnavailable:
        await desk.tokens.delete(made.token.id)
        raise
    return made


async def delete_token(desk: Desk, token_id: str, who: str) -> None:
    """Make a token worthless. NOT_FOUND if there is none of this id."""
    if not await desk.tokens.delete(token_id):
        raise not_found(f"cannot delete token {token_id!r}: there is none; `fleetmend token ls` lists them")
    await desk.audit_done("token_deleted", who, "", {"token": token_id})


def token_of(token: Token) -> pb.JoinToken:
    """A token as lists show it."""
    return pb.JoinToken(
        id=token.id,
        labels=token.labels,
        uses_left=token.uses_left,
        uses_total=token.uses_total,
        expires_ms=token.expires_ms,
        created_ms=token.created_ms,
        created_by=token.created_by,
    )
