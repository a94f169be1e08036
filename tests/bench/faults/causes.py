"""Which checks speak of which class of fault: what counts as the right cause. Knows the product, not the catalogue."""

from __future__ import annotations

from typing import Any

# A class is matched by its first word. What a check type says of another class is a symptom there, not the cause.
CHECKS_OF: dict[str, tuple[str, ...]] = {
    "service": ("unit_", "http_endpoint", "tcp_port", "listener_owner", "file_age", "job_", "spool_age", "journal_write"),
    "process": ("unit_", "process_", "pid_usage", "http_endpoint", "tcp_port", "file_age", "spool_age", "listener_owner"),
    "disk": ("filesystem_", "mount_missing", "file_", "disk_", "kernel_log", "smart", "raid", "log_size", "managed_file"),
    "memory": ("memory_", "unit_memory", "oom_kill", "swap_used", "kernel_log", "edac"),
    "cpu": ("cpu_", "process_runaway", "process_busy"),
    "fd/limits": ("unit_descriptors", "file_handles", "pid_usage", "semaphores", "conntrack", "http_endpoint"),
    "network": (
        "link_", "route_extra", "rule_extra", "qdisc_extra", "neighbour_extra", "network_", "bond", "http_endpoint", "tcp_port",
        "time_wait", "dns_name", "conntrack", "accept_queue",
    ),
    "dns": ("dns_name", "managed_file", "http_endpoint"),
    "tls/cert": ("tls_certificate", "trust_store", "http_endpoint", "file_", "managed_file"),
    "kernel": ("kernel_", "reboot_required", "unexpected_reboot", "sysctl_value", "host_lost"),
    "config/package": (
        "managed_file", "file_mode", "exposed_files", "package_", "sysctl_value", "timezone", "kernel_module", "unit_",
        "http_endpoint",
    ),
    "scheduler/cron": ("job_", "file_age", "unit_"),
    "logs": ("log_size", "journal_write", "managed_file", "unit_", "service_log", "filesystem_", "file_age"),
    "security": ("listener_", "setuid_files", "accounts_uid0", "preload_file", "exposed_files", "file_mode", "managed_file"),
    "agent/controller": ("host_lost", "agent_", "storm", "unit_", "many_hosts"),
    "hardware": ("smart", "edac", "kernel_log", "temperature", "redfish_sensors", "ups", "raid"),
    "time": ("time_sync", "timezone"),
    "containers": ("container_health",),
}  # fmt: skip


def speaks_of(cls: str, check_type: str) -> bool:
    """Whether a check of this type names a cause of this class."""
    first = cls.split(" ", maxsplit=1)[0]
    known = CHECKS_OF.get(cls) or next((types for name, types in CHECKS_OF.items() if name.split(" ")[0] == first), ())
    return any(check_type.startswith(prefix) for prefix in known)


def told(cls: str, stories: list[dict[str, Any]]) -> bool:
    """Whether people were told of one of these incidents, and of the right thing."""
    return any(story["incident"]["phase"] == "escalated" and speaks_of(cls, story["check_type"]) for story in stories)
