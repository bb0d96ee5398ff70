"""What the benches of the stream let in, and when it is answered.

An open loop: events leave at their time whether or not earlier ones are answered, so that a stall is seen by every
event that it delays. The sender is a process of its own; nothing else should run on the machine.
"""

import itertools
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from confluent_kafka import Producer
from numpy.typing import NDArray

from features.interaction import ShopItem
from features.sources.simulator import shop
from features.spec import OLDEST_MS
from infra.local.stack import Stack
from onnx_models.artifact import read_items, read_manifest
from streaming.config import Cluster
from streaming.io.feed import to_message
from streaming.io.tail import at_the_end
from streaming.kafka_client import for_librdkafka
from streaming.records import encode
from streaming.schemas import GLOBAL, Click, ClickKind, Policy, Purchase, SlateView, Topic

WARM_UP_S = 30  # until then the JVM compiles, and slates are slower
DRAIN_S = 20.0  # without an answer, after which the rest is lost
EVENT_TIME_RATE = 1_000  # events a second of a backlog, by their own time
WARM_UP_SEED = 5
Record = tuple[str, str, bytes]  # topic, key, value


@dataclass(frozen=True)
class Load:
    """Events of the simulated shop, in order, and the policies that are turned meanwhile."""

    records: list[Record]
    number: dict[str, int]  # event id -> its place among the records
    rate: int | None  # events a second; None: as fast as they can be written
    policies: Sequence[Policy] = ()  # turned at equal distances


@dataclass(frozen=True)
class Answers:
    """When each event was due and its first slate was received, s of the monotonic clock; NaN: never."""

    sent: NDArray[np.float64]  # (N,)
    received: NDArray[np.float64]  # (N,)
    turned: NDArray[np.float64]  # (P,) when each policy was sent
    seen: NDArray[np.float64]  # (P,) when the first slate was received that is weighed by it


def goods(model: Path) -> list[ShopItem]:
    """Return the items of the simulated shop, and one for whatever else the artifact in `model` knows.

    Raises:
        ArtifactError: there is none.
    """
    items = shop.items()
    known, of_shop = read_items(model, read_manifest(model)).ids[1:], {item.item_id for item in items}
    others = (item_id for item_id in known if item_id not in of_shop)
    return [*items, *(replace(items[n % len(items)], item_id=item_id) for n, item_id in enumerate(others))]


def warm_up(stack: Stack, rate: int, seconds: int, shoppers: int) -> None:
    """Let a load in that is not looked at."""
    if seconds:
        let_in(stack.cluster, shop_load(WARM_UP_SEED, rate, rate * seconds, shoppers), stack.assert_running)


def shop_load(seed: int, rate: int | None, count: int, shoppers: int, policies: Sequence[Policy] = ()) -> Load:
    """Return `count` events of a shop in which `shoppers` are at a time, all of whom have just come."""
    parameters = shop.Parameters(shopper_count=shoppers, visitor_count=shoppers)
    now_ms = round(time.time() * 1000)
    records: list[Record] = []
    number: dict[str, int] = {}
    for interaction in itertools.islice(shop.interactions(seed, now_ms, rate or EVENT_TIME_RATE, parameters), count):
        message = to_message(interaction)
        topic = Topic.PURCHASES if isinstance(message, Purchase) else Topic.CLICKS
        number[interaction.event_id] = len(records)
        records.append((topic.value, interaction.shopper_id, encode(message)))
    return Load(records, number, rate, policies)


def let_in(
    cluster: Cluster,
    load: Load,
    assert_running: Callable[[], None],
    at: Mapping[int, Callable[[], None]] | None = None,
) -> Answers:
    """Send `load` and wait for its slates.

    Args:
        cluster: of the topics.
        load: what is sent.
        assert_running: called while nothing comes; raises if there is nothing left to wait for.
        at: what else is done, each when so many events have been answered.
    """
    due = dict(at or {})
    received, seen = np.full(len(load.records), np.nan), np.full(len(load.policies), np.nan)
    first_turn = load.policies[0].version if load.policies else 0
    here, there = multiprocessing.Pipe()
    sender = multiprocessing.get_context("fork").Process(target=_send, args=(cluster, load, there), daemon=True)
    consumer = at_the_end(cluster, Topic.RECOMMENDATIONS)
    sender.start()
    answered, last = 0, time.monotonic()
    while answered < len(load.records) and time.monotonic() - last < DRAIN_S:
        record = consumer.poll(0.5)
        if record is None:
            assert_running()
            continue
        last = now = time.monotonic()
        slate = _SLATE.decode(record.value() or b"")
        turn = slate.policy_version - first_turn
        if 0 <= turn < len(seen) and np.isnan(seen[turn]):
            seen[turn] = now
        n = load.number.get(slate.event_id)
        if n is not None and np.isnan(received[n]):
            received[n] = now
            answered += 1
            due.pop(answered, _nothing)()
    consumer.close()
    sent, turned = here.recv()
    sender.join()
    return Answers(sent, received, turned, seen)


_SLATE = msgspec.json.Decoder(SlateView)


def _nothing() -> None:
    pass


def _send(cluster: Cluster, load: Load, result: object) -> None:
    producer = Producer(
        {
            **for_librdkafka(cluster),
            "linger.ms": 0,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 2 * len(load.records) + 1_000,  # a backlog is written at once
        }
    )
    # Connected before the first event is due: that is the generator's time, not the job's.
    first = Click(
        event_id=f"bench-{os.getpid()}",
        shopper_id="probe-bench",
        session_id="bench",
        item_id="none",
        event_time_ms=OLDEST_MS,
        kind=ClickKind.VIEW,
    )
    producer.produce(cluster.topic(Topic.PROBES), key=first.shopper_id, value=encode(first))
    producer.flush(30)
    sent, turned = np.empty(len(load.records)), np.empty(len(load.policies))
    policies = [encode(policy) for policy in load.policies]
    every = len(load.records) // max(len(policies), 1)
    period_s = 0.0 if load.rate is None else 1.0 / load.rate
    began = time.monotonic() + 0.2
    for n, (topic, key, value) in enumerate(load.records):
        due = began + n * period_s
        while (wait := due - time.monotonic()) > 0:
            time.sleep(wait)
        sent[n] = due  # not when it did leave: a late sender is no excuse
        producer.produce(cluster.topic(topic), key=key, value=value)
        producer.poll(0)
        turn, past = divmod(n, every)
        if past == 0 and turn < len(policies):
            turned[turn] = time.monotonic()
            producer.produce(cluster.topic(Topic.POLICIES), key=GLOBAL, value=policies[turn])
            producer.poll(0)
    producer.flush(30)
    result.send((sent, turned))  # type: ignore[attr-defined]
