"""A ZooKeeper server of one's own, for tests and benchmarks of clusters with several masters.

It is the real one, alone, on a free port of the loopback, with its files in a folder that is given:

    with ZooKeeperServer(folder) as zookeeper:
        start_masters(zk=f"zk://{zookeeper.address}/mesoslite")

It needs Java and ZooKeeper's jar, as Debian's `default-jre-headless` and `libzookeeper-java` have
them. Their start takes about a second.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

JAR = Path("/usr/share/java/zookeeper.jar")  # names all that it needs in its manifest
LOGGING_JAR = Path("/usr/share/java/slf4j-simple.jar")
MAIN = "org.apache.zookeeper.server.ZooKeeperServerMain"
#: Sessions may be of 2 to 20 ticks, so of 1 to 10 s; an end is noticed a tick late at most.
TICK_MS = 500
START_S_MAX = 30.0
ASK_S_MAX = 1.0
JAVA_FLAGS = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # half the time to start, and nobody measures Java here
    "-Dzookeeper.admin.enableServer=false",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)


class NoZooKeeperError(Exception):
    """There is none on this host, or it does not start; `str` is one line for people."""


def why_no_zookeeper() -> str:
    """What is missing on this host to run a server, in one line; empty: nothing."""
    if shutil.which("java") is None:
        return "there is no java here (Debian: default-jre-headless)"
    return "" if JAR.exists() else f"there is no {JAR} here (Debian: libzookeeper-java)"


class ZooKeeperServer:
    """One server. It may be killed and started again, with the same port and what it has stored."""

    def __init__(self, folder: Path) -> None:
        """`folder` is made when it is not there. Raises NoZooKeeperError."""
        if why := why_no_zookeeper():
            raise NoZooKeeperError(why)
        self.folder = folder
        self.log = folder / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and return when it answers. Raises NoZooKeeperError."""
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        config = self.folder / "zoo.cfg"
        config.write_text(
            f"tickTime={TICK_MS}\n"
            f"dataDir={self.folder / 'data'}\n"
            f"clientPort={self.port}\n"
            "clientPortAddress=127.0.0.1\n"
            "maxClientCnxns=0\n"  # all clients of a test are on one host
            "admin.enableServer=false\n"
        )
        command = ["java", *JAVA_FLAGS, "-cp", f"{JAR}:{LOGGING_JAR}", MAIN, str(config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for whoever runs it
            )
        ends_s = time.monotonic() + START_S_MAX
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > ends_s:
                self.kill()
                raise NoZooKeeperError(f"ZooKeeper did not start, see {self.log}")
            time.sleep(0.02)

    def answers(self) -> bool:
        """Whether it serves clients now."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), ASK_S_MAX) as asking:
                asking.sendall(b"srvr")
                return asking.recv(4_096).startswith(b"Zookeeper version")
        except OSError:
            return False

    def kill(self) -> None:
        """As kill -9; returns when it has gone. What it has stored stays."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self) -> ZooKeeperServer:
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it; the folder is whoever's who named it."""
        self.kill()


def _free_port() -> int:
    """A port that nobody listens on now: a server keeps its own over restarts, so it needs one."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])
