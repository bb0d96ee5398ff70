"""One broker a run. Each test module has topics of its own on it, under a prefix, as deployments on one cluster do."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

import pytest

from infra.local.kafka import Broker, local_kafka
from streaming.config import PREFIX_VARIABLE, Cluster
from streaming.io.topic_admin import create_topics


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cluster", type=int, default=0, metavar="N", help="TaskManagers on which the jobs run; 0: none")


@pytest.fixture(scope="session")
def task_managers(request: pytest.FixtureRequest) -> int:
    """Of a Flink cluster on which the jobs of this run are; 0: each in a process of its own."""
    count: int = request.config.getoption("--cluster")
    return count


@pytest.fixture(scope="session")
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with local_kafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def new_topics(shared_broker: Broker) -> Callable[[], Broker]:
    """What gives the broker of this run with topics that nobody else has."""
    numbers = count(1)

    def create() -> Broker:
        cluster = replace(shared_broker.cluster, topic_prefix=f"test-{next(numbers)}.")
        create_topics(cluster)
        return replace(shared_broker, cluster=cluster)

    return create


@pytest.fixture(scope="module")
def broker(new_topics: Callable[[], Broker]) -> Broker:
    """The broker, with topics of this module alone."""
    return new_topics()


@pytest.fixture(scope="module")
def cluster(broker: Broker) -> Cluster:
    return broker.cluster


@pytest.fixture
def commands_on_cluster(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands use the topics of this module."""
    monkeypatch.setenv("RHEOSTAT_BOOTSTRAP_SERVERS", cluster.bootstrap_servers)
    monkeypatch.setenv(PREFIX_VARIABLE, cluster.topic_prefix)
