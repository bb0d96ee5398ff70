"""What is done to a running system, and what mends it."""

import os
import random
import signal
from collections.abc import Callable
from typing import NamedTuple

from features.errors import JobError
from infra.chaos.deployment import Deployment
from infra.chaos.servers import Servers, kill

FULL = "state folder full"


class Fault(NamedTuple):
    """One that was inflicted."""

    kind: str
    mended_after_s: float
    mend: Callable[[], None]  # what somebody does who sees it


def kinds(servers: Servers) -> list[str]:
    """Return what can be inflicted here; a folder can be filled where it could be bounded."""
    return [kind for kind in _FAULTS if kind != FULL or servers.is_bounded]


def inflict(kind: str, servers: Servers, deployment: Deployment, chance: random.Random) -> Fault:
    """Do it, and return what it was.

    Args:
        kind: one of `kinds`.
        servers: to which it is done.
        deployment: whose jobs run on them.
        chance: which one, for how long.

    Raises:
        JobError: what it would be done to is away as it is.
    """
    mend, low_s, high_s = _FAULTS[kind](servers, deployment, chance)
    return Fault(kind, chance.uniform(low_s, high_s), mend)


Inflicted = tuple[Callable[[], None], float, float]  # how it is mended, and within which seconds


def _task_manager(servers: Servers, deployment: Deployment, chance: random.Random) -> Inflicted:
    kill(chance.choice(servers.flink.task_managers).process)
    return servers.tend, 0.0, 3.0


def _job_manager(servers: Servers, deployment: Deployment, chance: random.Random) -> Inflicted:
    kill(servers.flink.job_manager)
    return servers.flink.restart_job_manager, 0.0, 3.0


def _job(name: str) -> Callable[[Servers, Deployment, random.Random], Inflicted]:
    def end(servers: Servers, deployment: Deployment, chance: random.Random) -> Inflicted:
        deployment.end(name)
        return deployment.tend, 0.0, 2.0

    return end


def _broker(servers: Servers, deployment: Deployment, chance: random.Random) -> Inflicted:
    kill(servers.broker.process)
    return servers.start_broker, 0.0, 8.0


def _paused_broker(servers: Servers, deployment: Deployment, chance: random.Random) -> Inflicted:
    broker = servers.broker.process
    if broker.poll() is not None:
        msg = "the broker is away as it is"
        raise JobError(msg)
    os.killpg(broker.pid, signal.SIGSTOP)

    def go_on() -> None:
        if broker.poll() is None:  # nobody has killed it meanwhile
            os.killpg(broker.pid, signal.SIGCONT)

    return go_on, 2.0, 30.0


def _cassandra(servers: Servers, deployment: Deployment, chance: random.Random) -> Inflicted:
    kill(servers.cassandra.process)
    return servers.start_cassandra, 0.0, 8.0


def _full(servers: Servers, deployment: Deployment, chance: random.Random) -> Inflicted:
    servers.fill_state()
    return servers.empty_state, 5.0, 20.0


def _cut(servers: Servers, deployment: Deployment, chance: random.Random) -> Inflicted:
    servers.network.cut()
    return servers.network.mend, 2.0, 20.0


def _reset(servers: Servers, deployment: Deployment, chance: random.Random) -> Inflicted:
    servers.network.reset()
    return lambda: None, 0.0, 0.0


_FAULTS: dict[str, Callable[[Servers, Deployment, random.Random], Inflicted]] = {
    "TaskManager killed": _task_manager,
    "JobManager killed": _job_manager,
    "job recommend ended": _job("recommend"),
    "job features ended": _job("features"),
    "job learn ended": _job("learn"),
    "broker killed": _broker,
    "broker paused": _paused_broker,
    "Cassandra killed": _cassandra,
    FULL: _full,
    "network cut": _cut,
    "connections reset": _reset,
}
