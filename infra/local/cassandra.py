"""One Cassandra node on free ports, from the jars that `make cassandra` copied.

with local_cassandra(Path(".local/demo/cassandra")) as node:
...
"""

import contextlib
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cassandra.cluster import Cluster, NoHostAvailable

from features.errors import StartError
from infra.local.kafka import ROOT
from infra.local.process import free_ports, stop, wait_until

JARS = ROOT / ".local" / "cassandra"
KEYSPACE = "feast"
NONE: Mapping[str, Any] = MappingProxyType({})
PROTOCOL_VERSION = 5
# What Cassandra 5.0 wants opened on JDK 17.
OPENS = (
    *(f"java.base/java.{name}" for name in ("io", "lang", "lang.module", "lang.reflect", "math", "net", "nio")),
    *(f"java.base/java.{name}" for name in ("nio.charset", "util", "util.concurrent", "util.concurrent.atomic")),
    *(f"java.base/jdk.internal.{name}" for name in ("loader", "math", "module", "ref", "reflect", "util", "util.jar")),
    "java.base/sun.nio.ch",
    "java.management/com.sun.jmx.remote.security",
    "java.management/sun.management",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    *(f"java.rmi/sun.rmi.{name}" for name in ("registry", "server", "transport", "transport.tcp")),
    "java.sql/java.sql",
    "java.logging/java.util.logging",
    "jdk.management.jfr/jdk.management.jfr",
    "jdk.management/com.sun.management.internal",
    "jdk.compiler/com.sun.tools.javac.file",
    "jdk.unsupported/sun.misc",
    "jdk.attach/sun.tools.attach",
)


@dataclass(frozen=True)
class Node:
    host: str
    port: int
    process: subprocess.Popen[bytes]

    @property
    def online_store(self) -> dict[str, object]:
        """The section `online_store` of a feature_store.yaml."""
        return {
            "type": "features.stores.cassandra.NewestCassandraOnlineStore",
            "hosts": [self.host],
            "port": self.port,
            "keyspace": KEYSPACE,
            "protocol_version": PROTOCOL_VERSION,
            "load_balancing": {"load_balancing_policy": "DCAwareRoundRobinPolicy", "local_dc": "datacenter1"},
        }


@contextlib.contextmanager
def local_cassandra(
    home: Path, settings: str = "", connection: Mapping[str, Any] = NONE, port: int | None = None
) -> Iterator[Node]:
    """Yield a running node with the keyspace KEYSPACE, whose data lie in `home`; stop it on the way out.

    Args:
        home: made if it is not there; what a node has left in it is gone on with.
        settings: lines of cassandra.yaml, beside those that a node needs.
        connection: what the driver has to say then, to be let in.
        port: on which it is asked; None: one that is free.

    Raises:
        StartError: no jars, or the node exited or stood still.
    """
    home = home.resolve()
    agent = next(JARS.glob("jamm-*.jar"), None)
    if agent is None:
        msg = f"no Cassandra jars in {JARS}; run `make cassandra`"
        raise StartError(msg)
    home.mkdir(parents=True, exist_ok=True)
    storage_port, ssl_port, free_port, jmx_port = free_ports(4)
    port = port or free_port
    (home / "cassandra.yaml").write_text(_yaml(home, storage_port, ssl_port, port) + settings, encoding="utf-8")
    (home / "logback.xml").write_text(_LOGBACK, encoding="utf-8")
    log = home / "cassandra.log"
    command = [
        "java",
        *(f"--add-{what}={package}=ALL-UNNAMED" for package in OPENS for what in ("opens", "exports")),
        *("-Xms512m", "-Xmx512m", "-XX:+UseSerialGC", f"-javaagent:{agent}", "-Djdk.attach.allowAttachSelf=true"),
        f"-Dcassandra.config=file://{home / 'cassandra.yaml'}",
        f"-Dcassandra.storagedir={home}",
        f"-Dlogback.configurationFile={home / 'logback.xml'}",
        f"-Dcassandra.jmx.local.port={jmx_port}",
        "-Dcassandra.skip_wait_for_gossip_to_settle=0",
        "-Dcassandra.superuser_setup_delay_ms=0",
        "-Dcassandra-foreground=yes",
        "-Dio.netty.tryReflectionSetAccessible=true",
        *("-cp", f"{JARS}/*", "org.apache.cassandra.service.CassandraDaemon"),
    ]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, cwd=home, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        wait_until(lambda: _listens(port), "Cassandra", process, log)
        _create_keyspace(port, connection, process, log)
        yield Node("127.0.0.1", port, process)
    finally:
        stop(process)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True
    return False


def _create_keyspace(port: int, connection: Mapping[str, Any], process: subprocess.Popen[bytes], log: Path) -> None:
    def lets_in() -> bool:
        with (
            contextlib.suppress(NoHostAvailable),
            Cluster(["127.0.0.1"], port=port, protocol_version=PROTOCOL_VERSION, **connection) as cluster,
        ):
            cluster.connect().execute(
                f"CREATE KEYSPACE IF NOT EXISTS {KEYSPACE} "
                "WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"
            )
            return True
        return False

    wait_until(lets_in, "Cassandra", process, log)  # which makes its first user after it listens


def _yaml(home: Path, storage_port: int, ssl_port: int, port: int) -> str:
    return f"""\
cluster_name: rheostat
num_tokens: 1
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
commitlog_sync: periodic
commitlog_sync_period: 1000ms
commitlog_directory: {home / "commitlog"}
saved_caches_directory: {home / "saved_caches"}
hints_directory: {home / "hints"}
cdc_raw_directory: {home / "cdc_raw"}
data_file_directories: [{home / "data"}]
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
storage_port: {storage_port}
ssl_storage_port: {ssl_port}
native_transport_port: {port}
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{seeds: "127.0.0.1:{storage_port}"}}]
auto_bootstrap: false
"""


_LOGBACK = """\
<configuration>
  <appender name="STDOUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d %level %msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="STDOUT"/></root>
</configuration>
"""
