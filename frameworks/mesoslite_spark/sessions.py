"""`session`: a SparkSession whose executors are tasks of mesoslite."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import secrets
import shlex
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mesoslite import Policy
from mesoslite_spark.application import Application
from mesoslite_spark.defaults import check_settings, defaults
from mesoslite_spark.errors import SparkError
from mesoslite_spark.executors import Executors
from mesoslite_spark.host import (
    INSTALL_PYSPARK,
    NoSpark,
    address_towards,
    check_java,
    find_spark,
)
from mesoslite_spark.jar import jar_for
from mesoslite_spark.sizes import ExecutorSize, mib, size_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DEFAULT_MASTER = "localhost:5060"
NAME_LENGTH_MAX = 80  # leaves room in a framework's name for what makes it unique
SECRET_BYTES = 32
LINK_CLASS = "org.apache.spark.scheduler.cluster.mesoslite.Link"
SUBMIT_VARIABLE = "PYSPARK_SUBMIT_ARGS"
PYTHON_VARIABLE = "PYSPARK_PYTHON"
#: Settings that spark-submit looks at: packages are fetched, and a JVM has its options.
AT_START = ("spark.jars", "spark.driver.", "spark.submit.")
Setting = str | int | float | bool
"""What a setting of Spark's may be given as."""


def session(
    master: str | None = None,
    app_name: str | None = None,
    *,
    cores: int | None = None,
    executor_cores: int | None = None,
    executor_memory: str | int | None = None,
    executor_overhead: str | int | None = None,
    driver_memory: str | int | None = None,
    role: str | None = None,
    where: str | None = None,
    policy: Policy | str = Policy.SPREAD,
    python: str | None = None,
    token_file: str | Path | None = None,
    conf: Mapping[str, Setting] | None = None,
) -> SparkSession:
    """A SparkSession of which every executor is a task, launched on what the master offers.

        with session("localhost:5060", "pi", cores=8, conf={"spark.ui.enabled": False}) as spark:
            ...

    `master` and `token_file` are as for `mesoslite.run`. `cores` is the most that all executors
    together may have, None: as many as there are tasks for. Executors come and go with the work
    (dynamic allocation), each with `executor_cores` (1), a heap of `executor_memory` (1g), and
    `executor_overhead` beside it (10 %, at least 384 MiB, for buffers and the Python workers).
    `role`, `where` and `policy` say whose share they use and on which agents they run.
    `python` is the Python on the agents that has mesoslite[spark]; None: the path of this one.
    All else that Spark can be told is in `conf`, by its own names. What is left open here is as
    `mesoslite framework run spark` says, when it runs the program.

    Ends with `spark.stop()`, the `with`, or the process; then its executors have ended too. There
    is one at a time in a process. Raises ValueError for what cannot be asked, NoJava, NoSpark or
    SparkError when Spark cannot run here, ConnectionError without a master, FrameworkError when the
    master refuses.
    """
    known = defaults()
    given = {**known.conf, **{key: _spelled(value) for key, value in (conf or {}).items()}}
    check_settings(given)
    size = size_of(
        known.executor_cores if executor_cores is None else executor_cores,
        known.executor_memory if executor_memory is None else executor_memory,
        executor_overhead,
    )
    cores = known.cores if cores is None else cores
    if cores is not None and (type(cores) is not int or cores < size.cores):
        raise ValueError(f"cores is at least those of one executor, {size.cores}, not {cores}")
    heap_mib = mib(driver_memory or known.driver_memory, "driver_memory")
    app_name = app_name or known.app_name
    name = f"spark-{_slug(app_name)}-{secrets.token_hex(4)}"
    secret = given.get("spark.authenticate.secret") or secrets.token_hex(SECRET_BYTES)
    path = python or known.python or os.environ.get(PYTHON_VARIABLE) or sys.executable
    settings = _settings(name, app_name, secret, size, cores) | given
    settings.setdefault("spark.driver.host", address_for_agents(master))
    make = partial(
        Executors,
        name,
        size,
        python=path,
        secret=secret,
        role=role or known.role,
        where=known.where if where is None else where,
        policy=Policy(policy),
    )
    application = Application(make, master=master, token_file=token_file)
    _start_jvm(submit_args(jar_for(_prepared()), heap_mib, given))
    return _opened(application, settings, path)


def _opened(application: Application, settings: dict[str, str], python: str) -> SparkSession:
    """The session of an application, which ends when that does not come to be."""
    application.start()
    try:
        if settings["spark.dynamicAllocation.enabled"] == "true":
            settings.pop("spark.executor.instances", None)  # it would begin with so many
        settings["spark.master"] = f"mesoslite://127.0.0.1:{application.port}"
        with _variable(PYTHON_VARIABLE, python):  # the context reads it once
            return _built(settings, application)
    except BaseException:
        application.close()
        raise


