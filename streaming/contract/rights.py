"""Who may do what: the rights that the jobs, and whoever else has a name, need on the topics. One source for all."""

from typing import NamedTuple

from streaming.contract.topics import CONTRACTS
from streaming.schemas import Topic

GROUPS = "rheostat-"  # what the names of all our consumer groups begin with, behind the deployment's prefix


class Rights(NamedTuple):
    """Topics that are read, and topics that are written; each is described, too. Groups: read, by the prefix GROUPS."""

    reads: tuple[Topic, ...]
    writes: tuple[Topic, ...]


def rights_of(who: str) -> Rights:
    """Return what `who`, a job or another reader or writer of the contracts, needs.

    Raises:
        KeyError: no contract names them.
    """
    reads = tuple([topic for topic, contract in CONTRACTS.items() if who in contract.readers])
    writes = tuple([topic for topic, contract in CONTRACTS.items() if who in contract.writers])
    if not reads and not writes:
        raise KeyError(who)
    return Rights(reads, writes)
