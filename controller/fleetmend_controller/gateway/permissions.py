"""The authorisation table: who may make which call, and at which door. What is not in it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique

from ..pki.names import Caller, Kind, Role


@unique
class Door(Enum):
    """Where a call comes in. MAIN demands a client certificate, ENROL asks for none, SOCKET is the owner's Unix socket."""

    MAIN = "main"
    ENROL = "enrol"
    SOCKET = "socket"


@dataclass(frozen=True, slots=True)
class Permission:
    """Who may: a kind of caller, with at least this role where roles exist. The local administrator passes for any operator."""

    kind: Kind
    role: Role | None = None

    def allows(self, caller: Caller) -> bool:
        """Whether this caller may."""
        if self.kind is not Kind.OPERATOR:
            return caller.kind is self.kind
        if caller.kind is Kind.LOCAL:
            return True
        return caller.kind is Kind.OPERATOR and caller.role is not None and self.role is not None and caller.role >= self.role


_NEWCOMER = Permission(Kind.ANONYMOUS)
_AGENT = Permission(Kind.AGENT)
_VIEWER = Permission(Kind.OPERATOR, Role.VIEWER)
_RESPONDER = Permission(Kind.OPERATOR, Role.RESPONDER)
_ADMIN = Permission(Kind.OPERATOR, Role.ADMIN)

PERMISSIONS: dict[str, Permission] = {
    "/fleetmend.v1.EnrollService/Enroll": _NEWCOMER,
    "/fleetmend.v1.EnrollService/Renew": _AGENT,
    "/fleetmend.v1.LinkService/Link": _AGENT,
    "/fleetmend.v1.AdminService/GetStatus": _VIEWER,
    "/fleetmend.v1.AdminService/ListHosts": _VIEWER,
    "/fleetmend.v1.AdminService/GetHost": _VIEWER,
    "/fleetmend.v1.AdminService/GetFacts": _VIEWER,
    "/fleetmend.v1.AdminService/ListIncidents": _VIEWER,
    "/fleetmend.v1.AdminService/GetIncident": _VIEWER,
    "/fleetmend.v1.AdminService/WatchIncidents": _VIEWER,
    "/fleetmend.v1.AdminService/Explain": _VIEWER,
    "/fleetmend.v1.AdminService/ExplainHost": _VIEWER,
    "/fleetmend.v1.AdminService/ListPlaybooks": _VIEWER,
    "/fleetmend.v1.AdminService/GetPlaybook": _VIEWER,
    "/fleetmend.v1.AdminService/ListApprovals": _VIEWER,
    "/fleetmend.v1.AdminService/ListMaintenance": _VIEWER,
    "/fleetmend.v1.AdminService/GetRiskReport": _VIEWER,
    "/fleetmend.v1.AdminService/GetToilReport": _VIEWER,
    "/fleetmend.v1.AdminService/ListActions": _VIEWER,
    "/fleetmend.v1.AdminService/ListPauses": _VIEWER,
    "/fleetmend.v1.AdminService/VerifyAudit": _VIEWER,
    "/fleetmend.v1.AdminService/ListAudit": _VIEWER,
    "/fleetmend.v1.AdminService/Pause": _RESPONDER,
    "/fleetmend.v1.AdminService/Resume": _RESPONDER,
    "/fleetmend.v1.AdminService/RunAction": _RESPONDER,
    # A playbook may ask for more (approval.role), which the service judges.
    "/fleetmend.v1.AdminService/Approve": _RESPONDER,
    "/fleetmend.v1.AdminService/Deny": _RESPONDER,
    "/fleetmend.v1.AdminService/AcknowledgeIncident": _RESPONDER,
    "/fleetmend.v1.AdminService/AddMaintenance": _RESPONDER,
    "/fleetmend.v1.AdminService/RemoveMaintenance": _RESPONDER,
    # What failed three times may act again: not for whoever is on call tonight.
    "/fleetmend.v1.AdminService/RestoreTrust": _ADMIN,
    # Labels decide groups, limits and rules; tokens decide who joins.
    "/fleetmend.v1.AdminService/LabelHost": _ADMIN,
    "/fleetmend.v1.AdminService/RemoveHost": _ADMIN,
    "/fleetmend.v1.AdminService/CreateToken": _ADMIN,
    "/fleetmend.v1.AdminService/ListTokens": _ADMIN,
    "/fleetmend.v1.AdminService/DeleteToken": _ADMIN,
}

# Which kinds of caller a door lets in at all.
DOORS: dict[Door, frozenset[Kind]] = {
    Door.MAIN: frozenset({Kind.AGENT, Kind.OPERATOR}),
    Door.ENROL: frozenset({Kind.ANONYMOUS}),
    Door.SOCKET: frozenset({Kind.LOCAL}),
}
