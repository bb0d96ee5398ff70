"""`python -m infra.bench.state --backend rocksdb`: many shoppers in the job `recommend`, and what holding them costs.

Each shopper clicks once, and has the long-term profile of one who has been here before; then some of them click at a
steady rate while checkpoints are made.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import psutil

from features import shopper
from features.sources.simulator import shop
from features.spec import SPEC_VERSION
from infra.bench.load import Load, Record, let_in
from infra.bench.profile import java_of
from infra.local.job import Job, local_job
from infra.local.kafka import local_kafka
from onnx_models.artifact import read_items, read_manifest
from streaming.control.catalogue import Catalogue
from streaming.io.feed import Feed, to_item, to_message
from streaming.io.scrape import Snapshot, scrape
from streaming.io.topic_admin import create_topics
from streaming.records import encode
from streaming.schemas import Click, ClickKind, StoredProfile, Topic
from streaming.scoring.advance import advance

INTERACTIONS = 30  # of the shopper whose profile all have
CHECKPOINT_S = 20
HEAP = {"hashmap": "6g", "rocksdb": "1g", "forst": "1g"}
SETTINGS = {"execution.checkpointing.incremental": "true", "taskmanager.memory.managed.size": "1 gb"}
JOB = "flink_jobmanager_job_"


def measure(count: int, part: int, backend: str, rate: int, seconds: int, model: Path, folder: Path) -> dict[str, Any]:
    """Return the figures of `count` shoppers in a state backend."""
    os.environ["JVM_ARGS"] = f"-XX:+UseSerialGC -Xms{HEAP[backend]} -Xmx{HEAP[backend]} -XX:MetaspaceSize=160m"
    options = ["--model", str(model), "--checkpoint-interval-ms", f"{1000 * CHECKPOINT_S}"]
    options += ["-D", f"state.backend.type={backend}"]
    options += [word for setting in SETTINGS.items() for word in ("-D", "=".join(setting))]
    profile, items = _profile(model), [item.item_id for item in shop.items()]
    with local_kafka(folder / "kafka") as broker:
        create_topics(broker.cluster)
        with Feed(broker.cluster) as feed, local_job("recommend", folder, broker.cluster, *options) as job:
            feed.items(shop.items())
            began = time.monotonic()
            for first in range(0, count, part):
                load = _load(_clicks("first", range(first, first + part), items), None)
                let_in(broker.cluster, load, job.assert_running)
                for n in range(first, first + part):
                    feed.raw(Topic.PROFILES, f"shopper-{n}", profile(f"shopper-{n}"))
                feed.flush()
                sys.stderr.write(f"{first + part:,} shoppers after {time.monotonic() - began:.0f} s\n")
            _wait_until_read(job)
            filled_s = time.monotonic() - began
            chosen = np.random.default_rng(1).integers(0, count, (2, rate * seconds))
            let_in(broker.cluster, _load(_clicks("warm", chosen[0], items), rate), job.assert_running)
            before = _checkpoints(job)
            answers = let_in(broker.cluster, _load(_clicks("timed", chosen[1], items), rate), job.assert_running)
            after = _checkpoints(job)
            java = java_of(psutil.Process(job.process.pid))
            latency_ms = 1000 * (answers.received - answers.sent)
            return {
                "backend": backend,
                "shoppers": count,
                "filled_s": round(filled_s),
                "state_bytes_a_shopper": round(after.largest(f"{JOB}lastCheckpointFullSize") or 0) // count,
                "checkpoint_mb": _mb(after.largest(f"{JOB}lastCheckpointSize")),
                "checkpoint_full_mb": _mb(after.largest(f"{JOB}lastCheckpointFullSize")),
                "checkpoint_s": round((after.largest(f"{JOB}lastCheckpointDuration") or math.nan) / 1000, 2),
                "checkpoints": round(after.total(f"{JOB}numberOfCompletedCheckpoints"))
                - round(before.total(f"{JOB}numberOfCompletedCheckpoints")),
                "memory_mb": _mb(java.memory_info().rss),
                "heap_used_mb": _mb(after.largest("flink_taskmanager_Status_JVM_Memory_Heap_Used")),
                "lost": int(np.isnan(latency_ms).sum()),
                **{f"p{q}_ms": round(float(np.nanpercentile(latency_ms, q)), 1) for q in (50, 90, 99)},
            }


def _mb(value: float | None) -> int:
    return round((value or 0) / 1e6)


def _clicks(name: str, shoppers: Iterable[int], items: list[str]) -> Iterator[Click]:
    now_ms = round(time.time() * 1000)
    for n, number in enumerate(shoppers):
        yield Click(
            event_id=f"{name}-{number}-{n}",
            shopper_id=f"shopper-{number}",
            session_id="s",
            item_id=items[(7 * int(number) + n) % len(items)],
            event_time_ms=now_ms + n // 100,
            kind=ClickKind.VIEW,
        )


def _load(clicks: Iterator[Click], rate: int | None) -> Load:
    records: list[Record] = []
    number: dict[str, int] = {}
    for click in clicks:
        number[click.event_id] = len(records)
        records.append((Topic.CLICKS.value, click.shopper_id, encode(click)))
    return Load(records, number, rate)


def _profile(model: Path) -> Callable[[str], bytes]:
    """Return what makes the record of a profile, that of one of the simulated shop's shoppers, for a shopper."""
    catalogue = Catalogue(read_items(model, read_manifest(model)))
    for offset, item in enumerate(shop.items()):
        catalogue.put(item.item_id, to_item(item), offset)
    parameters = shop.Parameters(shopper_count=1, visitor_count=1)
    state = shopper.new()
    now_ms = round(time.time() * 1000) - 86_400_000
    for interaction in islice(shop.interactions(1, now_ms, 1, parameters), INTERACTIONS):
        state = advance(state, to_message(interaction), catalogue).state
    packed = msgspec.msgpack.encode(state.settled.profile)
    return lambda shopper_id: encode(
        StoredProfile(shopper_id=shopper_id, spec_version=SPEC_VERSION, profile_state=packed)
    )


def _wait_until_read(job: Job) -> None:
    pending = "flink_taskmanager_job_task_operator_pendingRecords"
    while (scrape(job.metrics_url, job.name).total(pending)) > 0:
        job.assert_running()
        time.sleep(1.0)


def _checkpoints(job: Job) -> Snapshot:
    """Return the job's metrics right after a checkpoint has been completed."""
    completed = f"{JOB}numberOfCompletedCheckpoints"
    before = scrape(job.metrics_url, job.name).total(completed)
    while (now := scrape(job.metrics_url, job.name)).total(completed) == before:
        job.assert_running()
        time.sleep(0.5)
    return now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shoppers", type=int, default=1_000_000)
    parser.add_argument("--part", type=int, default=50_000)
    parser.add_argument("--backend", choices=sorted(HEAP), default="hashmap")
    parser.add_argument("--rate", type=int, default=200, help="of the clicks that are timed, 1/s")
    parser.add_argument("--seconds", type=int, default=60, help="of the clicks that are timed")
    parser.add_argument("--model", type=Path, default=Path("onnx_models/artifacts/generator"))
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        figures = measure(
            options.shoppers,
            min(options.part, options.shoppers),
            options.backend,
            options.rate,
            options.seconds,
            options.model.resolve(),
            Path(folder),
        )
    print(json.dumps(figures))  # noqa: T201


if __name__ == "__main__":
    main()
