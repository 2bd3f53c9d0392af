"""What is said before anything starts: sizes, settings, a host without Java, an old jar."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import mesoslite_spark
from mesoslite_spark import NoJava, NoSpark, SparkError, host, jar
from mesoslite_spark.executor import _parser, command_of, environment_of
from mesoslite_spark.sessions import address_for_agents, submit_args
from mesoslite_spark.sizes import ExecutorSize, mib, size_of


@pytest.mark.parametrize(
    ("said", "size"),
    [("512m", 512), ("1g", 1_024), ("2GiB", 2_048), ("1t", 1_048_576), (700, 700), ("1025k", 2)],
)
def test_a_size_is_said_as_to_java_or_as_to_mesoslite(said: str | int, size: int) -> None:
    assert mib(said, "executor_memory") == size


@pytest.mark.parametrize("said", ["", "much", "-1m", "1.5g", True, "17000000m"])
def test_what_is_no_size_is_refused(said: str | int) -> None:
    with pytest.raises(ValueError, match="executor_memory is"):
        mib(said, "executor_memory")


def test_beside_the_heap_there_is_a_tenth_and_at_least_what_spark_takes() -> None:
    assert size_of(1, "1g") == ExecutorSize(1, 1_024, 384)
    assert size_of(4, "10g") == ExecutorSize(4, 10_240, 1_024)
    assert size_of(1, "1g", "1g").resources.mem == 2_048


def test_a_heap_that_spark_would_refuse_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="at least 480m"):
        size_of(1, "479m")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"cores": 1, "executor_cores": 2}, "cores is at least those of one executor, 2"),
        ({"executor_cores": 0}, "executor_cores is 1 to"),
        ({"conf": {"spark.executor.memory": "1g"}}, "what the argument executor_memory is for"),
        ({"conf": {"hive.this": 1}}, "neither an argument nor a setting"),
    ],
)
def test_what_a_session_cannot_be_is_said_before_anything_starts(
    wrong: dict[str, object], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        mesoslite_spark.session(**wrong)  # type: ignore[arg-type]


def test_a_host_without_java_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoJava, match="apt-get install openjdk-17-jre-headless"):
        mesoslite_spark.session()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(NoJava, match=f"none in JAVA_HOME, {tmp_path}"):
        host.find_java()


@pytest.mark.parametrize(
    ("version", "fits"), [("1.8.0_392", False), ("11.0.2", False), ("17.0.15", True), ("21", True)]
)
def test_an_old_java_is_told_from_one_that_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, *, fits: bool
) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2024' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    if fits:
        host.check_java()
    else:
        with pytest.raises(NoJava, match="and Spark needs 17"):
            host.check_java()


def test_a_python_without_spark_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARK_HOME", str(tmp_path))
    with pytest.raises(NoSpark, match=r"pip install 'mesoslite\[spark\]'"):
        host.find_spark()


def test_the_driver_is_where_the_master_is_reached_from() -> None:
    for master in ("localhost:5060", "127.0.0.1", "zk://127.0.0.1:2181/mesoslite", "no host:1"):
        assert address_for_agents(master) == "127.0.0.1"


def test_an_executor_keeps_its_files_in_its_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jars").mkdir()
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.touch(0o755)
    monkeypatch.setenv("SPARK_HOME", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    words = "--driver-url spark://d@127.0.0.1:4000 --executor-id 3 --cores 2 --app-id a"
    asked = _parser().parse_args([*words.split(), "--heap-mib", "512", "--", "-Da=b"])
    command = command_of(asked, tmp_path)
    assert command[:4] == [str(java), "-cp", f"{tmp_path}/jars/*", "-Xmx512m"]
    assert f"-Djava.io.tmpdir={tmp_path}/tmp" in command
    assert "-Da=b" in command
    assert "--hostname 127.0.0.1 --bind-address 127.0.0.1 --cores 2" in " ".join(command)
    environment = environment_of({"TMPDIR": "/mine"}, tmp_path / "tmp")
    assert environment == {"TMPDIR": "/mine", "SPARK_LOCAL_DIRS": f"{tmp_path}/tmp"}


def test_the_jar_is_of_these_sources() -> None:
    assert jar.told()["Source-Digest"] == jar.source_digest(), "python -m mesoslite_spark.jar"
    assert jar.told()["Spark-Version"] == host.SPARK_VERSION


def test_the_same_sources_and_compiler_make_the_same_bytes() -> None:
    """Where the compiler is the one that made it; another one may write other bytes."""
    try:
        home = host.find_spark()
    except NoSpark as error:
        pytest.skip(str(error))
    if shutil.which("javac") is None or jar.javac_version() != jar.told()["Compiler"]:
        pytest.skip(f"no {jar.told()['Compiler']} here")
    assert jar.build(home) == jar.JAR.read_bytes()


def test_another_spark_needs_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "spark-core_2.13-4.0.1.jar").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SparkError, match=r"is for Spark 4.3.0, this is 4.0.1"):
        jar.jar_for(tmp_path)


def test_the_jvm_is_told_at_its_start_what_it_cannot_be_told_later_and_no_secrets() -> None:
    given = {
        "spark.jars.packages": "org.apache.spark:spark-sql-kafka-0-10_2.13:4.3.0",
        "spark.driver.extraClassPath": "/mine.jar",
        "spark.authenticate.secret": "s3cret",
        "spark.hadoop.fs.s3a.secret.key": "s3cret",
    }
    words = submit_args(Path("/ours.jar"), 512, given)
    assert words.startswith("--master 'local[1]' --driver-class-path /ours.jar:/mine.jar ")
    assert "--driver-memory 512m" in words
    assert "--conf spark.jars.packages=org.apache.spark:spark-sql-kafka-0-10_2.13:4.3.0" in words
    assert "s3cret" not in words
