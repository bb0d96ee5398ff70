"""A peer of confluent-kafka alone: each event is answered by a record of a slate's size, and by no thought."""

from infra.bench.peers.wire import micro_batches, options, padded, writer
from streaming.config import Cluster


def main() -> None:
    given = options(__doc__)
    cluster = Cluster(given.bootstrap_servers, given.topic_prefix)
    write = writer(cluster)
    for batch in micro_batches(cluster, "echo"):
        for record in batch:
            write(record.key(), padded(record.value() or b""))


if __name__ == "__main__":
    main()
