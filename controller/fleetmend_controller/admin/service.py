"""AdminService: each call of the protocol, handed to the file that knows its subject."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from fleetmend.v1 import admin_pb2 as pb
from fleetmend.v1 import admin_pb2_grpc

from ..gateway.authz import caller
from . import approvals, audit, hosts, hostwhy, incidents, maintenance, pauses, playbooks, reports, run, status, tokens
from .case import show
from .convert import cost_of, pause_of
from .desk import Desk
from .errors import turning_down

_HOST_INCIDENTS_MAX = 100


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    """What operators' tools call."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def GetStatus(self, _request: pb.GetStatusRequest, context: Any) -> pb.GetStatusResponse:
        """The state of the controller and of its fleet on one page."""
        async with turning_down(context):
            return await status.get_status(self._desk)

    async def ListHosts(self, request: pb.ListHostsRequest, context: Any) -> pb.ListHostsResponse:
        """A page of hosts."""
        async with turning_down(context):
            return hosts.list_hosts(self._desk, request)

    async def GetHost(self, request: pb.GetHostRequest, context: Any) -> pb.GetHostResponse:
        """One host with its open incidents."""
        async with turning_down(context):
            host = hosts.find_host(self._desk, request.host)
            query = incidents.open_incidents(host.id).limit(_HOST_INCIDENTS_MAX)
            found = await self._desk.store.read(lambda connection: incidents.read_incidents(connection, query))
            known = self._desk.decider.fleet.hosts.get(host.id)
            session = self._desk.sessions.get(host.id)
            return pb.GetHostResponse(
                host=hosts.host_of(self._desk, host),
                incidents=found,
                boot_id=known.boot if known is not None else "",
                permitted_actions=session.permitted_actions if session is not None else (),
                clock_skew_ms=session.skew_ms if session is not None else None,
            )

    async def LabelHost(self, request: pb.LabelHostRequest, context: Any) -> pb.LabelHostResponse:
        """Change labels of one host."""
        async with turning_down(context):
            return await hosts.label_host(self._desk, request, self._desk.who(context))

    async def RemoveHost(self, request: pb.RemoveHostRequest, context: Any) -> pb.RemoveHostResponse:
        """Remove a host for ever."""
        async with turning_down(context):
            return await hosts.remove_host(self._desk, request, self._desk.who(context))

    async def GetFacts(self, request: pb.GetFactsRequest, context: Any) -> pb.GetFactsResponse:
        """The newest inventory of one host."""
        async with turning_down(context):
            return await hosts.get_facts(self._desk, request)

    async def ListIncidents(self, request: pb.ListIncidentsRequest, context: Any) -> pb.ListIncidentsResponse:
        """A page of incidents."""
        async with turning_down(context):
            return await incidents.list_incidents(self._desk, request)

    async def GetIncident(self, request: pb.GetIncidentRequest, context: Any) -> pb.GetIncidentResponse:
        """One incident with its decisions and attempts."""
        async with turning_down(context):
            return await incidents.get_incident(self._desk, request)

    async def AcknowledgeIncident(self, request: pb.AcknowledgeIncidentRequest, context: Any) -> pb.AcknowledgeIncidentResponse:
        """A person takes an incident."""
        async with turning_down(context):
            return await incidents.acknowledge(self._desk, request, self._desk.who(context))

    async def WatchIncidents(self, request: pb.WatchIncidentsRequest, context: Any) -> AsyncIterator[pb.WatchIncidentsResponse]:
        """Every change of an incident, as it happens."""
        async with turning_down(context), aclosing(incidents.watch_incidents(self._desk, request)) as changes:
            async for change in changes:
                yield change

    async def Explain(self, request: pb.ExplainRequest, context: Any) -> pb.ExplainResponse:
        """Why an incident went the way it did."""
        async with turning_down(context):
            return await incidents.explain_incident(self._desk, request)

    async def ExplainHost(self, request: pb.ExplainHostRequest, context: Any) -> pb.ExplainHostResponse:
        """Why nothing is done on a host now."""
        async with turning_down(context):
            return hostwhy.explain_host(self._desk, request)

    async def ListPlaybooks(self, _request: pb.ListPlaybooksRequest, context: Any) -> pb.ListPlaybooksResponse:
        """The playbooks in force."""
        async with turning_down(context):
            return playbooks.list_playbooks(self._desk)

    async def GetPlaybook(self, request: pb.GetPlaybookRequest, context: Any) -> pb.GetPlaybookResponse:
        """One playbook with its record."""
        async with turning_down(context):
            return playbooks.get_playbook(self._desk, request.name)

    async def RestoreTrust(self, request: pb.RestoreTrustRequest, context: Any) -> pb.RestoreTrustResponse:
        """Lift a playbook's demotion."""
        async with turning_down(context):
            return await playbooks.restore_trust(self._desk, request.name, self._desk.who(context))

    async def ListActions(self, _request: pb.ListActionsRequest, context: Any) -> pb.ListActionsResponse:
        """The actions that can be ordered."""
        async with turning_down(context):
            known = self._desk.catalogue.actions
            return pb.ListActionsResponse(actions=[_action(known[name]) for name in sorted(known)])

    async def ListApprovals(self, _request: pb.ListApprovalsRequest, context: Any) -> pb.ListApprovalsResponse:
        """Orders that wait for people."""
        async with turning_down(context):
            return pb.ListApprovalsResponse(approvals=approvals.waiting(self._desk))

    async def Approve(self, request: pb.ApproveRequest, context: Any) -> pb.ApproveResponse:
        """A person's yes."""
        async with turning_down(context):
            return await approvals.approve(self._desk, request, caller())

    async def Deny(self, request: pb.DenyRequest, context: Any) -> pb.DenyResponse:
        """A person's no."""
        async with turning_down(context):
            return await approvals.deny(self._desk, request, caller())

    async def AddMaintenance(self, request: pb.AddMaintenanceRequest, context: Any) -> pb.AddMaintenanceResponse:
        """Announce maintenance."""
        async with turning_down(context):
            return await maintenance.add(self._desk, request, self._desk.who(context))

    async def ListMaintenance(self, _request: pb.ListMaintenanceRequest, context: Any) -> pb.ListMaintenanceResponse:
        """Announced maintenance."""
        async with turning_down(context):
            return pb.ListMaintenanceResponse(windows=maintenance.listed(self._desk))

    async def RemoveMaintenance(self, request: pb.RemoveMaintenanceRequest, context: Any) -> pb.RemoveMaintenanceResponse:
        """End or withdraw maintenance."""
        async with turning_down(context):
            return await maintenance.remove(self._desk, request, self._desk.who(context))

    async def GetRiskReport(self, _request: pb.GetRiskReportRequest, context: Any) -> pb.GetRiskReportResponse:
        """What is healed again and again."""
        async with turning_down(context):
            return reports.risk(self._desk)

    async def GetToilReport(self, request: pb.GetToilReportRequest, context: Any) -> pb.GetToilReportResponse:
        """What healing spared people."""
        async with turning_down(context):
            return await reports.toil(self._desk, request.since_ms)

    async def Pause(self, request: pb.PauseRequest, context: Any) -> pb.PauseResponse:
        """Switch healing off in a scope."""
        async with turning_down(context):
            return await pauses.pause(self._desk, request, self._desk.who(context))

    async def Resume(self, request: pb.ResumeRequest, context: Any) -> pb.ResumeResponse:
        """Switch healing on again."""
        async with turning_down(context):
            return await pauses.resume(self._desk, request, self._desk.who(context))

    async def ListPauses(self, _request: pb.ListPausesRequest, context: Any) -> pb.ListPausesResponse:
        """The pauses in force."""
        async with turning_down(context):
            return pb.ListPausesResponse(pauses=[pause_of(pause) for pause in pauses.pauses_in_force(self._desk)])

    async def RunAction(self, request: pb.RunActionRequest, context: Any) -> AsyncIterator[pb.RunActionResponse]:
        """One action on chosen hosts, followed to its end."""
        async with turning_down(context), aclosing(run.run_action(self._desk, request, caller())) as answers:
            async for answer in answers:
                yield answer

    async def CreateToken(self, request: pb.CreateTokenRequest, context: Any) -> pb.CreateTokenResponse:
        """Make a join token."""
        async with turning_down(context):
            made = await tokens.create_token(self._desk, request, self._desk.who(context))
            return pb.CreateTokenResponse(token=tokens.token_of(made.token), secret=made.text)

    async def ListTokens(self, _request: pb.ListTokensRequest, context: Any) -> pb.ListTokensResponse:
        """Join tokens that can still be used."""
        async with turning_down(context):
            live = await self._desk.tokens.live(self._desk.now_ms())
            return pb.ListTokensResponse(tokens=[tokens.token_of(token) for token in live])

    async def DeleteToken(self, request: pb.DeleteTokenRequest, context: Any) -> pb.DeleteTokenResponse:
        """Make a join token worthless."""
        async with turning_down(context):
            await tokens.delete_token(self._desk, request.id, self._desk.who(context))
            return pb.DeleteTokenResponse(id=request.id)

    async def VerifyAudit(self, _request: pb.VerifyAuditRequest, context: Any) -> AsyncIterator[pb.VerifyAuditResponse]:
        """Check the hash chain of the whole journal."""
        async with turning_down(context), aclosing(audit.verify_audit(self._desk)) as steps:
            async for step in steps:
                yield step

    async def ListAudit(self, request: pb.ListAuditRequest, context: Any) -> pb.ListAuditResponse:
        """A page of the audit trail."""
        async with turning_down(context):
            return await audit.list_audit(self._desk, request)


def _action(spec: Any) -> pb.ActionType:
    params = [
        pb.ActionParam(
            name=param.name,
            kind=param.kind,
            doc=param.doc,
            required=param.required,
            default="" if param.default is None else show(param.default),
        )
        for param in spec.params
    ]
    return pb.ActionType(
        name=spec.name,
        summary=spec.summary,
        cost=cost_of(spec.cost),
        params=params,
        proved_by=spec.proved_by,
        timeout_ms=round(spec.timeout_s * 1000),
    )
