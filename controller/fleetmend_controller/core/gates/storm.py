"""Do many hosts fail in the same way? Then it is one problem for a person, not many repairs.

Where several have begun to, the next moment tells whether it is a storm or has a cause in common: until then newcomers wait.
"""

from __future__ import annotations

from ..effects import Why
from ..model import EVERYBODY, Fleet, Incident, Outbreak, Storm
from ..storms import COMPARE_HOSTS_MIN, PAGE_WAIT_MS
from . import Answer, Candidate, Gate, allow, hold

RECHECK_MS = 60_000


def described(outbreak: Outbreak, check_type: str) -> str:
    """What a storm is, in one sentence."""
    groups = ", ".join(f"{group} ({count} hosts)" for group, count in outbreak.groups.items())
    return f"many hosts fail {check_type} together: {groups}; see {outbreak.incident}"


def judge(fleet: Fleet, incident: Incident, limit: Storm, now_ms: int) -> Answer:
    """What storms say of one incident, whichever playbook answers it, or none."""
    outbreak = fleet.outbreaks.get(incident.check_type)
    if outbreak is not None:
        return hold(Why.STORM, described(outbreak, incident.check_type), now_ms + RECHECK_MS)
    hosts = len(fleet.fresh_bad.get((incident.check_type, *EVERYBODY), ()))
    until_ms = incident.opened_ms + PAGE_WAIT_MS
    if hosts >= max(COMPARE_HOSTS_MIN, limit.hosts) and now_ms < until_ms:
        text = f"{hosts} hosts fail {incident.check_type} at about one time: waits a moment for what they have in common"
        return hold(Why.STORM_BREWING, text, until_ms)
    return allow("no storm of this check")


def _ask(c: Candidate) -> Answer:
    if c.incident.run is not None:
        return allow("an operator asked for it")
    return judge(c.fleet, c.incident, c.playbook.limits.storm or c.policy.storm, c.now_ms)


GATE = Gate("storm", 120, "Do many hosts fail in the same way?", _ask)
