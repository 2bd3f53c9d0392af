"""The flags of `mesoslite-master`."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mesoslite.daemon import check_silence, state_dir
from mesoslite.master.state import MasterConfig
from mesoslite.masters import Ensemble, parse_ensemble, parse_masters
from mesoslite.settings import (
    SettingsError,
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
    seconds,
    setting,
    show_number,
    stop_with_stdin_setting,
    token_file_setting,
    whole,
)
from mesoslite.spelling import why_not_role

HTTP_PORT = 5050  # as Mesos's
WEIGHT_MAX = 1_000_000.0
EPOCH_MAX = 2**31 - 1  # the tokens of fences have it in their upper half
DEFAULTS = MasterConfig()
ZOOKEEPER_SESSION_S = 10.0  # Mesos: ZOOKEEPER_SESSION_TIMEOUT
ZOOKEEPER_SESSION_S_MIN, ZOOKEEPER_SESSION_S_MAX = 1.0, 60.0

Weights = tuple[tuple[str, float], ...]


def ensemble(value: str) -> Ensemble | None:
    """`zk://HOST1,HOST2:2181/PATH`; empty: none."""
    return parse_ensemble(value) if value else None


def show_ensemble(value: Ensemble | None) -> str:
    """As `ensemble` reads it."""
    return "" if value is None else str(value)


def advertised(value: str) -> str:
    """One HOST:PORT; empty: what is listened on."""
    if not value:
        return ""
    addresses = parse_masters(value).addresses
    if len(addresses) != 1:
        raise ValueError("it is not one HOST:PORT")
    return addresses[0]


def weights(value: str) -> Weights:
    """`role=weight` between commas; a weight has at most three decimals."""
    found: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in value.split(","))):
        role, equals, number = part.partition("=")
        if not equals:
            raise ValueError(f"{part!r} is not role=weight")
        if (why := why_not_role(role)) is not None:
            raise ValueError(why)
        if role in found:
            raise ValueError(f"the role {role!r} is there twice")
        try:
            weight = float(number)
        except ValueError:
            raise ValueError(f"the weight {number!r} is not a number") from None
        if not 0.001 <= weight <= WEIGHT_MAX or round(weight, 3) != weight:
            raise ValueError(
                f"the weight {number!r} is not from 0.001 to {WEIGHT_MAX:,.0f} in thousandths"
            )
        found[role] = weight
    return tuple(found.items())


def show_weights(value: Weights) -> str:
    """As `weights` reads it."""
    return ",".join(f"{role}={show_number(weight)}" for role, weight in value)


@dataclass(frozen=True, slots=True)
class MasterSettings:
    """The flags of `mesoslite-master`."""

    host: str = host_setting()
    port: int = setting(5060, port, "the port; 0: any free one (default 5060)", metavar="PORT")
    port_file: Path | None = port_file_setting("the port")
    http_port: str = http_port_setting(HTTP_PORT)
    http_port_file: Path | None = port_file_setting("the HTTP port")
    open_metrics: bool = open_metrics_setting()
    work_dir: Path = setting(
        state_dir("master"),
        path,
        "where the registry is, unless it is in --zk (default ~/.local/state/mesoslite/master)",
        metavar="DIR",
    )
    token_file: Path | None = token_file_setting(
        "the token of all who connect, made when there is none"
    )
    zk: Ensemble | None = setting(
        None,
        ensemble,
        "where several masters elect one and keep their registry; without it there is one master, "
        "and its registry is in --work-dir",
        metavar="zk://HOST1,HOST2:2181/PATH",
        show=show_ensemble,
    )
    zk_session_s: float = setting(
        ZOOKEEPER_SESSION_S,
        seconds(ZOOKEEPER_SESSION_S_MIN, ZOOKEEPER_SESSION_S_MAX),
        "how long ZooKeeper waits for a leader that is not heard of before another may lead "
        f"(default {ZOOKEEPER_SESSION_S:g})",
        metavar="SECONDS",
        show=show_number,
    )
    advertise: str = setting(
        "",
        advertised,
        "with --zk: where agents and schedulers reach this master (default: as it listens)",
        metavar="HOST:PORT",
    )
    insecure: bool = insecure_setting()
    log_format: str = log_format_setting()
    log_level: str = log_level_setting()
    stop_with_stdin: bool = stop_with_stdin_setting()
    weights: Weights = setting(
        (),
        weights,
        "fair shares of roles, as ads=2,web=1; 1 where none is given",
        metavar="ROLE=WEIGHT,...",
        show=show_weights,
    )
    offer_lease_s: float = deadline_setting(DEFAULTS.offer_lease_ms, "how long an offer stands")
    lease_refuse_s: float = deadline_setting(
        DEFAULTS.lease_refuse_ms,
        "that an agent is refused for a framework that let the lease of an offer of it run out; "
        "twice as long each time",
    )
    offers_max: int = setting(
        DEFAULTS.offers_outstanding_max,
        whole(1, 1_000_000),
        f"offers that a framework may have at a time (default {DEFAULTS.offers_outstanding_max:,})",
        metavar="COUNT",
    )
    refuse_floor_s: float = setting(
        DEFAULTS.refuse_floor_ms / 1_000,
        seconds(0, 3_600),
        "the least that refusals of a framework hold which gives offers back in a loop; 0: no such "
        f"bound (default {DEFAULTS.refuse_floor_ms / 1_000:g})",
        metavar="SECONDS",
        show=show_number,
    )
    revives_per_s: int = setting(
        DEFAULTS.revives_per_s,
        whole(1, 1_000_000),
        f"revives of a framework that take effect, beyond {DEFAULTS.revives_max} at once "
        f"(default {DEFAULTS.revives_per_s})",
        metavar="COUNT",
    )
    heartbeat_s: float = deadline_setting(DEFAULTS.heartbeat_ms, "between two heartbeats of a peer")
    silence_s: float = deadline_setting(
        DEFAULTS.silence_ms, "without one until a peer counts as gone"
    )
    reregister_s: float = deadline_setting(
        DEFAULTS.reregister_ms, "until agents known from before a restart count as unreachable"
    )

    epoch_min: int = setting(
        1,
        whole(1, EPOCH_MAX),
        "the least epoch of this run: above all before it, when the registry was lost (default 1)",
        metavar="NUMBER",
    )
    fence_lease_s: float = deadline_setting(
        DEFAULTS.fence_lease_ms, "for how long fenced tasks run on while their agent is cut off"
    )
    agent_removal_rate: int = setting(
        DEFAULTS.agent_removals_per_minute,
        whole(0, 1_000_000),
        "agents that are given up in a minute because they are away, at most; 0: no bound "
        f"(default {DEFAULTS.agent_removals_per_minute})",
        metavar="COUNT",
    )

    def __post_init__(self) -> None:
        check_silence(self.heartbeat_s, self.silence_s)
        if self.fence_lease_s < 2 * self.heartbeat_s:
            raise SettingsError(
                f"fence-lease-s = {self.fence_lease_s:g} is below two heartbeats of "
                f"{self.heartbeat_s:g} s: one that is late would end every fenced task"
            )
        if self.zk is not None and not self.advertise and _is_any(self.host):
            raise SettingsError(
                f"host = {self.host!r} with --zk: nobody could reach a master there; "
                "say --advertise HOST:PORT"
            )
        if self.zk is None and self.advertise:
            raise SettingsError("advertise: without --zk there is nobody to tell it to")

    def config(self) -> MasterConfig:
        """What of it is the machine's."""
        thousandths: Mapping[str, int] = {
            role: round(weight * 1_000) for role, weight in self.weights
        }
        return MasterConfig(
            weights=thousandths,
            offer_lease_ms=round(self.offer_lease_s * 1_000),
            lease_refuse_ms=(lease_refuse_ms := round(self.lease_refuse_s * 1_000)),
            lease_refuse_max_ms=max(lease_refuse_ms, DEFAULTS.lease_refuse_max_ms),
            offers_outstanding_max=self.offers_max,
            refuse_floor_ms=round(self.refuse_floor_s * 1_000),
            revives_per_s=self.revives_per_s,
            heartbeat_ms=round(self.heartbeat_s * 1_000),
            silence_ms=round(self.silence_s * 1_000),
            reregister_ms=round(self.reregister_s * 1_000),
            fence_lease_ms=round(self.fence_lease_s * 1_000),
            agent_removals_per_minute=self.agent_removal_rate,
        )


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
