"""What the tests of data services need of their host; without it each is skipped with one reason.

With MESOSLITE_REQUIRE_SERVICES=1, as in CI, they fail with that reason instead.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from mesoslite.daemon import cache_dir
from mesoslite_agent.fetcher import Limits
from mesoslite_agent.settings import CACHE_MB_MAX
from mesoslite_agent.supply import supply
from mesoslite_services.jars import locked

STALL_S_MAX = 30.0  # without a byte: a network that is not there is to be noticed soon
JAVA_S_MAX = 30.0


def fetch_cache() -> Path:
    """Where jars are kept for all tests, for later runs and for this user's agents."""
    return cache_dir("fetched")


def need(why_not: str) -> None:
    """Skip for this reason, or fail where all of it has to be there. Empty: go on."""
    if why_not and os.environ.get("MESOSLITE_REQUIRE_SERVICES") == "1":
        pytest.fail(f"MESOSLITE_REQUIRE_SERVICES=1, but {why_not}")
    if why_not:
        pytest.skip(why_not)


def why_no_java(oldest: int, newest: int = 99) -> str:
    """Why this host's Java will not do; empty: it will."""
    install = f"apt-get install openjdk-{oldest}-jre-headless"
    if shutil.which("java") is None:
        return f"there is no Java on this host: {install}"
    said = subprocess.run(
        ["java", "-version"], capture_output=True, text=True, timeout=JAVA_S_MAX, check=False
    ).stderr
    found = re.search(r'version "(\d+)', said)
    if found is None or not oldest <= int(found[1]) <= newest:
        return f"the Java of this host is {found[1] if found else 'unknown'}: {install}"
    return ""


def why_no_jars(package: str) -> str:
    """Why the jars of a service can not be had, after they were fetched if that was needed.

    As an agent does it, into the cache that the agents of the tests use: so no test waits for them.
    """
    uris = [
        {"value": uri.value, "extract": uri.extract, "executable": uri.executable,
         "output_file": uri.output_file, "sha256": uri.sha256}
        for uri in locked(package).uris()
    ]  # fmt: skip
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # it tells its progress in the current directory
        try:
            got = supply(uris, Limits(stall_s=STALL_S_MAX), fetch_cache(), CACHE_MB_MAX << 20)
        finally:
            os.chdir(here)
    if isinstance(got, str):
        return f"the jars of {package} can not be had: {got}"
    for descriptor in got.values():
        os.close(descriptor)
    return ""
