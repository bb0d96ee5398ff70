"""`python -m infra.bench.soak`: many events through the job `recommend`, as fast as it takes them, and how it grows."""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from features.sources.simulator import shop
from infra.bench.load import let_in, shop_load
from infra.bench.profile import java_of
from infra.local.job import local_job
from infra.local.kafka import local_kafka
from infra.local.process import cpu_s
from streaming.config import Cluster
from streaming.io.feed import Feed
from streaming.io.topic_admin import create_topics
from streaming.kafka_client import for_librdkafka
from streaming.schemas import Topic

WARM_UP = 500
WRITTEN = Topic.RECOMMENDATIONS, Topic.FEATURE_LOG, Topic.CLICKS, Topic.PURCHASES


def measure(events: int, part: int, shoppers: int, model: Path, folder: Path) -> list[dict[str, Any]]:
    """Return figures after each `part` of the events; all shoppers come again and again."""
    figures = list[dict[str, Any]]()
    with local_kafka(folder / "kafka") as broker:
        create_topics(broker.cluster)
        with (
            Feed(broker.cluster) as feed,
            local_job("recommend", folder, broker.cluster, "--model", str(model)) as job,
        ):
            feed.items(shop.items())
            let_in(broker.cluster, shop_load(0, None, WARM_UP, shoppers), job.assert_running)
            java = java_of(psutil.Process(job.process.pid))
            for n in range(1, events // part + 1):
                load = shop_load(n, None, part, shoppers)
                began, cpu = time.monotonic(), cpu_s(java.pid)
                answers = let_in(broker.cluster, load, job.assert_running)
                lost = int(np.isnan(answers.received).sum())
                elapsed_s, used_s = time.monotonic() - began, cpu_s(java.pid) - cpu
                figures.append(
                    {
                        "events": n * part,
                        "lost": lost,
                        "events_per_s": round((part - lost) / elapsed_s),
                        "cpu_us_an_event": round(1e6 * used_s / part),
                        "outside_heap_mb": round(_outside_heap(java) / 1e6),
                    }
                )
                sys.stderr.write(f"{figures[-1]}\n")
                _drop(broker.cluster)
    return figures


def _outside_heap(java: psutil.Process) -> int:
    """Return what the process holds in memory beside the heap, which states fill: bytes."""
    command = ["jcmd", str(java.pid), "GC.heap_info"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    ends = [int(address, 16) for address in re.findall(r"0x([0-9a-f]+)", said)]
    outside = 0
    for mapping in java.memory_maps(grouped=False):
        start = int(mapping.addr.split("-")[0], 16)
        outside += 0 if min(ends) <= start < max(ends) else mapping.rss
    return outside


def _drop(cluster: Cluster) -> None:
    """Give the disk back what all have read."""
    admin = AdminClient({**for_librdkafka(cluster), "log_level": 0})
    topics = admin.list_topics(timeout=10.0).topics
    names = [cluster.topic(topic) for topic in WRITTEN]
    everything = [TopicPartition(name, number, -1) for name in names for number in topics[name].partitions]
    for deleted in admin.delete_records(everything).values():
        deleted.result(30.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--part", type=int, default=50_000)
    parser.add_argument("--shoppers", type=int, default=2_000, help="in the shop at a time")
    parser.add_argument("--model", type=Path, default=Path("onnx_models/artifacts/generator"))
    options = parser.parse_args()
    if options.events < options.part:
        parser.error(f"--events {options.events} are less than a part of {options.part}; give --part, too")
    with TemporaryDirectory() as folder:
        figures = measure(options.events, options.part, options.shoppers, options.model.resolve(), Path(folder))
    print(json.dumps(figures))  # noqa: T201


if __name__ == "__main__":
    main()
