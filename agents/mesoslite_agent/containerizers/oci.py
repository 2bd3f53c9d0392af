"""The `oci` containerizer: runc on a bundle that is made here.

Its own pid, ipc, uts and mount namespaces (and cgroup in version 2), the host's network; cpu,
memory and pids limits by cgroup; an overlay as root, over the host's root or over an image
directory, so that neither is changed; no capability beyond Docker's default set, no new privileges.

    WORK_DIR/run/CONTAINER_ID/{config.json,rootfs,upper,work,pid,log}
    cgroup mesoslite/AGENT_ID/CONTAINER_ID

See https://github.com/opencontainers/runtime-spec/blob/v1.0.2/config-linux.md.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from mesoslite.version import VERSION
from mesoslite_agent.cgroups import CPU_PERIOD_US, Cgroups
from mesoslite_agent.container import ContainerSpec, Usage
from mesoslite_agent.containerizers import (
    PATH,
    CannotPrepare,
    Launch,
    Measured,
    Mounted,
    User,
    data_of,
    environment,
)
from mesoslite_agent.deleting import delete
from mesoslite_agent.mounts import mount_overlay, mounted_below, parts_of_the_root, unmount
from mesoslite_agent.processes import boot_id
from mesoslite_agent.sandbox import NotInSandbox, make_inside

SANDBOX = "/mnt/mesoslite/sandbox"
# The runtime needs this much itself before the task's program is there; measured: 2 MiB of memory
# and 9 threads. Less than that is not a limit but a start that fails.
MEM_BYTES_MIN = 8 << 20
PIDS_AT_START_MIN = 32
TAKEN = ("/proc", "/dev", "/sys", SANDBOX)  # by mounts of the container's own
RUNTIME_S_MAX = 30.0  # a call of the runtime that takes longer is killed

# https://github.com/moby/moby/blob/v24.0.0/oci/caps/defaults.go
CAPABILITIES = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)
# https://github.com/moby/moby/blob/v24.0.0/oci/defaults.go
MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def config(
    spec: ContainerSpec,
    user: User,
    sandbox: str,
    *,
    group: str,
    cgroup_version: int,
    parts: tuple[str, ...] = (),
    hidden: tuple[str, ...] = (),
    masked: tuple[str, ...] = (),
    names: tuple[tuple[str, str], ...] = (),
    volumes: tuple[Mounted, ...] = (),
) -> dict[str, Any]:
    """The bundle's config.json. Pure.

    `sandbox` is its place on the host. `parts` are other file systems of the host's root, `hidden`
    directories to cover, `masked` files to cover, `names` (source, destination) of files for the
    resolver.
    """
    # The outer one of two first, or it would cover the other.
    at = sorted(
        (f"{SANDBOX}/{each.path}" if each.path[0] != "/" else each.path, each.source)
        for each in volumes
    )
    home = user.home if spec.image is None else ("/root" if user.uid == 0 else "/")
    env = environment(spec, SANDBOX, home)
    capabilities = list(CAPABILITIES) if user.uid == 0 else []
    kinds = ["pid", "ipc", "uts", "mount", *(["cgroup"] if cgroup_version == 2 else [])]
    cover = ["nosuid", "nodev", "noexec", "ro", "size=4k", "mode=0700"]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)},
            "args": list(spec.command),
            "env": [f"{name}={value}" for name, value in env.items()],
            "cwd": SANDBOX,
            "capabilities": {
                "bounding": list(CAPABILITIES),
                "effective": capabilities,
                "permitted": capabilities,
            },
            "noNewPrivileges": True,
            "oomScoreAdj": 0,
        },
        "root": {"path": "rootfs", "readonly": False},
        # In this order: a part may hold a directory to hide, and anything may hide the sandbox,
        # which may hold a volume.
        "mounts": [
            *_pseudo_mounts(),
            *(_mount(part, "bind", part, "bind", "rprivate", "ro") for part in parts),
            *(_mount(folder, "tmpfs", "tmpfs", *cover) for folder in hidden),
            *(_mount(to, "bind", source, "bind", "rprivate", "ro") for source, to in names),
            _mount(SANDBOX, "bind", sandbox, "bind", "rprivate", "rw"),
            *(_mount(path, "bind", source, "bind", "rprivate", "rw") for path, source in at),
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in kinds],
            "cgroupsPath": f"/{group}",
            "resources": _limits(spec, cgroup_version),
            "maskedPaths": [*MASKED, *masked],
            "readonlyPaths": list(READONLY),
        },
    }


def _mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def _make_mount_point(sandbox: Path, volume: Mounted, user: User) -> None:
    """In the sandbox, where the task's user is to own it; in the root the runtime makes its own."""
    if not volume.path.startswith("/"):
        try:
            make_inside(sandbox, volume.path, (user.uid, user.gid))
        except (NotInSandbox, OSError) as error:
            raise CannotPrepare(f"no volume can be had at {volume.path}: {error}") from None
    elif any(_within(volume.path, place) or _within(place, volume.path) for place in TAKEN):
        raise CannotPrepare(f"no volume can be had at {volume.path}: the container's own is there")


