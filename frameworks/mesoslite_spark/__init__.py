"""Spark on mesoslite, truly two-level: each executor is a task, launched on what is offered.

    import mesoslite_spark

    with mesoslite_spark.session(master="localhost:5060", app_name="pi", cores=8) as spark:
        print(spark.range(1_000_000).count())

README.md tells the rest. Importing this is light: an executor's host imports it too.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mesoslite_spark.errors import SparkError
    from mesoslite_spark.host import NoJava, NoSpark
    from mesoslite_spark.sessions import session

__all__ = ["NoJava", "NoSpark", "SparkError", "session"]

_MODULE_OF = {
    "NoJava": "mesoslite_spark.host",
    "NoSpark": "mesoslite_spark.host",
    "SparkError": "mesoslite_spark.errors",
    "session": "mesoslite_spark.sessions",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """The public name, from the module that has it (PEP 562)."""
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_MODULE_OF[name]), name)
