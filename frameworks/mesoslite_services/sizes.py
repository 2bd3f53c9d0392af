"""Sizes as people write them on a command line."""

from __future__ import annotations

import re

MIB_MIN = 64
_SIZE = re.compile(r"(\d{1,9})(m|mb|mib|g|gb|gib)?\Z", re.IGNORECASE)


def mib(flag: str, text: str, least: int = MIB_MIN) -> int:
    """`512`, `512MiB`, `1GiB` as MiB. Raises ValueError, which names the flag."""
    found = _SIZE.match(text.strip())
    size = int(found[1]) * (1_024 if (found[2] or "m").lower()[0] == "g" else 1) if found else 0
    if not least <= size <= 1 << 30:
        raise ValueError(f"{flag} is a size from {least}MiB on, as 512MiB or 1GiB, not {text!r}")
    return size


def mem_for(heap_mib: int, beside_mib: int) -> int:
    """The memory of a Java with this heap: half as much beside it, and `beside_mib` at least."""
    return heap_mib + max(beside_mib, heap_mib // 2)


def heap_within(mem_mib: int, beside_mib: int) -> int:
    """The largest heap that `mem_for` gives so much memory or less."""
    return max(min(mem_mib - beside_mib, (2 * mem_mib + 1) // 3), 0)
