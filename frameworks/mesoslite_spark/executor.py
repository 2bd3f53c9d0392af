"""What an executor's task runs: Spark's own executor, from the pyspark of the agent's host.

    python -m mesoslite_spark.executor --driver-url URL --executor-id N ... -- JAVA OPTIONS

It becomes the Java process, so signals and limits are that one's. What it needs of the host is
looked for here, where the answer is in the task's stderr when it is not there.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from mesoslite_spark.errors import SparkError
from mesoslite_spark.host import address_towards, find_java, find_spark

MAIN = "org.apache.spark.executor.CoarseGrainedExecutorBackend"
NO_HOST = 3  # the exit code of a host that cannot run an executor


def main(words: Sequence[str]) -> None:
    """Become an executor; ends with NO_HOST and a line on stderr where that cannot be."""
    asked = _parser().parse_args(words)
    try:
        command = command_of(asked, sandbox=Path.cwd())
        scratch = Path.cwd() / "tmp"
        scratch.mkdir(exist_ok=True)
        os.execvpe(command[0], command, environment_of(os.environ, scratch))  # noqa: S606
    except (SparkError, OSError) as error:
        sys.stderr.write(f"mesoslite-spark: {error}\n")
        sys.exit(NO_HOST)


def command_of(asked: argparse.Namespace, sandbox: Path) -> list[str]:
    """The command line of Spark's executor. Raises SparkError, OSError."""
    jars = str(find_spark() / "jars" / "*")
    driver = urlsplit(asked.driver_url)
    if driver.hostname is None:
        raise SparkError(f"{asked.driver_url!r} is no driver")
    # Hostnames need not mean the same everywhere; a route does.
    address = address_towards(driver.hostname)
    return [
        find_java(),
        *("-cp", f"{asked.class_path}:{jars}" if asked.class_path else jars),
        f"-Xmx{asked.heap_mib}m",
        f"-Djava.io.tmpdir={sandbox / 'tmp'}",
        "-XX:-UsePerfData",  # a file outside of the sandbox, which a kill would leave there
        *asked.java_options,
        MAIN,
        *("--driver-url", asked.driver_url, "--executor-id", asked.executor_id),
        *("--hostname", address, "--bind-address", address, "--cores", asked.cores),
        *("--app-id", asked.app_id, "--resourceProfileId", "0"),
    ]


def environment_of(environment: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """Files that it makes are the sandbox's, so they go when that goes."""
    return {"SPARK_LOCAL_DIRS": str(scratch), "TMPDIR": str(scratch)} | dict(environment)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mesoslite_spark.executor")
    for name in ("driver-url", "executor-id", "cores", "app-id", "heap-mib"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--class-path", default="")
    parser.add_argument("java_options", nargs="*")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
