"""The ONE place that knows both languages: from a catalogue's `declare` block to Fleetmend's rules and a host owner's policy.

What the catalogue's operator permits becomes declarations and the host's policy file. The shipped checks and playbooks are
taken as they are; the operator of these hosts trusts them (`trust: act`) and lets them act without asking, which the declare
block says in its own words (disposable, killable, reinstall: allowed).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[3]
OWNER = "bench"
# How long a fault must last before something is done about it: budgets.hold_before_action_s of the declare block.
HOLD_S = 5
# Checks whose first bad look counts; the others look several times, or over a time, before they say anything.
AT_FIRST_SIGHT = ("managed_file", "file_mode", "mount_missing", "listener_owner")
BENCH_ROOT = "/run/bench/root"
# The declare block is about the world's hosts, each a fleet of its own; others may join for a fault that many hosts have.
WORLD = "world"
WORLDS = [f"bench-{number}" for number in range(1, 51)]
SUFFIXES = (".service", ".socket", ".timer", ".mount", ".path")

Declare = dict[str, Any]


class _Plain(yaml.SafeDumper):
    """YAML without aliases: rules refuse them."""

    def ignore_aliases(self, data: Any) -> bool:
        """Every value is written again."""
        del data
        return True


def declaration(declare: Declare) -> dict[str, Any]:
    """Our declaration file, as a mapping."""
    made: dict[str, Any] = {"declare": "bench", "on": {WORLD: WORLDS}, "owner": OWNER, "units": _units(declare)}
    sections = {
        "jobs": _jobs(declare),
        "listeners": list(_listeners(declare)),
        "mounts": {path: _mount(told) for path, told in declare.get("mounts", {}).items()},
        "disposable": declare.get("disposable", []),
        "protected": [*declare.get("protected", []), *_remote_units(declare)],
        "live_logs": {path: _live_log(told) for path, told in declare.get("live_logs", {}).items()},
        "spools": {path: _spool(told) for path, told in declare.get("spools", {}).items()},
        "ownership": {path: _ownership(told) for path, told in declare.get("ownership", {}).items()},
        "managed_files": _managed(declare),
        "limits": _limits(declare),
        "killable": list(_killable(declare)),
        "packages": _packages(declare),
        "network": _network(declare),
        "names": declare.get("names", {}),
        "resolver": declare.get("resolver", {}),
        "certificates": _certificates(declare),
        "trust_store": _trust_store(declare),
        "sysctl": {"file": declare["sysctl"], "apply": "allowed"} if "sysctl" in declare else {},
        "accounts": {"uid0": declare["accounts"]["uid0"]} if "accounts" in declare else {},
        "security": _security(declare),
        "containers": _containers(declare),
    }
    made |= {name: value for name, value in sections.items() if value}
    if "timezone" in declare:
        made["timezone"] = declare["timezone"]
    return made | _space(declare)


def commands(declare: Declare) -> dict[str, list[str]]:
    """Commands that the host's owner offers by name: what the declare block wants run."""
    found = {f"test-{_stem(unit)}": shlex.split(told["config_test"]) for unit, told in _with(declare, "config_test")}
    if renew := declare.get("tls", {}).get("renew"):
        found["renew-certificate"] = shlex.split(renew)
    if _trust_store(declare):
        found["rebuild-trust-store"] = ["/usr/sbin/update-ca-certificates", "--fresh"]
    return {name: [_absolute(argv[0]), *argv[1:]] for name, argv in found.items()}


def host_policy(declare: Declare, actions: list[str]) -> dict[str, Any]:
    """The host's policy file: its owner permits everything that the product knows, within what is declared."""
    offered = {name: {"argv": argv, "timeout": "60s", "hosted": True} for name, argv in commands(declare).items()}
    return {"actions": {name: {} for name in actions}, "commands": offered, "protected": [], "undeclared": "refuse"}


