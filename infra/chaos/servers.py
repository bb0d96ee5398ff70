"""Kafka behind a network, Cassandra and a Flink cluster, each of which can be killed and comes back."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from features.errors import JobError
from infra.chaos.proxy import Proxy, local_proxy
from infra.local.cassandra import Node, local_cassandra
from infra.local.flink import FlinkCluster, local_flink
from infra.local.kafka import Broker, local_kafka
from infra.local.process import free_ports
from streaming.config import Cluster

TASK_MANAGERS = 2
STATE_BYTES = 256 << 20  # of the folder that can be filled


class Servers:
    """They run while this is entered; `state` is the folder that checkpoints lie in."""

    def __init__(self, home: Path) -> None:
        self.home, self.state = home, home / "state"
        self.is_bounded = False  # whether `state` can be filled

    @contextlib.contextmanager
    def running(self) -> Iterator["Servers"]:
        """Start all of them; stop them on the way out."""
        with contextlib.ExitStack() as stack:
            self._bound_state(stack)
            self.network: Proxy = stack.enter_context(local_proxy())
            self._kafka, self._cassandra = contextlib.ExitStack(), contextlib.ExitStack()
            stack.callback(lambda: self._cassandra.close())  # those that run then: each start has another
            stack.callback(lambda: self._kafka.close())
            (self._cassandra_port,) = free_ports(1)
            self.start_cassandra()
            self.start_broker()
            self.flink: FlinkCluster = stack.enter_context(local_flink(self.home / "flink", TASK_MANAGERS))
            yield self

    @property
    def cluster(self) -> Cluster:
        return Cluster(f"127.0.0.1:{self.network.port}")

    def start_broker(self) -> None:
        self._kafka.close()  # of the one that was killed nothing is left
        self._kafka = contextlib.ExitStack()
        self.broker: Broker = self._kafka.enter_context(
            local_kafka(self.home / "kafka", advertised_port=self.network.port)
        )
        self.network.target = self.broker.port

    def start_cassandra(self) -> None:
        self._cassandra.close()
        self._cassandra = contextlib.ExitStack()
        self.cassandra: Node = self._cassandra.enter_context(
            local_cassandra(self.home / "cassandra", port=self._cassandra_port)
        )

    def tend(self) -> None:
        """Start as many TaskManagers as are missing."""
        flink = self.flink
        flink.task_managers[:] = [known for known in flink.task_managers if known.process.poll() is None]
        missing = TASK_MANAGERS - len(flink.task_managers)
        if missing > 0:
            flink.start_task_managers(missing)

    def fill_state(self) -> None:
        """Leave no byte in the folder of checkpoints."""
        with contextlib.suppress(OSError), (self.state / "filled").open("wb") as file:
            while file.write(b"\0" * (1 << 20)):
                pass

    def empty_state(self) -> None:
        (self.state / "filled").unlink(missing_ok=True)

    def _bound_state(self, stack: contextlib.ExitStack) -> None:
        self.state.mkdir(parents=True)
        if os.geteuid() != 0 or shutil.which("mount") is None:
            return
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={STATE_BYTES}", "tmpfs", self.state], capture_output=True, check=False
        )
        if mounted.returncode == 0:
            self.is_bounded = True
            stack.callback(self._unbound_state)

    def _unbound_state(self) -> None:
        subprocess.run(["umount", "--lazy", self.state], check=False)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it has started as a machine does that is gone.

    Raises:
        JobError: it has ended before.
    """
    if process.poll() is not None:
        msg = "it is away as it is"
        raise JobError(msg)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
