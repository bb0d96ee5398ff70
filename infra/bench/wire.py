"""`python -m infra.bench.wire`: how large a slate and its record in the feature log are, as they are and compressed."""

import argparse
import itertools
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa

from features.sources.simulator import shop
from infra.bench.slate import POLICIES
from streaming.io.feed import to_message
from streaming.records import decode_features
from streaming.schemas import Topic
from streaming.scoring.model import SessionModel
from streaming.testing import Pipeline

SEED, SHOPPERS, EVENTS_PER_SECOND, TOGETHER = 17, 200, 10.0, 4
MODEL = Path("onnx_models/artifacts/generator")


def measure(events: int, counted: int, policy: str) -> dict[str, dict[str, int]]:
    """Return mean bytes of the last `counted` records of `events`, as they are and TOGETHER of them compressed."""
    pipeline = Pipeline(SessionModel(MODEL), shop.items())
    for record in POLICIES[policy]:
        pipeline.turn(record)
    parameters = shop.Parameters(shopper_count=SHOPPERS, visitor_count=SHOPPERS)
    began_ms = round((time.time() - events / EVENTS_PER_SECOND) * 1000)
    written: defaultdict[str, list[bytes]] = defaultdict(list)
    for did in itertools.islice(shop.interactions(SEED, began_ms, EVENTS_PER_SECOND, parameters), events):
        for topic, _, value in pipeline.answer(to_message(did)).records:
            written[topic].append(value)
    slates, log = written[Topic.RECOMMENDATIONS][-counted:], written[Topic.FEATURE_LOG][-counted:]
    as_json = [msgspec.json.encode(decode_features(raw)) for raw in log]
    return {"slate": _sizes(slates), "feature log": _sizes(log), "feature log, were it JSON": _sizes(as_json)}


def _sizes(records: list[bytes]) -> dict[str, int]:
    sizes = {"bytes": sum(map(len, records))}
    for codec in ("lz4", "zstd"):
        sizes[codec] = sum(len(pa.compress(batch, codec, asbytes=True)) for batch in _batches(records))
    return {name: round(size / len(records)) for name, size in sizes.items()}


def _batches(records: list[bytes]) -> Iterator[bytes]:
    for first in range(0, len(records), TOGETHER):
        yield b"".join(records[first : first + TOGETHER])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="How large a slate and its record in the feature log are.")
    parser.add_argument("--events", type=int, default=4_000)
    parser.add_argument("--counted", type=int, default=1_000, help="the last of them")
    parser.add_argument("--policy", choices=POLICIES, default="four objectives", help="as `bench slate` knows it")
    options = parser.parse_args()
    print(json.dumps(measure(options.events, options.counted, options.policy)))  # noqa: T201