def agent_settings(controller: str, overlay: str, kmsg: str) -> dict[str, Any]:
    """The agent's own file: where the controller is, and where simulated hardware lies."""
    return {"controller": controller, "roots": {"overlay": overlay, "kmsg": kmsg}}


def write_rules(declare: Declare, folder: Path) -> None:
    """A rules directory: the shipped checks and playbooks, trusted, and the declaration."""
    for kind in ("checks", "playbooks"):
        (folder / kind).mkdir(parents=True)
        for path in sorted((REPOSITORY / "deploy" / kind).glob("*.yaml")):
            (folder / kind / path.name).write_text((trusted if kind == "playbooks" else impatient)(path.read_text()))
    (folder / "declarations").mkdir()
    text = yaml.dump(declaration(declare), Dumper=_Plain, sort_keys=False, default_flow_style=False, width=200)
    (folder / "declarations" / "bench.yaml").write_text(text)


def trusted(playbook: str) -> str:
    """A shipped playbook as this operator runs it: it acts, and what is declared disposable or killable goes without asking."""
    text = re.sub(r"^trust: \w+", "trust: act", playbook, flags=re.MULTILINE)
    text = re.sub(r"^approval: .*\n", "", text, flags=re.MULTILINE)
    # Nothing is done about what lasts a shorter time than this operator's.
    text = re.sub(rf"^  for: [1-{HOLD_S - 1}]s\b", f"  for: {HOLD_S}s", text, flags=re.MULTILINE)
    if "\n  for: " not in text:
        at_once = rf"^(  check: .*\b(?:{'|'.join(AT_FIRST_SIGHT)})\b.*)$"
        text = re.sub(at_once, rf"\1\n  for: {HOLD_S}s", text, flags=re.MULTILINE)
    return text + "approval: {needed_for: never}\n"


def impatient(checks: str) -> str:
    """Shipped checks as this operator wants them: two looks within budgets.detect_within_s; the past counts as long."""
    quicker = re.sub(r"every: (\d+m|[2-9]\ds|1[1-9]s)\b", "every: 10s", checks)
    return re.sub(r"(hold|quiet|settle|pace): 10m", r"\1: 30s", quicker)


def _units(declare: Declare) -> dict[str, Any]:
    return {name: _unit(name, told) for name, told in declare.get("units", {}).items()}


def _unit(name: str, told: Declare) -> dict[str, Any]:
    restart = str(told.get("restart", "")).split()[:1]
    made: dict[str, Any] = {"desired": "stopped" if told.get("desired") == "stopped" else "running"}
    # A timer or socket of which nothing else is said may be started again, as its desired state demands.
    made["restart"] = restart[0] if restart and restart[0] in ("allowed", "clean-only", "never") else "clean-only"
    if told.get("reload") == "allowed":
        made["reload"] = "allowed"
    if health := _health(str(told.get("health", ""))):
        made["health"] = health
    for probe in ("write_probe", "dependency_probe"):
        if probe in told:
            made[probe] = told[probe]
    if "config_test" in told:
        made["config_test"] = f"test-{_stem(name)}"
    if "memory_max_mb" in told:
        made["memory_max"] = f"{told['memory_max_mb']}M"
    if "heartbeat" in told:
        made["heartbeat"] = {"path": told["heartbeat"]["path"], "max_age": f"{told['heartbeat']['max_age_s']}s"}
    for key in ("instances", "process", "user", "stateful", "lock_file", "bound_to"):
        if key in told:
            made[key] = told[key]
    return made


