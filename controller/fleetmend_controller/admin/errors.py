"""How a request is turned down: a gRPC status and a sentence that begins with `cannot` and names the way out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from ..decider.ports import JournalUnavailable
from ..store.engine import StoreUnavailable


class AdminError(Exception):
    """A request that is turned down, with the status the caller gets."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def invalid(text: str) -> AdminError:
    """The request can never be right."""
    return AdminError(grpc.StatusCode.INVALID_ARGUMENT, text)


def not_found(text: str) -> AdminError:
    """Nobody knows what it names."""
    return AdminError(grpc.StatusCode.NOT_FOUND, text)


def not_now(text: str) -> AdminError:
    """The request is well formed but does not fit what is."""
    return AdminError(grpc.StatusCode.FAILED_PRECONDITION, text)


@asynccontextmanager
async def turning_down(context: Any) -> AsyncIterator[None]:
    """Give the caller the status of what was turned down. What nobody foresaw goes on to the wrapper around every call."""
    try:
        yield
    except AdminError as error:
        await context.abort(error.code, error.text)
    except (JournalUnavailable, StoreUnavailable) as error:
        text = str(error) if str(error).startswith("cannot") else f"cannot write to the journal: {error}"
        await context.abort(grpc.StatusCode.UNAVAILABLE, f"{text}; nothing was changed, see `fleetmend status`")
