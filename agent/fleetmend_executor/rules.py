"""The host's rules for one order: the owner's policy and the declaration together. Protected wins over everything. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from .actions import Refused
from .declaration import NONE, Declaration, UnitRule
from .globs import any_unit, base_of, is_below, is_protected, is_wild
from .policy import AnsiblePlay, Constraint, HostPolicy, NamedCommand
from .units import checked_name

# Nothing below these is ever cleared, whatever is declared disposable.
SYSTEM_PATHS = (
    *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/root", "/run/systemd", "/sbin", "/sys", "/usr"),
    *("/opt/fleetmend", "/var/lib/fleetmend", "/var/lib/fleetmend-agent", "/var/lib/fleetmend-executor", "/var/lib/dpkg"),
)
# The hands must not take off themselves, nor the connection between PID 1 and the rest.
OWN_UNITS = ("fleetmend-*", "dbus.service", "dbus.socket", "dbus-broker.service", "systemd-journald*", "init.scope")
# systemd keeps what is open to the journal over its restart, so that alone may be ordered, where it is declared.
_JOURNAL, _RESTARTS = "systemd-journald.service", ("restart_unit", "restart_cleanly")
_WITHOUT_JOURNAL = (
    *(glob for glob in OWN_UNITS if glob != "systemd-journald*"),
    *("systemd-journald-*", "systemd-journald@*", "systemd-journald.socket"),
)


class HostRules(NamedTuple):
    """What may be done here, asked by the actions' plans."""

    policy: HostPolicy
    declaration: Declaration = NONE

    def constraint(self, action: str) -> Constraint:
        """What the owner's file says about an action, or Refused("not_permitted")."""
        constraint = self.policy.actions.get(action)
        if constraint is None:
            raise Refused("not_permitted", f"cannot run {action}: this host's policy file does not list it")
        return constraint

    def unit(self, action: str, name: object, *, interrupts: bool = False) -> UnitRule:
        """The rule for a unit that an action wants to touch, or Refused. `interrupts`: it would stop a running one."""
        unit, constraint = checked_name(name), self.constraint(action)
        if any_unit(unit, self._protected_from(action)):
            raise Refused("protected", f"cannot {action} {unit}: it is protected")
        if any_unit(unit, constraint.excluded) or not any_unit(unit, constraint.units):
            raise Refused("not_permitted", f"cannot {action} {unit}: this host's policy file excludes it")
        rule = self.declaration.units.get(unit)
        if rule is None:
            if self.policy.undeclared_units:
                return UnitRule()
            raise Refused("undeclared", f"cannot {action} {unit}: no declaration names it")
        if interrupts and rule.restart == "never":
            raise Refused("restart_never", f"cannot {action} {unit}: it is declared restart: never")
        return rule

    def forbidden_units(self, action: str) -> tuple[str, ...]:
        """Unit globs that none of a unit's other names may match."""
        return (*self._protected_from(action), *self.constraint(action).excluded)

    @property
    def protected_units(self) -> tuple[str, ...]:
        """Globs of protected units: those entries of `protected` that are no paths, and what Fleetmend itself stands on."""
        return (*OWN_UNITS, *self._owners_units)

    @property
    def protected_paths(self) -> tuple[str, ...]:
        """Globs of paths that are never deleted: the owner's, the declaration's, and what the system stands on."""
        globs = (*self.policy.protected, *self.declaration.protected)
        return (*SYSTEM_PATHS, *(glob for glob in globs if "/" in glob))

    def killable_units(self, action: str) -> tuple[str, ...]:
        """Declared units whose processes may be killed: restart allowed, not protected, not excluded."""
        return tuple(name for name in self.declaration.units if self._is_killable(action, name))

    def clearable(self, action: str, pattern: str) -> str:
        """The pattern, if its folder is declared disposable and the owner's file permits it; Refused otherwise."""
        base, paths = base_of(pattern), self.constraint(action).paths
        if base == "/" or is_protected(base, self.protected_paths):
            raise Refused("protected", f"cannot clear {pattern}: {base} is protected")
        if paths and not _covered(base, paths):
            raise Refused("not_permitted", f"cannot clear {pattern}: this host's policy file does not list it")
        if not _covered(base, self.declaration.disposable):
            raise Refused("undeclared", f"cannot clear {pattern}: no declaration calls it disposable")
        return pattern

    def command(self, action: str, name: str) -> NamedCommand:
        """The command that the owner offers under a name, or Refused("not_permitted")."""
        permitted = self.constraint(action).commands
        command = self.policy.commands.get(name)
        if command is None or (permitted and name not in permitted):
            raise Refused("not_permitted", f"cannot run command {name!r}: this host's policy file does not offer it")
        return command

    def play(self, action: str, name: str) -> AnsiblePlay:
        """The Ansible playbook that the owner offers under a name, or Refused("not_permitted")."""
        permitted = self.constraint(action).commands
        play = self.policy.ansible.get(name)
        if play is None or (permitted and name not in permitted):
            raise Refused("not_permitted", f"cannot run playbook {name!r}: this host's policy file does not offer it")
        return play

    def part(self, name: str) -> Any:
        """What a section of the declarations says to this host; None when nothing is declared there."""
        return self.declaration.parts.get(name)

    def _protected_from(self, action: str) -> tuple[str, ...]:
        """Globs of units that are protected from this action."""
        journal = self.declaration.units.get(_JOURNAL)
        if action not in _RESTARTS or journal is None or journal.restart == "never":
            return self.protected_units
        return (*_WITHOUT_JOURNAL, *self._owners_units)

    @property
    def _owners_units(self) -> tuple[str, ...]:
        globs = (*self.policy.protected, *self.declaration.protected)
        return tuple(glob for glob in globs if "/" not in glob)

    def _is_killable(self, action: str, name: str) -> bool:
        try:
            return self.unit(action, name, interrupts=True).restart == "allowed"
        except Refused:
            return False


def _covered(base: str, patterns: tuple[str, ...]) -> bool:
    """Whether the base lies in the folder of one of the patterns; each file is matched again when its turn comes."""
    return any(is_below(base, base_of(pattern)) if is_wild(pattern) else base == pattern for pattern in patterns)
