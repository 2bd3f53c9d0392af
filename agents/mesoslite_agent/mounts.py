"""Mounts: the overlays that containers have as their root."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

MNT_DETACH = 2
OPTIONS_BYTES_MAX = 4095  # mount(2) copies one page
# Directories of other file systems that belong to the host's root as programs see it.
PARTS_OF_THE_ROOT = ("/bin", "/etc", "/home", "/lib", "/opt", "/sbin", "/srv", "/usr", "/var")
PARTS_MAX = 64
DISKS = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "squashfs"})

_libc = ctypes.CDLL(None, use_errno=True)


def mount_overlay(lower: Path, upper: Path, work: Path, where: Path) -> None:
    """Lay `upper` over `lower` at `where`; ~70 us. Raises OSError."""
    for path in (lower, upper, work):
        if set(str(path)) & set(",:\\"):
            raise OSError(f"an overlay cannot hold a path with a comma, colon or backslash: {path}")
    options = f"lowerdir={lower},upperdir={upper},workdir={work}".encode()
    if len(options) > OPTIONS_BYTES_MAX:
        raise OSError(f"the paths of the overlay are too long: {len(options)} bytes")
    if _libc.mount(b"overlay", os.fsencode(where), b"overlay", 0, options) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"mount of an overlay over {lower}: {os.strerror(error)}")


def unmount(where: Path) -> None:
    """Take off everything that is mounted there, at once for new users, even when in use."""
    while _libc.umount2(os.fsencode(where), MNT_DETACH) == 0:
        pass


def mounts() -> list[tuple[str, str]]:
    """Mount points of this process and their types, in the order of mounting; ~5 us each.

    As text: a host has a hundred, and hardly any is asked about as a path.
    """
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        found.append((_unescaped(left.split(" ", 5)[4]), right.split(" ", 1)[0]))
    return found


def mounted_below(folder: Path) -> list[Path]:
    """Mount points in the folder, the last mounted first."""
    top = str(folder)
    return [Path(where) for where, _ in reversed(mounts()) if _is_within(where, top)]


def parts_of_the_root() -> list[Path]:
    """Other file systems that an overlay of `/` alone would lose, such as a /usr of its own.

    An overlay further down is the root of some container, ours among them, and no part of the
    host's: one that is bound into another container would be in its way, or gone by then.
    """
    found = dict.fromkeys(
        where
        for where, kind in mounts()
        if (kind in DISKS and any(_is_within(where, part) for part in PARTS_OF_THE_ROOT))
        or (kind == "overlay" and where in PARTS_OF_THE_ROOT)
    )
    return [part for where in found if (part := Path(where)).is_dir()][:PARTS_MAX]


def _is_within(where: str, folder: str) -> bool:
    return where == folder or where.startswith(f"{folder}/")


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    return text.encode().decode("unicode_escape").encode("latin-1").decode(errors="replace")
