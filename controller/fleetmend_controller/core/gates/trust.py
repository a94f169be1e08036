"""May this playbook act by itself?"""

from __future__ import annotations

from ..effects import Why
from ..model import Trust
from . import Answer, Candidate, Gate, allow, refuse


def _ask(c: Candidate) -> Answer:
    if c.playbook.trust is Trust.OBSERVE:
        return refuse(Why.TRUST_OBSERVE, f"{c.playbook.name} only observes: it would run {c.step.action}")
    if c.playbook.trust is Trust.SUGGEST:
        return refuse(Why.TRUST_SUGGEST, f"{c.playbook.name} suggests {c.step.action}; a person decides")
    return allow(f"{c.playbook.name} is trusted to act")


GATE = Gate("trust", 20, "May this playbook act by itself?", _ask)
