"""How a cluster is to keep each topic. One source: for `rheostat topics`, Strimzi's resources and docs/topics.md."""

from features.spec import DAY_MS
from streaming.schemas import COMPACTED, Topic

PARTITIONS = 2  # of a topic that may have more than one, where nobody says how many
# What was in force is looked up for some time; after that the newest policy alone is kept.
# Of estimates there is a new record every second, and only the newest is ever read.
_COMPACTED = {
    Topic.POLICIES: {"min.compaction.lag.ms": str(30 * DAY_MS)},
    Topic.ESTIMATES: {"segment.ms": "60000", "min.cleanable.dirty.ratio": "0.01"},
}
# A job that was away so long still finds what it missed; a question and its answer are of the moment.
RETENTION_DAYS = dict.fromkeys(Topic, 7) | {
    Topic.DEAD_LETTERS: 30,
    **dict.fromkeys((Topic.PROFILE_REQUESTS, Topic.PROFILES), 1),
    **dict.fromkeys((Topic.PROBES, Topic.PROBE_SLATES, Topic.PROBE_LOG), 1),
}
SAFE_REPLICATION = 3  # from which on an acknowledged record is on two brokers


def partitions_of(topic: Topic, partitions: int) -> int:
    """Return how many a topic has where those that may have several have `partitions`."""
    return 1 if topic in COMPACTED else partitions


def settings_of(topic: Topic, replication: int) -> dict[str, str]:
    """Return the topic's own settings, as Kafka calls them."""
    settings = {"cleanup.policy": "compact" if topic in COMPACTED else "delete"} | _COMPACTED.get(topic, {})
    if topic not in COMPACTED:
        settings["retention.ms"] = str(RETENTION_DAYS[topic] * DAY_MS)
    if replication >= SAFE_REPLICATION:
        settings["min.insync.replicas"] = "2"
    return settings
