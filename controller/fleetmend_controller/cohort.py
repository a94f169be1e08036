"""What hosts that fail together share and healthy hosts lack: the first question of whoever gets a storm's page. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LINES_MAX = 10
LEAVES_MAX = 2_000
VALUE_CHARS_MAX = 80
NAME_CHARS_MAX = 120
# Shared by at least half of those that fail, and by clearly fewer of the others.
SHARED_SHARE_MIN = 0.5
DIFFERENCE_MIN = 0.2
# A cause in common: shared by nearly all that fail, and hardly ever by chance in any of a host's traits.
COMMON_SHARE_MIN = 0.8
CHANCE_MAX = 0.01
HOUR_S, DAY_S = 3_600, 86_400

# By name, for instance `label rack` or `kernel.release`.
Traits = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """One trait, by how many hosts of each side have it, of those of which it is known."""

    name: str
    value: str
    failing: int
    failing_known: int
    healthy: int
    healthy_known: int

    @property
    def share(self) -> float:
        """Share of the failing hosts that have it less that of the healthy ones: 1 is perfect, 0 means nothing."""
        of_healthy = self.healthy / self.healthy_known if self.healthy_known else 0.0
        return self.failing / self.failing_known - of_healthy

    def text(self) -> str:
        """The line for people."""
        others = f"{self.healthy} of {self.healthy_known} others"
        return f"{self.name} is {self.value}: {self.failing} of {self.failing_known} failing hosts, {others}"


def difference(failing: Sequence[Traits], healthy: Sequence[Traits]) -> list[Difference]:
    """What tells failing hosts from healthy ones best, at most ten; none without hosts on both sides.

    A trait that is absent from a host is unknown there and counts on neither side.
    """
    if not failing or not healthy:
        return []
    shared = Counter(trait for traits in failing for trait in traits.items())
    known = Counter(name for traits in failing for name in traits)
    least = max(2.0, len(failing) * SHARED_SHARE_MIN)
    candidates = [trait for trait, count in shared.items() if count >= least]
    names = list({name: None for name, _ in candidates})
    among_healthy = {name: Counter(traits[name] for traits in healthy if name in traits) for name in names}
    found = [
        Difference(name, value, shared[name, value], known[name], among_healthy[name][value], among_healthy[name].total())
        for name, value in candidates
    ]
    telling = [trait for trait in found if trait.healthy_known and trait.share >= DIFFERENCE_MIN]
    return sorted(telling, key=lambda trait: (-trait.share, -trait.failing, trait.name, trait.value))[:LINES_MAX]


def common_cause(failing: Sequence[Traits], found: Sequence[Difference]) -> list[Difference]:
    """Those differences that chance does not explain: nearly all failing hosts share one, and few enough of the others have it.

    Of as many traits as hosts have, some are shared by any few hosts. So a trait counts only if as many hosts drawn at random
    would share it hardly ever, in all traits together.
    """
    tried = len({trait for traits in failing for trait in traits.items()})
    nearly_all = [trait for trait in found if trait.failing >= COMMON_SHARE_MIN * trait.failing_known]
    return [trait for trait in nearly_all if _chance(trait) * tried < CHANCE_MAX]


def _chance(trait: Difference) -> float:
    """How likely so many of the failing hosts have it, if they have it as often as the others: a binomial tail."""
    # One more of each kind than was seen: what none of ten others has, one of the next ten may.
    often = (trait.healthy + 1) / (trait.healthy_known + 2)
    drawn = trait.failing_known
    return sum(math.comb(drawn, k) * often**k * (1 - often) ** (drawn - k) for k in range(trait.failing, drawn + 1))


def label_traits(labels: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """A host's labels as traits. `names` are those that any host has: to lack a label is a trait, too."""
    return {f"label {name}"[:NAME_CHARS_MAX]: _cut(labels.get(name, "(none)")) for name in names}


def fact_traits(sections: Mapping[str, Any], now_s: int) -> dict[str, str]:
    """A host's inventory as traits: every single value by its path. Of a boot only how long ago it was."""
    traits: dict[str, str] = {}
    for section in sorted(sections):
        body = sections[section]
        if section == "boot":
            began_s = body.get("began_s") if isinstance(body, dict) else None
            if isinstance(began_s, int):
                traits["last boot"] = _ago(now_s - began_s)
            continue
        for path, value in _leaves(section, body):
            if len(traits) >= LEAVES_MAX:
                return traits
            traits[path[:NAME_CHARS_MAX]] = value
    return traits


def _leaves(path: str, value: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Lists are left out: their places mean nothing from one host to the next."""
    if isinstance(value, dict) and depth < 4:
        for name in sorted(value, key=str):
            yield from _leaves(f"{path}.{name}", value[name], depth + 1)
    elif isinstance(value, bool):
        yield path, "true" if value else "false"
    elif isinstance(value, str | int | float):
        yield path, _cut(str(value))


def _cut(value: str) -> str:
    return value if len(value) <= VALUE_CHARS_MAX else f"{value[:VALUE_CHARS_MAX]}..."


def _ago(seconds: int) -> str:
    if seconds < HOUR_S:
        return "less than an hour ago"
    return "less than a day ago" if seconds < DAY_S else "more than a day ago"
