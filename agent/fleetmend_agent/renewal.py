"""One try to renew the certificate, and every way in which it can fail, as a sentence: none of them may end the agent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from . import identity

TIMEOUT_S = 120.0


class NotRenewed(Exception):
    """The old certificate is still the one; the text says why."""


async def attempt(renew: Callable[[], Awaitable[int]], state_dir: Path) -> identity.Identity:
    """Runs the child that renews, and reads what it left. Raises NotRenewed."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            code = await renew()
        if code == 0:
            return identity.load(state_dir)
    except TimeoutError as error:
        raise NotRenewed(f"it took longer than {TIMEOUT_S:.0f} s") from error
    except (OSError, identity.IdentityError) as error:
        # A host short of memory or processes is the one that needs its agent most.
        raise NotRenewed(str(error) or type(error).__name__) from error
    raise NotRenewed(f"exit code {code}")