def _health(text: str) -> dict[str, Any] | None:
    """`http://...`, `tcp ADDRESS [send "X"] expect "Y"|any byte`, or that a logged line is readable in time."""
    # Bad five times in a row, asked each second: nothing is done about a hiccup shorter than the hold time.
    pace = {"every": "1s", "timeout": "1s", "confirm": {"bad": HOLD_S, "good": 1}}
    if text.startswith("https://"):
        # Whether the certificate is right is said of the certificate, once.
        return {"url": text, "verify": False, **pace}
    if text.startswith("http://"):
        return {"url": text, **pace}
    if logged := re.match(r"a logged line is readable within (\d+) s", text):
        return {"journal": f"{logged[1]}s", "every": f"{HOLD_S}s", "confirm": {"bad": 2, "good": 1}}
    found = re.match(r'tcp (?P<address>\S+)(?: send "(?P<send>[^"]*)")? expect (?:"(?P<expect>[^"]*)"|any byte)', text)
    if found is None:
        return None
    said = {"send": f"{found['send']}\n"} if found["send"] else {}
    wanted = {"expect": found["expect"]} if found["expect"] else {"expect_any": True}
    return {"tcp": found["address"], **said, **wanted, **pace}


def _jobs(declare: Declare) -> dict[str, Any]:
    made = {}
    for name, told in declare.get("jobs", {}).items():
        job: dict[str, Any] = {}
        if "max_runtime_s" in told:
            job["max_runtime"] = f"{told['max_runtime_s']}s"
        if "result" in told:
            job["result"] = {"path": told["result"]["path"], "max_age": f"{told['result']['max_age_s']}s"}
        if "newest_file" in told:
            job["newest_file"] = {"glob": told["newest_file"]["glob"], "max_age": f"{told['newest_file']['max_age_s']}s"}
        if told.get("run_once") == "allowed":
            job["run_once"] = "allowed"
        if told.get("heavy"):
            job["heavy"] = True
        made[name] = job
    return made


def _listeners(declare: Declare) -> Iterator[dict[str, str]]:
    for entry in declare.get("listeners", {}).get("tcp", []):
        address, stem = entry.split()
        units = [name for name in declare.get("units", {}) if _stem(name) == stem]
        service = next((name for name in units if name.endswith(".service")), next(iter(units), f"{stem}.service"))
        yield {"address": address, "unit": service}


def _mount(told: Declare) -> dict[str, Any]:
    made: dict[str, Any] = {"unit": told["unit"], "options": told.get("options", "rw")}
    made |= {key: told[key] for key in ("source", "fstype", "users") if key in told}
    if "remount_rw" in told:
        made["remount"] = "if-clean" if "clean" in told["remount_rw"] else "never"
    return made


def _space(declare: Declare) -> dict[str, Any]:
    told = declare.get("space")
    if not told:
        return {}
    target = told["target_percent"]
    made = {"space": {"heal_above_percent": told["heal_above_percent"], "target_percent": target}}
    if "inode_heal_above_percent" in told:
        made["inodes"] = {"heal_above_percent": told["inode_heal_above_percent"], "target_percent": target}
    return made


def _live_log(told: Declare) -> dict[str, Any]:
    return {"max_size": told["max_bytes"], "rotated_by": told["rotated_by"]}


def _spool(told: Declare) -> dict[str, Any]:
    return {"consumer": told["consumer"], "max_age": f"{told['max_item_age_s']}s"}


def _ownership(told: str) -> dict[str, str]:
    """`owner:group mode` or `owner mode`."""
    who, mode = told.split()
    owner, _, group = who.partition(":")
    return {"owner": owner, **({"group": group} if group else {}), "mode": f"0{mode}"}


def _managed(declare: Declare) -> dict[str, Any]:
    tree = declare.get("managed_files", {}).get("golden_tree")
    return {"golden": tree} if tree else {}


def _limits(declare: Declare) -> dict[str, Any]:
    names = {
        "pid_usage_percent": "pids_percent",
        "fd_usage_percent": "descriptors_percent",
        "sysv_sem_usage_percent": "sysv_semaphores_percent",
    }
    made: dict[str, Any] = {names[key]: value for key, value in declare.get("limits", {}).items() if key in names}
    if any(told.get("heavy") for told in declare.get("jobs", {}).values()):
        # Where jobs are named that may use a whole core, nobody else may; who does is told within budgets.detect_within_s.
        made |= {"core_percent": next(_killable(declare), {}).get("cpu_percent", 80), "core_for": "15s"}
    return made


