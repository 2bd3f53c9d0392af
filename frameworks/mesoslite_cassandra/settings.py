"""What a node is configured with: cassandra.yaml, its logs, and the script that starts it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from mesoslite_services.java import prologue
from mesoslite_services.members import Member
from mesoslite_services.reaching import host_and_port

JAVA = 17  # on newer ones Cassandra 5.0 does not start: it sets a security manager
SEEDS_MAX = 2  # of which new nodes hear of the others: one may be away
STORAGE, NATIVE, JMX = 0, 1, 2  # which of its ports is for what

LOGBACK = """\
<configuration>
  <appender name="FILE" class="ch.qos.logback.core.rolling.RollingFileAppender">
    <file>logs/cassandra.log</file>
    <rollingPolicy class="ch.qos.logback.core.rolling.FixedWindowRollingPolicy">
      <fileNamePattern>logs/cassandra.log.%i</fileNamePattern>
      <minIndex>1</minIndex><maxIndex>3</maxIndex>
    </rollingPolicy>
    <triggeringPolicy class="ch.qos.logback.core.rolling.SizeBasedTriggeringPolicy">
      <maxFileSize>10MB</maxFileSize>
    </triggeringPolicy>
    <encoder><pattern>%date{ISO8601} %-5level %logger{1}: %msg%n</pattern></encoder>
  </appender>
  <appender name="STDERR" class="ch.qos.logback.core.ConsoleAppender">
    <target>System.err</target>
    <filter class="ch.qos.logback.classic.filter.ThresholdFilter"><level>WARN</level></filter>
    <encoder><pattern>%date{ISO8601} %-5level %logger{1}: %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="FILE"/><appender-ref ref="STDERR"/></root>
</configuration>
"""

_UNNAMED = "=ALL-UNNAMED"
EXPORTS = (
    "java.base/jdk.internal.misc", "java.base/java.lang.ref",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi", "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server", "java.sql/java.sql", "jdk.unsupported/sun.misc",
    "jdk.compiler/com.sun.tools.javac.file", "jdk.attach/sun.tools.attach",
)  # fmt: skip
OPENS = (
    "java.base/java.lang.module", "java.base/jdk.internal.loader", "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect", "java.base/jdk.internal.math",
    "java.base/jdk.internal.module", "java.base/jdk.internal.util.jar", "java.base/sun.nio.ch",
    "java.base/java.io", "java.base/java.lang.reflect", "java.base/java.lang",
    "java.base/java.util", "jdk.management/com.sun.management.internal",
    "jdk.compiler/com.sun.tools.javac",
)  # fmt: skip
#: As Cassandra's own jvm17-server.options has them; its tools need them as well.
MODULES = " ".join(
    (
        *(f"--add-exports {name}{_UNNAMED}" for name in EXPORTS),
        *(f"--add-opens {name}{_UNNAMED}" for name in OPENS),
    )
)
JVM = " ".join(
    (
        MODULES,
        "-Djdk.attach.allowAttachSelf=true",
        "-Dio.netty.tryReflectionSetAccessible=true",
        "-Djava.net.preferIPv4Stack=true",
        "-Djava.awt.headless=true",
        "-XX:+UseG1GC -XX:+ExitOnOutOfMemoryError -XX:+UseThreadPriorities",
        "-Xss512k",
    )
)

NODE = (
    prologue(JAVA, JAVA)
    + f"""\
mkdir -p conf
printf '%s' "$CASSANDRA_YAML" >conf/cassandra.yaml
printf '%s' "$LOGBACK_XML" >conf/logback.xml
printf '%s' "$RACK_PROPERTIES" >conf/cassandra-rackdc.properties
export CLASSPATH='conf:jars/*'
exec java {JVM} -Xms"$HEAP" -Xmx"$HEAP" -XX:MaxDirectMemorySize="$DIRECT" \\
    -javaagent:"$(echo jars/jamm-*.jar)" \\
    -Dlogback.configurationFile=conf/logback.xml \\
    -Dcassandra.config="file://$PWD/conf/cassandra.yaml" -Dcassandra.storagedir="$PWD/data" \\
    -Dcassandra.logdir="$PWD/logs" -Dcassandra.jmx.local.port="$JMX_PORT" \\
    -Dcassandra-foreground=yes $JAVA_OPTIONS org.apache.cassandra.service.CassandraDaemon
"""
)


#: On the node's own host: JMX is on the loopback alone. Its history is written below HOME; a log
#: without a configuration would be in the middle of what it prints.
NODETOOL = (
    "echo '<configuration/>' >logback.xml; "
    f"HOME=$PWD exec java {MODULES} -Xmx64m -Dlogback.configurationFile=logback.xml "
    "-cp 'jars/*' org.apache.cassandra.tools.NodeTool "
    '-h 127.0.0.1 -p "$JMX_PORT" "$@"'
)


def yaml(name: str, member: Member, seeds: Sequence[Member], config: Mapping[str, str]) -> str:
    """A node's cassandra.yaml. What `config` says goes before what is chosen here."""
    place = member.place
    assert place is not None
    chosen = {
        "cluster_name": json.dumps(name),  # it may be of anything, and JSON is YAML
        "num_tokens": "16",
        "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
        "endpoint_snitch": "GossipingPropertyFileSnitch",
        "commitlog_sync": "periodic",
        "commitlog_sync_period": "10000ms",
        "listen_address": place.address,
        "storage_port": str(place.ports[STORAGE]),
        "rpc_address": place.address,
        "native_transport_port": str(place.ports[NATIVE]),
    }
    lines = [f"{key}: {value}" for key, value in {**chosen, **config}.items()]
    hosts = ",".join(map(_seed, seeds))
    lines += [
        "seed_provider:",
        "  - class_name: org.apache.cassandra.locator.SimpleSeedProvider",
        f"    parameters: [{{seeds: '{hosts}'}}]",
    ]
    return "\n".join(lines) + "\n"


def rack_properties(member: Member) -> str:
    """Where it stands: what fails together is told to Cassandra as a rack."""
    assert member.place is not None
    return f"dc=datacenter1\nrack={member.place.rack or 'rack1'}\n"


def _seed(member: Member) -> str:
    assert member.place is not None
    return host_and_port(member.place.address, member.place.ports[STORAGE])
