"""Policy rules of routing beside the kernel's own and the declared ones: they can block one port, or lead traffic astray."""

from __future__ import annotations

from collections.abc import Iterable

from . import Check, Context, Field, Gauge, Kind, Param, Result
from ._network import REMOVE, REMOVE_FIELD, ask, each_extra


def _run(context: Context) -> Iterable[Result]:
    from fleetmend.network import Declared, extra_rules

    rules = ask(context, "policy rules", lambda reader: (*reader.rules(4), *reader.rules(6)))
    extra = extra_rules(rules, Declared(rules=tuple(context.params["rules"])))
    found = (
        (
            f"ipv{rule.family} {rule.priority}: {rule.selector}",
            f"policy rule {rule.priority}: {rule.selector} (IPv{rule.family}) is not declared",
            {
                "priority": rule.priority,
                "selector": rule.selector,
                "family": rule.family,
                "remove": context.params["remove"],
            },
        )
        for rule in extra
    )
    return each_extra(context, "policy rules", found, "extra_rules_value")


CHECK = Check(
    name="rule_extra",
    summary="Policy rules of routing that nobody declared",
    run=_run,
    params=(
        Param("rules", Kind.TEXT_LIST, "declared rules, in the words of ip rule without the priority", default=[]),
        REMOVE,
    ),
    finding=(
        Field("priority", Kind.INTEGER, "its priority"),
        Field("selector", Kind.TEXT, "the rule, in the words of ip rule"),
        Field("family", Kind.INTEGER, "4 or 6: the version of IP"),
        REMOVE_FIELD,
    ),
    gauges=(Gauge("extra_rules_value", "policy rules that nobody declared"),),
    signal="netlink",
    every_s=30.0,
)
