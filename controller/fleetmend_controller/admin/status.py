"""The state of the controller and its fleet on one page."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetmend.v1 import admin_pb2 as pb

from ..alertmanager.inbox import Unplaced
from ..core.model import Phase
from ..core.storms import FLEET
from ..handover.rows import Standing, standing
from ..store.tables import incidents, journal, policies
from .approvals import waiting
from .convert import pause_of, phase_of
from .desk import Desk
from .hosts import state_of
from .incidents import read_incidents
from .maintenance import in_force
from .pauses import pauses_in_force

SHOWN_MAX = 100
GIVEN_UP_SHOWN_MS = 24 * 3_600_000
_HEALING = (Phase.ORDERED.value, Phase.RUNNING.value, Phase.PROVING.value)


async def get_status(desk: Desk) -> pb.GetStatusResponse:
    """Ask memory for what changes often and the store for the rest."""
    digest = desk.decider.rules.digest
    since_ms = desk.now_ms() - GIVEN_UP_SHOWN_MS
    answer = await desk.store.read(lambda connection: _from_store(connection, digest, since_ms))
    states = [state_of(desk, host.id) for host in desk.registry.all()]
    answer.hosts_up = states.count(pb.HOST_STATE_UP)
    answer.hosts_lost = states.count(pb.HOST_STATE_LOST)
    answer.hosts_never_connected = states.count(pb.HOST_STATE_NEVER_CONNECTED)
    answer.pauses.extend(pause_of(pause) for pause in pauses_in_force(desk))
    answer.approvals.extend(waiting(desk)[:SHOWN_MAX])
    answer.maintenance.extend(in_force(desk))
    answer.unplaced_alerts.extend(_unplaced(alert) for alert in desk.unplaced()[:SHOWN_MAX])
    controller = answer.controller
    controller.version = desk.version
    controller.epoch = desk.decider.epoch
    controller.now_ms = desk.now_ms()
    controller.uptime_ms = controller.now_ms - desk.started_ms
    controller.journal_writable = desk.decider.writable
    controller.journal_problem = desk.decider.failure
    controller.rules_digest = digest
    controller.rules_problem = desk.rules_problem()
    controller.playbooks = len(desk.decider.rules.policy.playbooks)
    return answer


def _unplaced(alert: Unplaced) -> pb.UnplacedAlert:
    return pb.UnplacedAlert(name=alert.name, labels=alert.labels, why=alert.why, since_ms=alert.since_ms, said_ms=alert.said_ms)


def _undelivered(line: Standing) -> pb.UndeliveredMessages:
    return pb.UndeliveredMessages(
        channel=line.channel, pending=line.pending, oldest_ms=line.oldest_ms, given_up=line.given_up, problem=line.problem
    )


def _from_store(connection: Connection, digest: str, since_ms: int) -> pb.GetStatusResponse:
    is_open = incidents.c.closed_ms.is_(None)
    grouped = sa.select(incidents.c.phase, sa.func.count()).where(is_open).group_by(incidents.c.phase)
    counts = {str(row[0]): int(row[1]) for row in connection.execute(grouped)}
    oldest = sa.select(incidents).where(is_open).order_by(incidents.c.opened_ms, incidents.c.id).limit(SHOWN_MAX)
    return pb.GetStatusResponse(
        controller=pb.ControllerStatus(
            journal_rows=connection.execute(sa.select(sa.func.max(journal.c.seq))).scalar() or 0,
            rules_loaded_ms=connection.execute(sa.select(policies.c.at_ms).where(policies.c.digest == digest)).scalar(),
        ),
        incidents_open=[pb.PhaseCount(phase=phase_of(p.value), count=counts[p.value]) for p in Phase if p.value in counts],
        healing=read_incidents(connection, oldest.where(incidents.c.phase.in_(_HEALING))),
        escalated=read_incidents(connection, oldest.where(incidents.c.phase == Phase.ESCALATED.value)),
        storms=read_incidents(connection, oldest.where(incidents.c.host == FLEET)),
        undelivered=[_undelivered(line) for line in standing(connection, since_ms)],
    )
