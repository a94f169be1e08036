"""What the checks of the declared network share: the declaration as parameters, and one subject for each thing too much."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

from . import CheckUnknown, Context, Field, Kind, Param, Result, Scalar, Status
from ._source import why

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetmend.netlink import Reader
    from fleetmend.network import Declared

T = TypeVar("T")

INTERFACES = Param("interfaces", Kind.TEXT_LIST, "the declared interfaces", default=[])
NETWORKS = Param("networks", Kind.TEXT_LIST, "the declared addresses with their prefix lengths: 192.0.2.7/24", default=[])
REMOVE = Param(
    "remove",
    Kind.TEXT,
    "whether what nobody declared may be removed, for the finding",
    default="never",
    choices=("allowed", "never"),
)
REMOVE_FIELD = Field("remove", Kind.TEXT, "allowed, or never: whether the declaration lets it be removed")


def declared(context: Context) -> Declared:
    """The parameters as a declaration."""
    from fleetmend.network import Declared, Interface

    params = context.params
    networks, gateways = tuple(params.get("networks", ())), [*params.get("gateways", ()), ""]
    return Declared(
        # Which address and gateway belong to which interface does not matter to what is too much.
        interfaces=(
            *(Interface(name) for name in params["interfaces"]),
            *(Interface("", addresses=networks, gateway=gateway) for gateway in gateways if gateway or networks),
        ),
        routes=tuple(params.get("routes", ())),
        rules=tuple(params.get("rules", ())),
    )


def ask(context: Context, what: str, question: Callable[[Reader], T]) -> T:
    """What the kernel says. Raises CheckUnknown."""
    try:
        return question(context.host.network_of())
    except OSError as error:
        raise CheckUnknown(f"cannot read the {what} of this host: {why(error)}") from error


def each_extra(
    context: Context, what: str, found: Iterable[tuple[str, str, dict[str, Scalar]]], gauge: str
) -> Iterable[Result]:
    """One subject for each of `found` (key, sentence, facts), and those that were reported before and are gone."""
    extra = {key: (text, facts) for key, text, facts in found}
    text = f"{len(extra)} {what} that nobody declared" if extra else f"no {what} but the declared"
    yield Result(Status.OK, text, gauges={gauge: float(len(extra))})
    for key, (sentence, facts) in extra.items():
        yield Result(Status.CRIT, sentence, key, facts)
    for key in context.known:
        if key and key not in extra:
            yield Result(Status.OK, f"{key} is gone", key)
