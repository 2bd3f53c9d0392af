"""The bundle's config.json, for both cgroup versions, as the runtime specification wants it."""

from __future__ import annotations

from typing import Any

from mesoslite_agent.container import ContainerSpec
from mesoslite_agent.containerizers import User
from mesoslite_agent.containerizers.oci import CAPABILITIES, SANDBOX, config

ROOT = User("root", 0, 0, (0,), "/root")
SOMEBODY = User("somebody", 1000, 1000, (1000, 27), "/home/somebody")


def bundle(user: User = ROOT, version: int = 1, **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "container_id": "c1",
        "framework_id": "f1",
        "task_id": "t1",
        "command": ("sh", "-c", "true"),
        "environment": (("A", "b"),),
        "user": None,
        "uris": (),
        "image": None,
        "containerizer": "oci",
        "cpu_limit_milli": None,
        "mem_limit_bytes": None,
        "pids_limit": None,
    }
    return config(
        ContainerSpec(**(fields | changes)),
        user,
        "/sandbox",
        group="mesoslite/a1/c1",
        cgroup_version=version,
        parts=("/usr", "/var"),
        hidden=("/var/lib/agent",),
        names=(("/run/resolv.conf", "/etc/resolv.conf"),),
    )


def test_no_limit_means_none() -> None:
    assert set(bundle()["linux"]["resources"]) == {"devices"}


def test_limits_are_those_asked_for() -> None:
    resources = bundle(cpu_limit_milli=1500, mem_limit_bytes=64 << 20, pids_limit=100)["linux"][
        "resources"
    ]
    assert resources["memory"] == {"limit": 64 << 20, "swap": 64 << 20}
    assert resources["pids"] == {"limit": 100}
    assert resources["cpu"]["shares"] == 1536
    assert "quota" not in resources["cpu"]  # follows once the runtime has done its own work


def test_limits_leave_room_for_the_runtime_itself() -> None:
    resources = bundle(mem_limit_bytes=1, pids_limit=1, cpu_limit_milli=1)["linux"]["resources"]
    assert resources["memory"]["limit"] == 8 << 20
    assert resources["pids"]["limit"] == 32
    assert resources["cpu"]["shares"] == 2


def test_version_2_kills_a_container_as_a_whole_and_hides_other_cgroups() -> None:
    two = bundle(version=2, mem_limit_bytes=64 << 20)["linux"]
    assert two["resources"]["unified"] == {"memory.oom.group": "1"}
    assert {"type": "cgroup"} in two["namespaces"]
    one = bundle(version=1, mem_limit_bytes=64 << 20)["linux"]
    assert "unified" not in one["resources"]
    assert {"type": "cgroup"} not in one["namespaces"]


def test_the_network_is_the_hosts_and_nothing_else_is() -> None:
    kinds = {namespace["type"] for namespace in bundle()["linux"]["namespaces"]}
    assert kinds == {"pid", "ipc", "uts", "mount"}


def test_a_user_has_no_capabilities_and_root_has_dockers() -> None:
    assert bundle()["process"]["capabilities"]["effective"] == list(CAPABILITIES)
    process = bundle(SOMEBODY)["process"]
    assert process["capabilities"]["effective"] == process["capabilities"]["permitted"] == []
    assert process["user"] == {"uid": 1000, "gid": 1000, "additionalGids": [1000, 27]}
    assert process["noNewPrivileges"] is True
    assert len(CAPABILITIES) == 14


def test_the_environment_is_the_tasks_alone() -> None:
    assert bundle(SOMEBODY)["process"]["env"] == [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/home/somebody",
        "A=b",
        "MESOSLITE_TASK_ID=t1",
        "MESOSLITE_FRAMEWORK_ID=f1",
        "MESOSLITE_CONTAINER_ID=c1",
        f"MESOSLITE_SANDBOX={SANDBOX}",
    ]
    assert "HOME=/" in bundle(SOMEBODY, image="/image")["process"]["env"]


def test_nothing_that_is_mounted_later_uncovers_what_is_hidden() -> None:
    where = [mount["destination"] for mount in bundle()["mounts"]]
    assert where.index("/var") < where.index("/var/lib/agent") < where.index(SANDBOX)
    hidden = next(m for m in bundle()["mounts"] if m["destination"] == "/var/lib/agent")
    assert hidden["type"] == "tmpfs"
    assert "ro" in hidden["options"]
