"""Whatever an archive holds, nothing of it is, or leads, outside of the sandbox."""

from __future__ import annotations

import contextlib
import io
import tarfile
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mesoslite_agent.downloads import FetchFailed
from mesoslite_agent.fetcher import Limits, unpack

# Few names, so that one member often meets another; links mostly try to climb.
names = st.sampled_from(["a", "b", "a/b", "b/a", "a/b/a", "../a"])
links = st.lists(st.sampled_from(["a", "b", "..", ".."]), min_size=1, max_size=3).map("/".join)
kinds = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])
members = st.lists(st.tuples(names, kinds, links), min_size=1, max_size=6)


@settings(max_examples=200)
@given(members=members)
def test_no_archive_leaves_the_sandbox(members: list[tuple[str, bytes, str]]) -> None:
    """Each member in an archive of its own: one that is refused does not save the next."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve()
        sandbox = root / "sandbox"
        sandbox.mkdir()
        for place, kind, link in members:
            archive = sandbox / "x.tar"
            with tarfile.open(archive, "w") as file:
                info = tarfile.TarInfo(place)
                info.type, info.linkname = kind, link
                info.size = 1 if kind == tarfile.REGTYPE else 0
                file.addfile(info, io.BytesIO(b"x"))
            with contextlib.suppress(FetchFailed, OSError):
                unpack(archive, sandbox, Limits())
            assert [path.name for path in root.iterdir()] == ["sandbox"]
            for path in sandbox.rglob("*"):
                assert not path.is_symlink() or _stays(path, sandbox)


def _stays(link: Path, sandbox: Path) -> bool:
    try:
        return link.resolve(strict=True).is_relative_to(sandbox)
    except (OSError, RuntimeError):
        return True  # it leads nowhere, or in a circle
