"""What a host is to run, from the rules in force and its labels, as the message that carries it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from fleetmend.v1 import link_pb2

from ..pki.registry import HostRecord
from ..rules import CheckSpec, RuleSet
from .orders import Sealer
from .sessions import Session


class HostConfigs:
    """Makes each host's configuration. `rules` gives the rules in force, `epoch` that of the decider."""

    def __init__(
        self, rules: Callable[[], RuleSet], epoch: Callable[[], int], sealer: Sealer, wall_ms: Callable[[], int]
    ) -> None:
        self._rules = rules
        self._epoch = epoch
        self._sealer = sealer
        self._wall_ms = wall_ms

    def refresh(self, session: Session, host: HostRecord) -> link_pb2.AgentConfig | None:
        """The configuration for a stream, noted there; None if it has that one already.

        A declaration's version is the time at which it was made: it rises, and the epoch above it rises when clocks step back.
        """
        rules = self._rules()
        checks = rules.checks_for(host.labels)
        declared = rules.declaration_for(host.labels)
        specs = [_spec(check) for check in checks]
        digest = _digest(specs, json.dumps(declared, sort_keys=True))
        if digest == session.config_digest:
            return None
        session.config_digest = digest
        session.config_version = max(session.config_version + 1, self._wall_ms())
        session.configured = {check.name: check.type for check in checks}
        payload, mac = self._sealer.declaration(host.id, self._epoch(), session.config_version, declared)
        return link_pb2.AgentConfig(digest=digest, checks=specs, declaration_payload=payload, declaration_mac=mac)


def _spec(check: CheckSpec) -> link_pb2.CheckSpec:
    return link_pb2.CheckSpec(
        name=check.name,
        type=check.type,
        params_json=json.dumps(check.params, sort_keys=True, separators=(",", ":")),
        every_ms=check.every_ms,
        timeout_ms=check.timeout_ms,
        confirm_bad=check.confirm_bad,
        confirm_good=check.confirm_good,
    )


def _digest(specs: list[link_pb2.CheckSpec], declared: str) -> str:
    digest = hashlib.sha256()
    for spec in specs:
        digest.update(spec.SerializeToString(deterministic=True))
    digest.update(b"\0" + declared.encode())
    return digest.hexdigest()[:32]
