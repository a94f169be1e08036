"""Switch a dead host off and on by its BMC, over Redfish."""

from __future__ import annotations

import asyncio
from typing import Any

from fleetmend.plain import plain_line

from ..core.model import Host, Order, Outcome
from ..notify._secrets import SecretError, read_secret
from . import Done, Hand, Tools
from ._bmc import Bmc, BmcError, find

ANSWER_CHARS_MAX = 300
REQUEST_TIMEOUT_S = 20


async def _do(_order: Order, host: Host, tools: Tools) -> Done:
    """The BMC's own calls block: they run beside."""
    return await asyncio.to_thread(_cycle, host, tools)


def _cycle(host: Host, tools: Tools) -> Done:
    try:
        bmc = find(tools.bmc_file, host)
        password = read_secret(bmc.password_file)
        import sushy
    except (BmcError, SecretError) as error:
        return Done(Outcome.FAILED, f"cannot power-cycle {host.name}: {error}")
    except ImportError:
        text = "the package sushy is not installed beside the controller; install fleetmend[redfish]"
        return Done(Outcome.FAILED, f"cannot power-cycle {host.name}: {text}")
    asked = False
    try:
        system = _system(bmc, password)
        # What is on hangs: it is reset. What is off is switched on. Both end in a boot.
        is_on = system.power_state != sushy.PowerState.OFF
        asked = True
        system.reset_system(sushy.ResetType.FORCE_RESTART if is_on else sushy.ResetType.ON)
    except (sushy.exceptions.SushyError, OSError, ValueError) as error:
        said = plain_line(f"{type(error).__name__}: {error}")[:ANSWER_CHARS_MAX]
        refused = isinstance(error, sushy.exceptions.HTTPError) and 400 <= error.status_code < 500
        # Once it was asked, only its own no says that it did not.
        outcome = Outcome.UNKNOWN if asked and not refused else Outcome.FAILED
        return Done(outcome, f"cannot power-cycle {host.name}: its BMC at {bmc.url} says {said}")
    return Done(Outcome.DONE, f"{host.name} was {'on: reset' if is_on else 'off: switched on'} by its BMC at {bmc.url}")


def _system(bmc: Bmc, password: str) -> Any:
    import sushy
    from sushy.connector import Connector

    verify: Any = str(bmc.ca_file) if bmc.ca_file is not None else bmc.verify
    # No tries beside ours: a reset that is asked for twice is a second reset.
    connector = Connector(bmc.url, bmc.user, password, verify, server_side_retries=0, default_request_timeout=REQUEST_TIMEOUT_S)
    root = sushy.Sushy(bmc.url, bmc.user, password, connector=connector)
    return root.get_system(f"/redfish/v1/Systems/{bmc.system}") if bmc.system else root.get_system()


HAND = Hand(name="power_cycle", do=_do, one_at_a_time=True)
