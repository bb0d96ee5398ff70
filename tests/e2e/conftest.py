"""One stack for the tests of what the jobs do together.

It is shared: a module counts differences, and its shoppers are its own.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.data import HAS_DATA, JDATA
from support.replay import ARTIFACT
from support.runs import Runs

from features.sources.datasets import jdata
from features.sources.simulator import shop
from infra.local.flink import FlinkCluster, local_flink
from infra.local.kafka import Broker
from infra.local.stack import Stack, local_stack
from streaming.io.feed import Feed


@pytest.fixture(scope="session")
def stack(
    new_topics: Callable[[], Broker], task_managers: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Feast is on Cassandra; on sale is what the simulated shop has, and JData's items where the data are there."""
    items = [*shop.items(), *(jdata.open_log(JDATA).items() if HAS_DATA else [])]
    home = tmp_path_factory.mktemp("stack")
    with local_stack(
        home, ARTIFACT, items, warm=False, store="cassandra", broker=new_topics(), task_managers=task_managers
    ) as running:
        yield running


@pytest.fixture(scope="session")
def flink(task_managers: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlinkCluster | None]:
    """That a test's own job runs on, which is never restarted: that would hide that it fails over and over."""
    if not task_managers:
        yield None
        return
    settings = {"restart-strategy.type": "none"}
    with local_flink(tmp_path_factory.mktemp("flink"), task_managers, settings) as cluster:
        yield cluster


@pytest.fixture
def runs(new_topics: Callable[[], Broker], flink: FlinkCluster | None, tmp_path: Path) -> Iterator[Runs]:
    """What runs one job `recommend` after another on topics of its own, in the simulated shop."""
    cluster = new_topics().cluster
    with Feed(cluster) as feed:
        feed.items(shop.items())
        yield Runs(tmp_path, cluster, feed, flink)
