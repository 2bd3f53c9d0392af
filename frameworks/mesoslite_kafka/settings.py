"""What a broker is configured with: its properties, its logs, and the script that starts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mesoslite_services.java import prologue
from mesoslite_services.members import Member
from mesoslite_services.reaching import host_and_port

JAVA = 17  # Kafka 4 runs on no older one
VOTERS_MAX = 3  # controllers: two of them decide, and one may be away

#: Messages that matter go to the task's stderr; all of them to files of 40 MB at most, so that a
#: broker that runs for a year fills no disk.
LOG4J = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %c{1}: %m%n
appender.console.filter.level.type = ThresholdFilter
appender.console.filter.level.level = warn
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = logs/kafka.log
appender.file.filePattern = logs/kafka.log.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{ISO8601} %p %c{1}: %m%n
appender.file.policies.type = SizeBasedTriggeringPolicy
appender.file.policies.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 3
rootLogger.level = info
rootLogger.appenderRefs = console, file
rootLogger.appenderRef.console.ref = console
rootLogger.appenderRef.file.ref = file
"""

#: Formats the volume the first time: `meta.properties` is written last, so what was cut off in the
#: middle is begun again.
BROKER = (
    prologue(JAVA)
    + """\
printf '%s' "$SERVER_PROPERTIES" >server.properties
printf '%s' "$LOG4J_PROPERTIES" >log4j2.properties
export CLASSPATH='jars/*'
java="java -Dlog4j2.configurationFile=log4j2.properties"
if [ ! -e data/log/meta.properties ]; then
    $java -Xmx128m kafka.tools.StorageTool format \\
        --cluster-id "$CLUSTER_ID" --config server.properties --ignore-formatted
fi
exec $java -Xms"$HEAP" -Xmx"$HEAP" -XX:+UseG1GC -XX:+ExitOnOutOfMemoryError \\
    -Djava.awt.headless=true kafka.Kafka server.properties
"""
)

#: One topic after another; who is asked may just be starting.
TOPICS = (
    prologue(JAVA)
    + """\
export CLASSPATH='jars/*'
for topic in $TOPICS; do
    name=${topic%%:*} rest=${topic#*:}
    tries=0
    until java -Xmx128m org.apache.kafka.tools.TopicCommand --bootstrap-server "$BOOTSTRAP" \\
        --create --if-not-exists --topic "$name" \\
        --partitions "${rest%%:*}" --replication-factor "${rest#*:}"
    do
        tries=$((tries + 1))
        if [ "$tries" -ge 10 ]; then echo "topic $name could not be made" >&2; exit 1; fi
        sleep 3
    done
done
"""
)


def properties(
    member: Member,
    voters: Sequence[Member],
    members: int,
    config: Mapping[str, str],
    volume: str,
) -> str:
    """A broker's server.properties. What `config` says goes before what is chosen here."""
    place = member.place
    assert place is not None
    copies = min(3, members)
    in_sync = 2 if copies == 3 else 1  # one of three may be away, and nothing is lost
    broker = f"BROKER://{host_and_port(place.address, place.ports[0])}"
    listeners, roles = [broker], ["broker"]
    if member in voters:
        listeners.append(f"CONTROLLER://{host_and_port(place.address, place.ports[1])}")
        roles.append("controller")
    chosen = {
        "process.roles": ",".join(roles),
        "node.id": str(member.index),
        "controller.quorum.voters": ",".join(map(_voter, voters)),
        "listeners": ",".join(listeners),
        "advertised.listeners": broker,
        "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "BROKER",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": f"{volume}/log",
        "default.replication.factor": str(copies),
        "min.insync.replicas": str(in_sync),
        "offsets.topic.replication.factor": str(copies),
        "transaction.state.log.replication.factor": str(copies),
        "transaction.state.log.min.isr": str(in_sync),
        "share.coordinator.state.topic.replication.factor": str(copies),
        "share.coordinator.state.topic.min.isr": str(in_sync),
        "num.partitions": str(copies),
    }
    if place.rack:
        chosen["broker.rack"] = place.rack
    return "".join(f"{key}={value}\n" for key, value in {**chosen, **config}.items())


def _voter(member: Member) -> str:
    assert member.place is not None
    return f"{member.index}@{host_and_port(member.place.address, member.place.ports[1])}"
