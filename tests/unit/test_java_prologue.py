"""What a service's script says of the Java that its host has, or has not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mesoslite_services.java import NO_JAVA, OTHER_JAVA, prologue, what_to_install


@pytest.mark.parametrize(
    ("says", "code"),
    [
        (None, NO_JAVA),
        ('openjdk version "17.0.15" 2025-04-15', 0),
        ('openjdk version "21" 2023-09-19', 0),
        ('java version "1.8.0_292"', OTHER_JAVA),
        ('openjdk version "11.0.2"', OTHER_JAVA),
        ('openjdk version "25.0.1"', OTHER_JAVA),
        ("no idea", OTHER_JAVA),
    ],
)
def test_only_a_java_that_will_do_is_taken(tmp_path: Path, says: str | None, code: int) -> None:
    if says is not None:
        java = tmp_path / "java"
        java.write_text(f"#!/bin/sh\necho '{says}' >&2\n")
        java.chmod(0o755)
    for name in ("sed", "head"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    done = subprocess.run(
        ["/bin/sh", "-c", prologue(17, 21)], env={"PATH": str(tmp_path)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == (code != 0)
    if code:
        assert "openjdk-17-jre-headless" in what_to_install(17)[code]
