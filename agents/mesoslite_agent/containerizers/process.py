"""The `process` containerizer: a session of its own in the sandbox directory; no isolation.

Memory and the number of processes are watched by the launcher several times a second, and a
container over a limit is killed. There is no cpu limit. Works everywhere, for any user.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mesoslite_agent.container import ContainerSpec
from mesoslite_agent.containerizers import (
    CannotPrepare,
    Launch,
    Measured,
    Mounted,
    User,
    data_of,
    environment,
)
from mesoslite_agent.sandbox import MARKER, NotInSandbox, link_inside


class ProcessContainerizer:
    """Nothing is made on the host but the sandbox, so there is nothing to release."""

    name = "process"

    def why_not(self) -> str | None:
        return None

    def prepare(
        self, spec: ContainerSpec, sandbox: Path, user: User, volumes: tuple[Mounted, ...] = ()
    ) -> Launch:
        """What to start; volumes are links in the sandbox.

        Raises CannotPrepare for an image, and for a volume at an absolute path: there is no root
        to put them at.
        """
        if spec.image is not None:
            raise CannotPrepare(
                "an image needs a containerizer with a root of its own, such as oci"
            )
        for volume in volumes:
            _link(sandbox, volume, user)
        env = environment(spec, str(sandbox), user.home)
        argv = spec.command
        if user.uid != os.geteuid():
            argv = _as_user(spec.command, user, env["PATH"], sandbox)
        return Launch(
            argv=argv,
            env=env,
            cwd=str(sandbox),
            stdout=str(sandbox / "stdout"),
            stderr=str(sandbox / "stderr"),
            marker=f"{MARKER}={sandbox}",
            mem_bytes_max=spec.mem_limit_bytes,
            pids_max=spec.pids_limit,
            data=data_of(spec),
        )

    def measure(self, container_id: str) -> Measured:
        return Measured(oom_kills=0, usage=None)

    def release(self, container_id: str) -> None:
        """Nothing to do: the launcher has ended every process before it says that it is over."""

    def held(self) -> set[str]:
        return set()

    def close(self) -> None:
        """Nothing is shared."""


def _link(sandbox: Path, volume: Mounted, user: User) -> None:
    if volume.path.startswith("/"):
        raise CannotPrepare(
            f"a volume at {volume.path} needs a containerizer with a root of its own, such as oci; "
            "a relative path is one in the sandbox"
        )
    # Relative: a user who may not enter what is above the work directory comes through it.
    target = os.path.relpath(volume.source, (sandbox / volume.path).parent)
    try:
        link_inside(sandbox, volume.path, target, (user.uid, user.gid))
    except (NotInSandbox, OSError) as error:
        raise CannotPrepare(f"no volume can be had at {volume.path}: {error}") from None


def _as_user(command: tuple[str, ...], user: User, path: str, sandbox: Path) -> tuple[str, ...]:
    """The command behind setpriv (D9). setpriv succeeds even when the command cannot be found.

    So that is looked into first: what cannot start must not look like a task that ran and failed.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise CannotPrepare("setpriv is not installed (Debian: util-linux); cannot switch the user")
    wanted = command[0]
    found = str(sandbox / wanted) if "/" in wanted else shutil.which(wanted, path=path)
    if found is None or not Path(found).exists():
        raise CannotPrepare(f"there is no command {wanted!r} here")
    ids = ("--reuid", str(user.uid), "--regid", str(user.gid), "--init-groups")
    return (setpriv, *ids, "--", *command)
