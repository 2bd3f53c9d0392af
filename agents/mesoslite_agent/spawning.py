"""Starting a program for the launcher: vfork and exec, and nothing of ours in it.

Standard library alone: the launcher uses it.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping, Sequence

from mesoslite_agent.processes import OomScore

OOM_SCORE = -1000  # never picked when memory runs out: its death would cost every task (D8)
OUTPUT_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
# Python ignores these for itself, and what is ignored stays ignored in whatever it starts.
RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)


class Spawner:
    """Starts programs one at a time, from the only thread of its process.

    With posix_spawn, ~90 us of ours each where subprocess.Popen takes ~140 (D9). It cannot change
    the directory in between, so we go there ourselves: nobody else is here to notice.
    """

    def __init__(self, oom_score: OomScore) -> None:
        """Lower our own score; a program gets the one that we had, being no better than others."""
        self._oom_score = oom_score
        score = oom_score.get()
        self._score = score if oom_score.set(OOM_SCORE) else None
        self._nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def spawn(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str, stdout: str, stderr: str
    ) -> int:
        """Start it in a session of its own, with its files and nothing else of ours; its pid.

        Raises OSError when that cannot be, ValueError and TypeError for what is no command line.
        """
        outputs: list[int] = []
        try:
            outputs.append(os.open(stdout, OUTPUT_FLAGS, 0o644))
            outputs.append(os.open(stderr, OUTPUT_FLAGS, 0o644))
            os.chdir(cwd)
            program = find_program(argv[0], env)
            files = [
                (os.POSIX_SPAWN_DUP2, descriptor, number)
                for number, descriptor in enumerate((self._nothing, *outputs))
            ]
            if self._score is not None:
                self._oom_score.set(self._score)
            return os.posix_spawn(
                program, list(argv), env, file_actions=files, setsid=True, setsigdef=RESTORED
            )
        finally:
            if self._score is not None:
                self._oom_score.set(OOM_SCORE)
            os.chdir("/")  # not in anybody's way when a file system is to be unmounted
            for descriptor in outputs:
                os.close(descriptor)


def find_program(name: str, env: Mapping[str, str]) -> str:
    """The file that execvpe(3) would run, by the PATH of `env`, seen from the current directory.

    Raises FileNotFoundError, or PermissionError when there is one that must not be run.
    """
    if "/" in name:
        return name
    found = errno.ENOENT
    for folder in os.get_exec_path(dict(env)):
        path = f"{folder}/{name}" if folder else name
        if os.access(path, os.X_OK) and not os.path.isdir(path):  # noqa: PTH112 - bare and quick
            return path
        if os.path.lexists(path):
            found = errno.EACCES
    raise OSError(found, os.strerror(found), name)
