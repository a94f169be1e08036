"""Playbooks in force, their records, and how a demotion is lifted. Trust never rises by itself: a record only proposes."""

from __future__ import annotations

from fleetmend.v1 import admin_pb2 as pb

from ..core.events import TrustRestored
from ..core.model import Playbook, Standing, Trust
from .convert import playbook_of, trust_of
from .desk import Desk
from .errors import not_found, not_now

PROVED_MIN = 10


def list_playbooks(desk: Desk) -> pb.ListPlaybooksResponse:
    """In the order in which they are tried."""
    rules = desk.decider.rules
    listed = [playbook_of(playbook, desk.decider.fleet) for playbook in rules.policy.playbooks]
    return pb.ListPlaybooksResponse(playbooks=listed, rules_digest=rules.digest)


def get_playbook(desk: Desk, name: str) -> pb.GetPlaybookResponse:
    """One playbook with what its record says."""
    playbook = _find(desk, name)
    standing = desk.decider.fleet.standing.get(name, Standing())
    could_be, advice = propose(playbook, standing)
    record = pb.PlaybookRecord(
        proved=standing.proved,
        failed=standing.failed,
        failed_in_row=standing.failed_in_row,
        could_be=pb.PLAYBOOK_TRUST_UNSPECIFIED if could_be is None else trust_of(could_be),
        advice=advice,
    )
    return pb.GetPlaybookResponse(playbook=playbook_of(playbook, desk.decider.fleet), record=record)


async def restore_trust(desk: Desk, name: str, who: str) -> pb.RestoreTrustResponse:
    """Lift a demotion; the record begins anew."""
    playbook = _find(desk, name)
    standing = desk.decider.fleet.standing.get(name)
    if standing is None or standing.lowered is None:
        raise not_now(f"cannot restore {name}: it is not demoted; its trust {playbook.trust.value} stands in its file")
    detail = {"playbook": name, "from": standing.lowered.value, "to": playbook.trust.value, "demoted_because": standing.why}
    await desk.decider.audit("trust_restored", who, "", detail)
    await desk.decider.submit([TrustRestored(desk.now_ms(), name, who)])
    return pb.RestoreTrustResponse(playbook=playbook_of(playbook, desk.decider.fleet))


def propose(playbook: Playbook, standing: Standing) -> tuple[Trust | None, str]:
    """The trust that a record would justify, if it is more than what the file says, and the sentence for people."""
    if standing.lowered is not None:
        return None, (
            f"demoted to {standing.lowered.value}: {standing.why}; "
            f"once the cause is found, `fleetmend playbooks trust {playbook.name} --restore`"
        )
    if playbook.trust is Trust.ACT:
        return None, "it acts; there is no higher trust"
    if playbook.trust is Trust.OBSERVE:
        return None, "it only observes, so it has no record; with trust: suggest people decide on each repair"
    if standing.proved >= PROVED_MIN and standing.failed_in_row == 0:
        return Trust.ACT, f"{standing.proved} repairs proved: could be promoted to act, by trust: act in its file"
    if standing.failed_in_row:
        return None, f"the newest {standing.failed_in_row} repairs were not proved: not yet to be trusted further"
    return None, f"{standing.proved} of {PROVED_MIN} proved repairs that a promotion wants"


def _find(desk: Desk, name: str) -> Playbook:
    found = next((playbook for playbook in desk.decider.rules.policy.playbooks if playbook.name == name), None)
    if found is None:
        raise not_found(f"cannot find playbook {name!r}: none in force has this name; `fleetmend playbooks ls` lists them")
    return found
