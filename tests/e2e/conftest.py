"""One stack for the tests of what the jobs do together.

It is shared: a module counts differences, and its shoppers are its own.
"""

from collections.abc import Callable, Iterator

import pytest
from support.data import HAS_DATA, JDATA
from support.replay import ARTIFACT

from features.sources.datasets import jdata
from features.sources.simulator import shop
from infra.local.kafka import Broker
from infra.local.stack import Stack, local_stack


@pytest.fixture(scope="session")
def stack(new_topics: Callable[[], Broker], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Feast is on Cassandra; on sale is what the simulated shop has, and JData's items where the data are there."""
    items = [*shop.items(), *(jdata.open_log(JDATA).items() if HAS_DATA else [])]
    home = tmp_path_factory.mktemp("stack")
    with local_stack(home, ARTIFACT, items, warm=False, store="cassandra", broker=new_topics()) as running:
        yield running
