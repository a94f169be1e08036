"""Take the host out of service by the drain hook."""

from __future__ import annotations

from ..core.model import Host, Order
from . import Done, Hand, Tools
from ._drain import call


async def _do(order: Order, host: Host, tools: Tools) -> Done:
    """One step of a playbook."""
    return await call(tools, "drain", host, order.incident, order.id)


HAND = Hand(name="drain", do=_do)
