"""What the tests run as Spark applications, each a process of its own:

    python -m tests.services.spark_apps NAME FOLDER

Each writes its answer to FOLDER/answer.json. `gate` makes tasks wait for a file in FOLDER, so that
a test sees the executors while they are at work, however fast or slow the machine is.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mesoslite_spark

EXECUTOR: Mapping[str, Any] = {"executor_cores": 1, "executor_memory": "480m"}
SAMPLES = 50_000
SLICES = 8
GATE_S_MAX = 600.0


def hits(seed: int) -> int:
    """Of SAMPLES points in the unit square, how many are in the circle."""
    rng = random.Random(seed)
    return sum(rng.random() ** 2 + rng.random() ** 2 < 1 for _ in range(SAMPLES))


def gate(folder: Path, name: str) -> None:
    """Wait until the test has made a file."""
    ends_s = time.monotonic() + GATE_S_MAX
    while not (folder / name).exists():
        if time.monotonic() > ends_s:
            raise TimeoutError(f"nobody made {folder / name}")
        time.sleep(0.05)


def behind(folder: Path, name: str, value: int) -> int:
    """The value, when the gate is open."""
    gate(folder, name)
    return value


def begin(folder: Path, stage: str, value: int) -> int:
    """The value, when the gate of its stage is open; until then `begun` has it."""
    (folder / f"begun.{stage}.{os.environ['MESOSLITE_TASK_ID']}.{value}").touch()
    return behind(folder, stage, value)


def begun(folder: Path, stage: str) -> dict[str, set[int]]:
    """What each executor that has begun with a stage has had to do in it, by its task id."""
    found: dict[str, set[int]] = {}
    for path in folder.glob(f"begun.{stage}.*"):
        executor, _, value = path.name.removeprefix(f"begun.{stage}.").rpartition(".")
        found.setdefault(executor, set()).add(int(value))
    return found


def answer(folder: Path, **values: object) -> None:
    """Keep what came out, whole or not at all."""
    draft = folder / "answer.draft"
    draft.write_text(json.dumps(values))
    draft.rename(folder / "answer.json")


def answers(folder: Path) -> None:
    """pi, and a word count over files: with the shuffle that it takes."""
    with mesoslite_spark.session(app_name="answers", cores=2, **EXECUTOR) as spark:
        context = spark.sparkContext
        inside = context.parallelize(range(SLICES), SLICES).map(hits).sum()
        words = spark.read.text(str(folder / "texts")).rdd.flatMap(lambda row: row.value.split())
        counts = Counter(dict(words.map(lambda word: (word, 1)).reduceByKey(int.__add__).collect()))
        answer(folder, pi=4 * inside / (SLICES * SAMPLES), words=counts)


def waves(folder: Path) -> None:
    """Two jobs with nothing to do between them."""
    idle = {"spark.dynamicAllocation.executorIdleTimeout": "1s"}
    with mesoslite_spark.session(app_name="waves", cores=3, conf=idle, **EXECUTOR) as spark:
        numbers = spark.sparkContext.parallelize(range(6), 6)
        first = numbers.map(lambda n: behind(folder, "first", n)).sum()
        gate(folder, "idle")
        second = numbers.map(lambda n: n * n).sum()
        answer(folder, first=first, second=second)


def survivor(folder: Path) -> None:
    """A job with a shuffle. Before each gate an executor tells what it is at."""
    with mesoslite_spark.session(app_name="survivor", cores=2, **EXECUTOR) as spark:
        numbers = spark.sparkContext.parallelize(range(8), 8)
        pairs = numbers.map(lambda n: (n % 2, begin(folder, "map", n)))
        sums = pairs.reduceByKey(int.__add__, 2)  # a key for each executor
        answer(
            folder, sums=dict(sums.map(lambda s: (begin(folder, "reduce", s[0]), s[1])).collect())
        )


def share(folder: Path) -> None:
    """Wants more than there is, all the time, in the role that the folder is called after."""
    with mesoslite_spark.session(
        app_name="share",
        role=folder.name,
        cores=6,
        conf={"spark.dynamicAllocation.enabled": False},
        **EXECUTOR,
    ) as spark:
        (folder / "ready").touch()
        total = spark.sparkContext.parallelize(range(9), 9).sum()
        gate(folder, "end")
        answer(folder, total=total)


APPS: Mapping[str, Callable[[Path], None]] = {
    app.__name__: app for app in (answers, waves, survivor, share)
}

if __name__ == "__main__":
    APPS[sys.argv[1]](Path(sys.argv[2]))
