"""Each planted bug still applies to the code as it is; whether it is caught is `make planted`."""

from __future__ import annotations

import subprocess

import pytest

from tests.planted.__main__ import PLANTED, ROOT, read_bug

PATCHES = sorted(PLANTED.glob("*.patch"))


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_a_patch_applies_and_names_tests_that_exist(patch: str) -> None:
    bug = read_bug(PLANTED / patch)
    assert [test for test in bug.tests if not (ROOT / test).exists()] == []
    applied = subprocess.run(
        ["git", "apply", "--check", "--whitespace=nowarn", str(bug.patch)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert applied.returncode == 0, f"{applied.stderr}the code has changed: change the patch too"


def test_patches_are_numbered_without_gaps() -> None:
    assert [int(path.name[:2]) for path in PATCHES] == list(range(1, len(PATCHES) + 1))