def _killable(declare: Declare) -> Iterator[dict[str, Any]]:
    told = declare.get("killable")
    if told:
        condition = str(told.get("condition", ""))
        share, lasting = re.search(r"(\d+) ?%", condition), re.search(r"for (\d+) ?s", condition)
        yield {
            "user": told["user"],
            "cpu_percent": int(share[1]) if share else 80,
            "for": f"{lasting[1] if lasting else HOLD_S}s",
        }


def _packages(declare: Declare) -> dict[str, Any]:
    told = dict(declare.get("packages", {}))
    reinstall = told.pop("reinstall", "never")
    told.pop("source", None)
    named = {name: {**entry, "version": str(entry["version"]), "reinstall": reinstall} for name, entry in told.items()}
    return {"configure": reinstall, "installed": named} if named else {}


def _network(declare: Declare) -> dict[str, Any]:
    told = declare.get("network")
    if not told:
        return {}
    interface = {key: told[key] for key in ("mtu", "address", "gateway") if key in told}
    return {
        "interfaces": {told["interface"]: interface},
        "manager": str(told.get("manager", "none")).split()[0],
        "extra_routes": "none" if told.get("extra_routes") == "none" else "any",
        "extra_rules": "none" if told.get("extra_rules") == "none" else "any",
        "qdisc": "default" if told.get("qdisc") == "default" else "any",
        "remove_undeclared": told.get("remove_undeclared", "never"),
    }


def _certificates(declare: Declare) -> dict[str, Any]:
    told = declare.get("tls")
    if not told:
        return {}
    served = told.get("served_at", "")
    made = {"file": told["certificate"], "served_at": served, "min_days": told["min_days"], "ca": told["ca"]}
    if "renew" in told:
        made["renew"] = "renew-certificate"
    key = f"{told['certificate'].rpartition('.')[0]}.key"
    if key in declare.get("ownership", {}):
        made["key"] = key
    health = [name for name, unit in declare.get("units", {}).items() if served and served in str(unit.get("health", ""))]
    return {"served": made | ({"reload": health[0]} if health else {})}


def _trust_store(declare: Declare) -> dict[str, str]:
    told = declare.get("tls", {})
    bundle = str(told.get("trust_store", "")).split()
    # The CA is the service's own; nobody says that the machine trusts it.
    return {"bundle": bundle[0], "rebuild": "rebuild-trust-store"} if bundle else {}


def _security(declare: Declare) -> dict[str, Any]:
    """Only packages bring set-uid programs, and nothing is preloaded: no exceptions are declared. Listeners are all listed."""
    others = {"undeclared_listeners": "report"} if "listeners" in declare else {}
    return {"setuid_allowed": [], "preload_allowed": [], **others} if "security" in declare else {}


def _containers(declare: Declare) -> dict[str, Any]:
    """The containers that this operator runs, where an engine is simulated; a declare block that names some goes before."""
    named = declare.get("containers") or {key: {"restart": "allowed"} for key in ("shop", "mailer")}
    return {"engine": f"{BENCH_ROOT}/run/docker.sock", "declared": named, "every": "3s"}


def _remote_units(declare: Declare) -> list[str]:
    """Units that stand for other machines: never touched."""
    return [
        word.strip("'\"")
        for text in declare.get("remote", [])
        for word in str(text).split()
        if word.strip("'\"").endswith(SUFFIXES)
    ]


def _with(declare: Declare, key: str) -> list[tuple[str, Declare]]:
    return [(name, told) for name, told in declare.get("units", {}).items() if key in told]


def _stem(unit: str) -> str:
    return unit.rpartition(".")[0]


def _absolute(command: str) -> str:
    return command if command.startswith("/") else f"/usr/local/sbin/{command}"