def _prepared() -> Path:
    """Whether Spark can run here at all; its home."""
    check_java()
    home = find_spark()
    try:
        from pyspark import SparkContext
    except ImportError as error:
        raise NoSpark(f"pyspark cannot be imported ({error}): {INSTALL_PYSPARK}") from None
    if SparkContext._active_spark_context is not None:
        raise SparkError("this process has a SparkContext: stop it first, there is one at a time")
    return home


def _settings(
    name: str, app_name: str, secret: str, size: ExecutorSize, cores: int | None
) -> dict[str, str]:
    """What Spark is told unless `conf` says otherwise."""
    settings = {
        "spark.app.name": app_name,
        "spark.mesoslite.application": name,
        "spark.executor.cores": str(size.cores),
        "spark.executor.memory": f"{size.heap_mib}m",
        "spark.executor.memoryOverhead": f"{size.overhead_mib}m",
        # Without it whoever reaches the driver's port may run code in it.
        "spark.authenticate": "true",
        "spark.authenticate.secret": secret,
        "spark.dynamicAllocation.enabled": "true",
        # There is no shuffle service: executors whose shuffles are needed stay.
        "spark.dynamicAllocation.shuffleTracking.enabled": "true",
        # Executors of one host do not see each other's files: each has a sandbox, or a container.
        "spark.shuffle.readHostLocalDisk": "false",
    }
    if cores is not None:
        # The second is for who turns dynamic allocation off: as many, from the start.
        for key in ("spark.dynamicAllocation.maxExecutors", "spark.executor.instances"):
            settings[key] = str(cores // size.cores)
    return settings


def submit_args(jar: Path, heap_mib: int, given: Mapping[str, str]) -> str:
    """How pyspark is told to start its JVM, with what no JVM can be told later.

    The rest is not said here: a command line is for everybody to see.
    """
    words = ["--master", "local[1]"]  # spark-submit takes no master that it does not know
    class_path = [str(jar), *filter(None, [given.get("spark.driver.extraClassPath")])]
    words += ["--driver-class-path", ":".join(class_path), "--driver-memory", f"{heap_mib}m"]
    for key, value in sorted(given.items()):
        if key.startswith(AT_START):
            words += ["--conf", f"{key}={value}"]
    return shlex.join([*words, "pyspark-shell"])


def _start_jvm(words: str) -> None:
    """Start the driver's JVM, or find the one of an earlier session. Raises SparkError.

    Before the scheduler: pyspark forks for it, which gRPC does not like when it is at work.
    """
    from pyspark import SparkContext

    if SparkContext._gateway is None:
        with _variable(SUBMIT_VARIABLE, words):
            SparkContext._ensure_initialized()
    loader = SparkContext._jvm.java.lang.Thread.currentThread().getContextClassLoader()
    try:
        loader.loadClass(LINK_CLASS)
    except Exception as error:
        raise SparkError(
            "this process has a JVM of pyspark that was not started by mesoslite_spark.session: "
            "call it before anything else of pyspark"
        ) from error


def _built(settings: Mapping[str, str], application: Application) -> SparkSession:
    from pyspark import SparkConf, SparkContext
    from pyspark.sql import SparkSession

    link = SparkContext._jvm.org.apache.spark.scheduler.cluster.mesoslite.Link
    link.admit(application.port, application.token)
    conf = SparkConf()
    for key, value in settings.items():
        conf.set(key, value)
    context = SparkContext(conf=conf)
    atexit.register(_end, context, application)
    return SparkSession(context)


def _end(context: Any, application: Application) -> None:
    """At the end of the process: for a program that has not stopped its session."""
    from py4j.protocol import Py4JError

    if application.alive:
        with contextlib.suppress(Py4JError, OSError):  # its JVM may have ended before
            context.stop()
        application.close()


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """An environment variable for a while: pyspark can be told some things in no other way."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def address_for_agents(master: str | None) -> str:
    """The address of this host from which the master is reached: agents find the driver there.

    With a master at localhost that is 127.0.0.1, which is right for a cluster on one host; else
    say `spark.driver.host`. The loopback, too, when the master's host is not known.
    """
    named = master or os.environ.get("MESOSLITE_MASTER") or DEFAULT_MASTER
    first = named.removeprefix("zk://").partition(",")[0].partition("/")[0]
    try:
        return address_towards(urlsplit(f"//{first}").hostname or "localhost")
    except (OSError, ValueError):
        return "127.0.0.1"


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:NAME_LENGTH_MAX].strip("-.") or "app"


def _spelled(value: Setting) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