def _within(path: str, folder: str) -> bool:
    return f"{path.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")


def _pseudo_mounts() -> list[dict[str, Any]]:
    safe = ("nosuid", "noexec", "nodev")
    roomy = ("mode=755", "size=65536k")
    return [
        _mount("/proc", "proc", "proc", *safe),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", *roomy),
        _mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666"),
        _mount("/dev/shm", "tmpfs", "shm", *safe, "mode=1777", "size=65536k"),  # noqa: S108
        _mount("/dev/mqueue", "mqueue", "mqueue", *safe),
        _mount("/sys", "sysfs", "sysfs", *safe, "ro"),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", *safe, "relatime", "ro"),
        _mount("/run", "tmpfs", "tmpfs", "nosuid", "nodev", *roomy),
    ]


def _limits(spec: ContainerSpec, cgroup_version: int) -> dict[str, Any]:
    """Limits of the runtime spec; the cpu quota follows once it has started, see `prepare`."""
    limits: dict[str, Any] = {"devices": [{"allow": False, "access": "rwm"}]}
    if spec.cpu_limit_milli is not None:
        # 1024 shares are one core's worth when cores are scarce; the kernel takes 2 to 262144.
        shares = min(max(2, spec.cpu_limit_milli * 1024 // 1000), 262_144)
        limits["cpu"] = {"shares": shares, "period": CPU_PERIOD_US}
    if spec.mem_limit_bytes is not None:
        mem_bytes = max(spec.mem_limit_bytes, MEM_BYTES_MIN)
        limits["memory"] = {"limit": mem_bytes, "swap": mem_bytes}
        if cgroup_version == 2:  # all of the container or nothing: half a task is of no use
            limits["unified"] = {"memory.oom.group": "1"}
    if spec.pids_limit is not None:
        limits["pids"] = {"limit": max(spec.pids_limit, PIDS_AT_START_MIN)}
    return limits


def _names(*, image: bool) -> tuple[tuple[str, str], ...]:
    """The network is the host's, so its names are too; /run, where they often are, is a new one."""
    found = []
    for name in ("/etc/resolv.conf", "/etc/hosts"):
        real = Path(name).resolve()
        if real.is_file() and (image or real.is_relative_to("/run")):
            found.append((str(real), name if image else str(real)))
    return tuple(found)


def _outermost(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """Without those inside another one: what is hidden once has no place to be hidden at again."""
    return tuple(
        path
        for path in dict.fromkeys(paths)
        if not any(path != other and path.is_relative_to(other) for other in paths)
    )


class OciContainerizer:
    """Containers of one agent. `hidden` are paths of the host that tasks shall not see."""

    name = "oci"

    def __init__(
        self,
        work_dir: Path,
        agent_id: str,
        *,
        cgroups: Cgroups | None = None,
        hidden: tuple[Path, ...] = (),
        runtime: str = "runc",
    ) -> None:
        self._run = work_dir / "run"
        self._state = work_dir / "runc"
        self._tried = work_dir / "oci.tried"
        self._parent = f"mesoslite/{agent_id}"
        self._cgroups = cgroups or Cgroups.of_host()
        self._hidden = _outermost((work_dir, *(path.resolve() for path in hidden)))
        self._runtime = shutil.which(runtime)

    def why_not(self) -> str | None:
        return self._reason

    @functools.cached_property
    def _reason(self) -> str | None:
        """Try it, once a boot of the host: what worked is not tried again by the next agent."""
        if os.geteuid() != 0:
            return "the agent is not root"
        if self._runtime is None:
            return "runc is not installed"
        reason = self._cgroups.why_not()
        if reason is not None:
            return reason
        tried = self._what_is_tried(self._runtime)
        with contextlib.suppress(OSError):
            if self._tried.read_text() == tried:
                self._cgroups.make(self._parent)
                return None
        reason = self._try_out()
        if reason is None:
            with contextlib.suppress(OSError):
                self._tried.write_text(tried)
        return reason

    @staticmethod
    def _what_is_tried(runtime: str) -> str:
        """Another boot, runtime or version of ours may behave otherwise."""
        found = Path(runtime).stat()
        return f"{boot_id()} {runtime} {found.st_mtime_ns} {found.st_size} {VERSION}"

    def _try_out(self) -> str | None:
        """A container that does nothing. ~0.1 s."""
        spec = ContainerSpec(
            container_id="probe", framework_id="probe", task_id="probe", command=("true",),
            environment=(), user=None, uris=(), image=None, containerizer=self.name,
            cpu_limit_milli=1000, mem_limit_bytes=64 << 20, pids_limit=64,
        )  # fmt: skip
        sandbox = self._run / "probe-sandbox"
        try:
            self._run.mkdir(mode=0o700, parents=True, exist_ok=True)
            sandbox.mkdir(exist_ok=True)
            self.release("probe")
            self._cgroups.make(self._parent)
            self.prepare(spec, sandbox, User("root", 0, 0, (0,), "/root"))
            tried = self._call("run", "--bundle", str(self._run / "probe"), "probe")
            return None if tried is None else f"runc cannot run containers here: {tried}"
        except (OSError, CannotPrepare) as error:
            return f"containers cannot be made here: {error}"
        finally:
            with contextlib.suppress(OSError):
                self.release("probe")
                delete(sandbox)

    def prepare(
        self, spec: ContainerSpec, sandbox: Path, user: User, volumes: tuple[Mounted, ...] = ()
    ) -> Launch:
        """Overlay, bundle and the runtime's command. ~1 ms. Raises CannotPrepare."""
        assert self._runtime is not None
        folder, group = self._run / spec.container_id, f"{self._parent}/{spec.container_id}"
        try:
            self._run.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in ("rootfs", "upper", "work"):
                (folder / name).mkdir(mode=0o755, parents=True, exist_ok=True)
            for volume in volumes:
                _make_mount_point(sandbox, volume, user)
            root = Path("/") if spec.image is None else self._image(spec.image)
            mount_overlay(root, folder / "upper", folder / "work", folder / "rootfs")
            bundle = config(
                spec,
                user,
                str(sandbox),
                group=group,
                cgroup_version=self._cgroups.version,
                **({} if spec.image is not None else self._of_host_root()),
                names=_names(image=spec.image is not None),
                volumes=volumes,
            )
            (folder / "config.json").write_text(json.dumps(bundle))
        except CannotPrepare:
            self.release(spec.container_id)
            raise
        except OSError as error:
            self.release(spec.container_id)
            raise CannotPrepare(f"the root could not be made: {error}") from error
        return Launch(
            argv=(
                self._runtime, "--root", str(self._state),
                "--log", str(folder / "log"), "--log-format", "json",
                "run", "--detach", "--pid-file", str(folder / "pid"),
                "--bundle", str(folder), spec.container_id,
            ),
            # Of the runtime, not of the task. It is written in Go, and with one thread at a time
            # takes 26 ms of CPU for a container instead of 27.
            env={"PATH": PATH, "MESOSLITE_BUNDLE": str(folder), "GOMAXPROCS": "1"},
            cwd=str(folder),
            stdout=str(sandbox / "stdout"),
            stderr=str(sandbox / "stderr"),
            marker=f"MESOSLITE_BUNDLE={folder}",
            pid_file=str(folder / "pid"),
            cgroup_procs=str(self._cgroups.procs_file(group)),
            log=str(folder / "log"),
            settle=self._settle(spec, group),
            data=data_of(spec),
        )  # fmt: skip

    def _image(self, named: str) -> Path:
        """The directory of an image. Raises CannotPrepare, also for one that shows what is hidden.

        A task may name any directory of the host, and nothing is covered in it.
        """
        image = Path(named).resolve()
        if not image.is_dir():
            raise CannotPrepare(f"the image {named!r} is not a directory")
        if any(path.is_relative_to(image) or image.is_relative_to(path) for path in self._hidden):
            raise CannotPrepare(f"the image {named!r} holds, or lies in, the agent's own files")
        return image

    def _of_host_root(self) -> dict[str, tuple[str, ...]]:
        """What `config` has to know of the host's root: what belongs to it and what to cover."""
        files = tuple(path for path in self._hidden if path.is_file())
        return {
            "parts": tuple(map(str, parts_of_the_root())),
            "hidden": tuple(str(path) for path in self._hidden if path not in files),
            "masked": tuple(map(str, files)),
        }

    def _settle(self, spec: ContainerSpec, group: str) -> tuple[tuple[str, str], ...]:
        """Limits that the runtime itself would not fit into.

        It needs some 12 ms of CPU inside of the group: with 0.01 of a core that is over a second.
        """
        files = []
        if spec.cpu_limit_milli is not None:
            files.append(self._cgroups.cpu_limit(group, spec.cpu_limit_milli))
        if spec.pids_limit is not None and spec.pids_limit < PIDS_AT_START_MIN:
            files.append(self._cgroups.pids_limit(group, spec.pids_limit))
        return tuple(files)

    def measure(self, container_id: str) -> Measured:
        group = f"{self._parent}/{container_id}"
        cpu_ms, peak_bytes = self._cgroups.cpu_ms(group), self._cgroups.peak_bytes(group)
        usage = None
        if cpu_ms is not None and peak_bytes is not None:
            usage = Usage(cpu_ms=cpu_ms, peak_mem_bytes=peak_bytes)
        return Measured(oom_kills=self._cgroups.oom_kills(group), usage=usage)

    def release(self, container_id: str) -> None:
        """See Containerizer. ~3 ms.

        All that the runtime's own `delete` would do: processes, groups in every hierarchy, state.
        Starting it to do so takes another 6 ms of CPU.
        """
        group, folder = f"{self._parent}/{container_id}", self._run / container_id
        if not self._cgroups.empty(group):
            raise OSError(f"a process of container {container_id} does not end")
        if not self._cgroups.remove(group):
            raise OSError(f"the cgroup {group} could not be removed")
        for mount in mounted_below(folder):
            unmount(mount)
        with contextlib.suppress(OSError):
            delete(self._state / container_id)
        delete(folder)

    def _call(self, *arguments: str) -> str | None:
        """Run the runtime to its end. None: well; else why not. Files, since pipes may hang."""
        assert self._runtime is not None
        notes = self._run / f"{arguments[-1]}.out"
        try:
            with notes.open("wb") as out:
                done = subprocess.run(
                    [self._runtime, "--root", str(self._state), *arguments],
                    stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/",
                    env={"PATH": PATH}, timeout=RUNTIME_S_MAX, check=False,
                )  # fmt: skip
            if done.returncode == 0:
                return None
            said = notes.read_text(errors="replace").strip().splitlines()
            return said[-1] if said else f"exit code {done.returncode}"
        except subprocess.TimeoutExpired:
            return f"runc {arguments[0]} took longer than {RUNTIME_S_MAX:g} s"
        finally:
            notes.unlink(missing_ok=True)

    def held(self) -> set[str]:
        found = self._cgroups.children(self._parent)
        for folder in (self._run, self._state):
            if folder.is_dir():
                found.update(entry.name for entry in folder.iterdir() if entry.is_dir())
        return found

    def groups(self) -> list[str]:
        """The groups that hold the containers' own, in every hierarchy; none on a host without."""
        return [] if self._reason else self._cgroups.folders(self._parent)

    def close(self) -> None:
        """Remove the groups above the containers' when they are empty, and the runtime's folder."""
        self._cgroups.remove(self._parent, patience_s=0)
        for root in self._cgroups.roots:
            with contextlib.suppress(OSError):  # another agent of this host is still there
                (root / "mesoslite").rmdir()
        with contextlib.suppress(OSError):
            delete(self._state)
        with contextlib.suppress(OSError):
            self._tried.unlink(missing_ok=True)
            self._run.rmdir()
