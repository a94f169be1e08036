"""May this playbook act by itself?"""

from __future__ import annotations

from ..effects import Why
from ..model import Cost, Trust
from . import Answer, Candidate, Gate, allow, refuse


def _ask(c: Candidate) -> Answer:
    standing = c.fleet.standing.get(c.playbook.name)
    lowered = standing is not None and standing.lowered is not None and c.incident.run is None
    because = f" (demoted: {standing.why})" if lowered and standing is not None else ""
    if c.trust is Trust.OBSERVE:
        why = Why.TRUST_DEMOTED if lowered else Why.TRUST_OBSERVE
        return refuse(why, f"{c.playbook.name} only observes{because}: it would run {c.step.action}")
    if c.trust is Trust.SUGGEST and c.step.cost is not Cost.HARMLESS:
        return allow(f"{c.playbook.name} suggests{because}; people decide, see the approval gate")
    return allow(f"{c.playbook.name} is trusted to act")


GATE = Gate("trust", 20, "May this playbook act by itself?", _ask, ahead=True)
