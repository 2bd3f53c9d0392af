"""The flags of `mesoslite-agent`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mesoslite.attributes import Attribute, attributes_text, parse_attributes
from mesoslite.daemon import cache_dir, check_silence, state_dir
from mesoslite.masters import DEFAULT_MASTER, WAYS, Masters, parse_masters
from mesoslite.model import DAY_MS, ID_PATTERN
from mesoslite.resources import Resources, is_dynamic
from mesoslite.settings import (
    deadline_setting,
    host_setting,
    http_port_setting,
    insecure_setting,
    log_format_setting,
    log_level_setting,
    open_metrics_setting,
    path,
    port,
    port_file_setting,
    setting,
    show_words,
    stop_with_stdin_setting,
    switch_setting,
    text,
    token_file_setting,
    whole,
    words,
)
from mesoslite.wire.limits import DOMAIN_MAX
from mesoslite_agent.records import AgentConfig

DEFAULTS = AgentConfig(secret_seed=b"", executor_socket="")
HTTP_PORT = 5051  # as Mesos's
CACHE_MB_MAX = 4_096  # Kafka is 54, Cassandra 66, Spark 400: room for several of each
SANDBOX_AGE_S_MAX = 7 * DAY_MS // 1_000  # Mesos: --gc_delay, a week


def resources(value: str) -> Resources | None:
    """As Mesos writes them, `cpus:4;mem(ads):1024;ports:[31000-32000]`; empty: all of the host."""
    if not value.strip():
        return None
    parsed = Resources.parse(value)
    keys = (*parsed.scalars, *parsed.ranges, *parsed.sets)
    if (made := next(filter(is_dynamic, keys), None)) is not None:
        # It would be there beside what the checkpoint says of a reservation that is called so.
        raise ValueError(
            f"{made} is a reservation that is made while an agent runs; a role will do"
        )
    return parsed


def show_resources(value: Resources | None) -> str:
    """As `resources` reads it."""
    return "" if value is None else str(value)


def identifier(value: str) -> str:
    """An id, or nothing."""
    if value and ID_PATTERN.match(value) is None:
        raise ValueError("it is not 1 to 128 of A-Z a-z 0-9 . _ -")
    return value


def domain(value: str) -> str:
    """The name of a region or zone, or nothing."""
    if len(value) > DOMAIN_MAX or not value.isprintable() or value != value.strip():
        raise ValueError(f"it is not up to {DOMAIN_MAX} printable characters")
    return value


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """The flags of `mesoslite-agent`."""

    master: Masters = setting(
        parse_masters(DEFAULT_MASTER),
        parse_masters,
        f"the master, or several: {WAYS} (default {DEFAULT_MASTER})",
        metavar="MASTERS",
    )
    host: str = host_setting()
    port: int = setting(
        5061,
        port,
        "the port for health probes and for processes of tasks; 0: any free one (default 5061)",
        metavar="PORT",
    )
    port_file: Path | None = port_file_setting("the port")
    http_port: str = http_port_setting(HTTP_PORT)
    http_port_file: Path | None = port_file_setting("the HTTP port")
    open_metrics: bool = open_metrics_setting()
    work_dir: Path = setting(
        state_dir("agent"),
        path,
        "where checkpoint and sandboxes are (default ~/.local/state/mesoslite/agent)",
        metavar="DIR",
    )
    token_file: Path | None = token_file_setting("the token that the master made")
    insecure: bool = insecure_setting()
    log_format: str = log_format_setting()
    log_level: str = log_level_setting()
    stop_with_stdin: bool = stop_with_stdin_setting()
    hostname: str = setting("", text, "what to call this host (default: its name)")
    resources: Resources | None = setting(
        None,
        resources,
        "what to offer, as cpus:4;mem:1024;ports:[31000-32000] (default: all but a reserve)",
        metavar="RESOURCES",
        show=show_resources,
    )
    attributes: tuple[Attribute, ...] = setting(
        (),
        parse_attributes,
        "what this host is, as rack:r1;zone:a",
        metavar="ATTRIBUTES",
        show=attributes_text,
    )
    region: str = setting(
        "", domain, "the region that this host stands in, for a request's `where` (default: none)"
    )
    zone: str = setting(
        "", domain, "the zone, a part of the region that fails by itself (default: none)"
    )
    reconfigure: bool = switch_setting(
        "come back with less than before: fewer resources or containerizers, other attributes, "
        "another hostname, region or zone"
    )
    containerizers: tuple[str, ...] = setting(
        (),
        words,
        "what tasks may run in, the default first, as oci,process (default: all that work here)",
        metavar="NAME,...",
        show=show_words,
    )
    allow_user: tuple[str, ...] = setting(
        (),
        words,
        "system users that tasks may run as, beside the agent's own",
        metavar="USER,...",
        show=show_words,
    )
    pids_limit: int = setting(
        DEFAULTS.pids_limit,
        whole(1, DEFAULTS.pids_limit_max),
        f"processes and threads of a task that states none (default {DEFAULTS.pids_limit:,})",
        metavar="N",
    )
    fetch_timeout_s: float = deadline_setting(
        DEFAULTS.fetch_max_ms, "for the files of a task to arrive"
    )
    root_timeout_s: float = deadline_setting(DEFAULTS.root_max_ms, "for the root of a container")
    spawn_timeout_s: float = deadline_setting(DEFAULTS.spawn_max_ms, "for a command to be started")
    sandbox_age_s: float = deadline_setting(
        SANDBOX_AGE_S_MAX * 1_000, "until the sandbox of an ended task is removed"
    )
    fetch_cache: Path = setting(
        cache_dir("fetched"),
        path,
        "where fetched files are kept that name their SHA-256, for this user's other agents too "
        "(default ~/.cache/mesoslite/fetched)",
        metavar="DIR",
    )
    fetch_cache_mb: int = setting(
        CACHE_MB_MAX,
        whole(0, 2**30),
        f"MiB of them that are kept, those used last (default {CACHE_MB_MAX:,})",
        metavar="N",
    )
    heartbeat_s: float = deadline_setting(
        DEFAULTS.heartbeat_ms, "between two heartbeats, which the master answers"
    )
    silence_s: float = deadline_setting(
        DEFAULTS.silence_ms, "without one until the master counts as gone"
    )
    boot_id: str = setting(
        "", identifier, "taken for this boot of the host (default: the kernel's)", metavar="ID"
    )
    kill_on_exit: bool = switch_setting(
        "end all containers when the agent ends, or 30 s after it was killed, "
        "instead of leaving them to its successor"
    )

    def __post_init__(self) -> None:
        check_silence(self.heartbeat_s, self.silence_s)
