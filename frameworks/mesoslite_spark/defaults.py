"""What `mesoslite framework run spark` says for the session that its program makes.

It travels in the environment of the driver's task. What the program itself says comes first, as
with spark-submit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from mesoslite_spark.errors import SparkError

VARIABLE = "MESOSLITE_SPARK_DEFAULTS"
#: What has an argument of its own here, and would be told twice.
OWN = {
    "spark.master": "master",
    "spark.app.name": "app_name",
    "spark.cores.max": "cores",
    "spark.executor.cores": "executor_cores",
    "spark.executor.memory": "executor_memory",
    "spark.executor.memoryOverhead": "executor_overhead",
    "spark.driver.memory": "driver_memory",
    "spark.mesoslite.application": "app_name",
}


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a session is told when its program does not say otherwise."""

    app_name: str = "spark"
    cores: int | None = None
    executor_cores: int = 1
    executor_memory: str = "1g"
    driver_memory: str = "1g"
    role: str = "*"
    where: str = ""
    python: str | None = None
    conf: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """As the variable has it."""
        return json.dumps(asdict(self))


def defaults(environment: Mapping[str, str] = os.environ) -> Defaults:
    """What the environment says, or what nobody has changed. Raises SparkError."""
    text = environment.get(VARIABLE)
    if text is None:
        return Defaults()
    known = {each.name for each in fields(Defaults)}
    try:
        said = json.loads(text)
        return Defaults(**{name: value for name, value in said.items() if name in known})
    except (ValueError, TypeError, AttributeError) as error:
        raise SparkError(f"{VARIABLE} is not what `framework run spark` writes: {error}") from None


def check_settings(conf: Mapping[str, object]) -> None:
    """Whether these may be told to Spark as they are. Raises ValueError."""
    for key in conf:
        if key in OWN:
            raise ValueError(f"{key} is what the argument {OWN[key]} is for")
        if not key.startswith("spark."):
            raise ValueError(f"{key!r} is neither an argument nor a setting of Spark's")
