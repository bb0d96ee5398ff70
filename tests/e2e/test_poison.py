"""Records that ended a job once, each alone: the jobs go on, and each is a dead letter that says what it was."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer

from infra.local.stack import Stack
from streaming.io.feed import Feed
from streaming.io.topics import read_topic
from streaming.records import RAW_KEPT, encode, now_ms
from streaming.schemas import GLOBAL, Click, ClickKind, DeadLetter, Policy, Purchase, Reason, Recommendation, Topic

DEADLINE_S = 60.0


def click(n: str, shopper: str = "poison-1") -> Click:
    return Click(
        event_id=f"poison-{n}",
        shopper_id=shopper,
        session_id="x",
        item_id="i030",
        event_time_ms=now_ms(),
        kind=ClickKind.VIEW,
    )


def eventually(is_so: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while not (result := is_so()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return result


def slates(stack: Stack) -> dict[str, Recommendation]:
    records = read_topic(stack.cluster, Topic.RECOMMENDATIONS)
    decoded = [msgspec.json.decode(value or b"", type=Recommendation) for _, _, value in records]
    return {slate.event_id: slate for slate in decoded}


def letters(stack: Stack, topic: Topic) -> Iterator[DeadLetter]:
    for _, key, value in read_topic(stack.cluster, Topic.DEAD_LETTERS):
        if key.decode() == topic:
            yield msgspec.json.decode(value or b"", type=DeadLetter)


def letter(stack: Stack, topic: Topic, words: str) -> DeadLetter:
    """Wait for a dead letter that says `words`."""

    def newest() -> DeadLetter | None:
        return next((each for each in letters(stack, topic) if words in each.error), None)

    written: DeadLetter = eventually(newest, words)
    return written


@pytest.fixture(scope="module")
def answered(stack: Stack) -> Recommendation:
    """A slate from before any of the bad records."""
    with Feed(stack.cluster) as feed:
        feed.raw(Topic.CLICKS, "poison-1", encode(click("before")))
    slate: Recommendation = eventually(lambda: slates(stack).get("poison-before"), "no slate")
    return slate


def test_bytes_without_end_are_a_dead_letter_that_fits(stack: Stack, answered: Recommendation) -> None:
    with Feed(stack.cluster) as feed:
        feed.raw(Topic.CLICKS, "poison-1", b"x" * 900_000)
        feed.raw(Topic.CLICKS, "poison-1", encode(click("after-bytes")))
    eventually(lambda: slates(stack).get("poison-after-bytes"), "the job recommend answers no more")
    (long,) = [each for each in letters(stack, Topic.CLICKS) if each.raw_length == 900_000]
    assert (long.reason, long.raw) == (Reason.UNDECODABLE, b"x" * RAW_KEPT)


def test_item_with_a_time_in_nanoseconds_is_refused_by_its_unit(stack: Stack, answered: Recommendation) -> None:
    raw = {"item_id": "poison-item", "name": "n", "category": "c", "price": 1.0, "updated_time_ms": now_ms() * 10**6}
    with Feed(stack.cluster) as feed:
        feed.raw(Topic.ITEMS, "poison-item", json.dumps(raw).encode())
    assert letter(stack, Topic.ITEMS, "nanoseconds").reason is Reason.INVALID


def test_purchase_of_more_than_there_is_ends_no_learning(stack: Stack, answered: Recommendation) -> None:
    bought = {"item_id": answered.slate[0].item_id, "order_id": "o", "rec_id": answered.rec_id}
    fields = msgspec.to_builtins(click("buys")) | bought
    del fields["kind"]
    raw = json.dumps(fields | {"price": 1.0, "quantity": 2**64}).encode()
    good = msgspec.convert(fields | {"price": 1.0, "event_id": "poison-buys-one"}, Purchase)
    with Feed(stack.cluster) as feed:
        feed.raw(Topic.PURCHASES, "poison-1", raw)
        feed.raw(Topic.PURCHASES, "poison-1", encode(good))
    assert letter(stack, Topic.PURCHASES, "`$.quantity`").raw == raw

    def outcomes() -> list[bytes]:
        return [value or b"" for _, key, value in read_topic(stack.cluster, Topic.OUTCOMES) if key == b"poison-1"]

    eventually(lambda: [raw for raw in outcomes() if b'"bought":1' in raw], "the job learn does not go on")


def test_what_was_aborted_has_never_been(stack: Stack, answered: Recommendation) -> None:
    name = stack.cluster.topic
    producer = Producer({"bootstrap.servers": stack.cluster.bootstrap_servers, "transactional.id": "poison"})
    producer.init_transactions(30)
    producer.begin_transaction()
    version = answered.policy_version + 50
    policy = Policy(version=version, author="aborted", weights={"popularity": 1.0})
    producer.produce(name(Topic.POLICIES), key=GLOBAL, value=encode(policy))
    producer.produce(name(Topic.CLICKS), key="poison-2", value=encode(click("aborted", "poison-2")))
    producer.flush(30)
    producer.abort_transaction(30)
    producer.begin_transaction()
    producer.produce(name(Topic.CLICKS), key="poison-2", value=encode(click("committed", "poison-2")))
    producer.commit_transaction(30)
    slate = eventually(lambda: slates(stack).get("poison-committed"), "what was committed is not answered")
    assert slate.policy_version < version
    assert "poison-aborted" not in slates(stack)


def test_nothing_of_a_refused_record_without_consent_is_on_any_topic(stack: Stack, answered: Recommendation) -> None:
    fields = msgspec.to_builtins(click("secret", "poison-secret")) | {"consent": False, "kind": "glance"}
    with Feed(stack.cluster) as feed:
        feed.raw(Topic.CLICKS, "poison-secret", json.dumps(fields).encode())
    letter(stack, Topic.CLICKS, "no consent")
    for topic in set(Topic) - {Topic.CLICKS}:
        for _, key, value in read_topic(stack.cluster, topic):
            assert b"poison-secret" not in key + (value or b"")


def test_all_jobs_still_run(stack: Stack, answered: Recommendation) -> None:
    stack.assert_running()
