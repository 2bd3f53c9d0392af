"""How full volumes are: their directories are gone through, a bounded number of files at a time.

Nothing here limits what a volume takes: it is measured as `du` does, by the blocks that its files
take on the disk. A look takes ENTRIES_MAX files at most, ~4 us each, and there is one every LOOK_S:
1 % of a core while there is much to go through. So a volume of 1,000 files is measured anew with
each look, one of a million every eight minutes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

LOOK_S = 5.0
ENTRIES_MAX = 10_000  # of one look: ~40 ms in a thread
FOLDERS_MAX = 100_000  # known and not yet gone into: ~15 MB. What is in more of them is not counted
LINKS_MAX = 100_000  # files with several names, which count once: ~10 MB. More count for each name
BLOCK_BYTES = 512  # st_blocks is in these, whatever the file system's own are


class Walk:
    """One way through all that is in a directory. What goes away meanwhile, or cannot be
    read, is passed over."""

    def __init__(self, root: str) -> None:
        self.used_bytes = 0
        """Of what was seen so far."""
        self._folders = [root]
        self._entries: Iterator[os.DirEntry[str]] | None = None
        self._linked: set[int] = set()

    def go_on(self, entries_max: int) -> int:
        """Look at so many entries at most; how many are left of them when all was seen, else 0."""
        left = entries_max
        while left > 0:
            if self._entries is None:
                if not self._folders:
                    return left
                self._entries = self._enter(self._folders.pop())
            left -= 1  # also for a folder that is empty
            entry = next(self._entries, None)
            if entry is None:
                self._entries = None
            else:
                with contextlib.suppress(OSError):
                    self._count(entry)
        return 0

    def close(self) -> None:
        """Let go of the directory that it is in."""
        if isinstance(self._entries, contextlib.AbstractContextManager):
            self._entries.close()
        self._entries = None

    def _enter(self, folder: str) -> Iterator[os.DirEntry[str]]:
        try:
            return os.scandir(folder)
        except OSError:
            return iter(())

    def _count(self, entry: os.DirEntry[str]) -> None:
        found = entry.stat(follow_symlinks=False)
        if entry.is_dir(follow_symlinks=False):
            if len(self._folders) < FOLDERS_MAX:
                self._folders.append(entry.path)
        elif found.st_nlink > 1:
            if found.st_ino in self._linked:
                return
            if len(self._linked) < LINKS_MAX:
                self._linked.add(found.st_ino)
        self.used_bytes += found.st_blocks * BLOCK_BYTES


class Measuring:
    """Measures some directories, one after another, again and again."""

    def __init__(self) -> None:
        self._paths: list[str] = []
        self._at = 0
        self._walk: Walk | None = None

    def watch(self, paths: list[str]) -> None:
        """Measure these from now on; the one that is under way is finished if it is still one."""
        if paths == self._paths:
            return
        current = self._paths[self._at] if self._walk is not None else None
        self._paths = paths
        if current in paths:
            self._at = paths.index(current)
        else:
            self._begin(0)

    def look(self, entries_max: int = ENTRIES_MAX) -> dict[str, int]:
        """Go on for so many entries; the bytes that each directory takes of which all was seen.

        None more than once. Blocks.
        """
        found: dict[str, int] = {}
        for _ in self._paths:
            path = self._paths[self._at]
            if path in found:
                break
            if self._walk is None:
                self._walk = Walk(path)
            entries_max = self._walk.go_on(entries_max)
            if not entries_max:
                break
            found[path] = self._walk.used_bytes
            self._begin(self._at + 1)
        return found

    def _begin(self, at: int) -> None:
        if self._walk is not None:
            self._walk.close()
            self._walk = None
        self._at = at % len(self._paths) if self._paths else 0
