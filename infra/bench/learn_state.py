"""`python -m infra.bench.learn_state`: what the job `learn` keeps of slates on its heap, and what each costs it."""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from infra.local.job import Job, local_job
from infra.local.kafka import local_kafka
from infra.local.process import cpu_s
from streaming.config import LEARN_GROUP
from streaming.io.feed import Feed
from streaming.io.lag import lag
from streaming.io.topic_admin import create_topics
from streaming.records import encode, now_ms
from streaming.schemas import (
    Click,
    ClickKind,
    Fallback,
    Impression,
    Origin,
    ReasonCode,
    Recommendation,
    SlateItem,
    Topic,
)

SLATES_OF_A_SHOPPER = 10
SEEN_EVERY = 4  # slates
READ_S, PAUSE_S = 600.0, 0.5
READ = Topic.RECOMMENDATIONS, Topic.IMPRESSIONS, Topic.CLICKS


def traffic(first: int, count: int) -> Iterator[tuple[Topic, str, bytes]]:
    """Yield slates of 20 items, of each shopper some; every few are seen and clicked."""
    items = [
        SlateItem(f"item-{n:07}", 1.0, {"relevance": 0.5, "revenue": 0.5}, ReasonCode.RELEVANT, 0.987654321, 0.123456)
        for n in range(20)
    ]
    at = now_ms()
    for n in range(first, first + count):
        shopper_id, rec_id = f"shopper-{n // SLATES_OF_A_SHOPPER:07}", f"{n:032x}"
        slate = Recommendation(
            rec_id=rec_id,
            surface="home",
            shopper_id=shopper_id,
            event_id=f"event-{n}",
            origin=Origin(Topic.CLICKS, 0, n),
            event_time_ms=at,
            emitted_time_ms=at,
            slate=tuple(items),
            fallback=Fallback.NONE,
            policy_version=7,
            policy_scope="global",
            estimates_version=1,
            propensity=0.5,
            exploration_rate=0.1,
            uncertainty=0.5,
            model_version="graph-generator-0fefeeea8459",
        )
        yield Topic.RECOMMENDATIONS, shopper_id, encode(slate)
        if n % SEEN_EVERY == 0:
            ids = tuple(item.item_id for item in items)
            shown = Impression(rec_id=rec_id, shopper_id=shopper_id, items=ids, event_time_ms=at)
            yield Topic.IMPRESSIONS, shopper_id, encode(shown)
            clicked = Click(
                event_id=f"click-{n}",
                shopper_id=shopper_id,
                session_id="x",
                item_id=ids[n % 20],
                event_time_ms=at,
                kind=ClickKind.VIEW,
                rec_id=rec_id,
            )
            yield Topic.CLICKS, shopper_id, encode(clicked)


def measure(counts: list[int], heap: str, folder: Path) -> list[dict[str, Any]]:
    """Return figures after each of `counts` slates, all of one job with `heap` of memory; the first ones warm it up."""
    os.environ["JVM_ARGS"] = f"-XX:+UseSerialGC -Xmx{heap} -XX:MetaspaceSize=160m -XX:TieredStopAtLevel=1"
    figures, written = list[dict[str, Any]](), 0
    with local_kafka(folder / "kafka") as broker:
        create_topics(broker.cluster)
        with (
            Feed(broker.cluster) as feed,
            local_job("learn", folder, broker.cluster, "--checkpoint-interval-ms", "1000") as job,
        ):
            before = 0.0
            for count in counts:
                sizes = 0
                for topic, key, raw in traffic(written, count - written):
                    feed.raw(topic, key, raw)
                    sizes += len(raw) if topic is Topic.RECOMMENDATIONS else 0
                feed.flush()
                began, cpu = time.monotonic(), cpu_s(job.process.pid) if written else 0.0
                while any(lag(broker.cluster, LEARN_GROUP, topic) != 0 for topic in READ):
                    job.assert_running()
                    assert time.monotonic() - began < READ_S, job.log_tail()
                    time.sleep(PAUSE_S)
                used = _used(job)
                figures.append(
                    {
                        "slates": count,
                        "bytes_of_a_slate": round(sizes / (count - written)),
                        "heap_mb": round(used / 1e6, 1),
                        "heap_bytes_a_slate": round((used - before) / (count - written)) if written else None,
                        "cpu_us_a_slate": round(1e6 * (cpu_s(job.process.pid) - cpu) / (count - written))
                        if written
                        else None,
                    }
                )
                sys.stderr.write(f"{figures[-1]}\n")
                written, before = count, used
    return figures


def _java(job: Job) -> psutil.Process:
    children = psutil.Process(job.process.pid).children(recursive=True)
    return max(children, key=lambda child: int(child.memory_info().rss))


def _used(job: Job) -> float:
    """Return the bytes of the heap that are in use after everything else has been collected."""
    subprocess.run(["jcmd", str(_java(job).pid), "GC.run"], check=True, stdout=subprocess.DEVNULL)
    described = subprocess.run(
        ["jcmd", str(_java(job).pid), "GC.heap_info"], check=True, capture_output=True, text=True
    )
    used = [int(kib) for kib in re.findall(r"(?:generation|heap)\s+total \d+K, used (\d+)K", described.stdout)]
    return 1024.0 * sum(used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slates", type=int, nargs="+", default=[50_000, 100_000, 200_000])
    parser.add_argument("--heap", default="1g", help="of the job's JVM")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        figures = measure(options.slates, options.heap, Path(folder))
    print(json.dumps(figures))  # noqa: T201


if __name__ == "__main__":
    main()
