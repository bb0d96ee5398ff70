"""The job `learn`: every outcome once, across a kill; bad feedback; and slates that are weighed by what was learnt."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from support.records import click, impression, purchase, recommendation

from infra.local.flink import FlinkCluster
from infra.local.job import Job, local_job
from infra.local.kafka import Broker
from infra.local.subscriber import Subscriber
from streaming.config import NEWEST, Cluster
from streaming.flink.checkpoints import complete_checkpoints, newest_checkpoint
from streaming.io.feed import Feed
from streaming.io.topics import read_topic
from streaming.policy.attribution import Feedback
from streaming.policy.estimates import PRIOR_ALL_CLICKS
from streaming.policy.learning_state import MODELS_AT_MOST
from streaming.policy.objectives import PRIOR_BUY_RATE
from streaming.records import encode, key_of
from streaming.schemas import (
    Complements,
    DeadLetter,
    Estimates,
    Impression,
    Outcome,
    OutcomeItem,
    Purchase,
    Reason,
    Recommendation,
    Return,
    Topic,
)
from streaming.testing import FeedbackLoop

DEADLINE_S = 90.0
START_MS = 1_700_000_000_000
TOPICS = {
    Recommendation: Topic.RECOMMENDATIONS,
    Impression: Topic.IMPRESSIONS,
    Purchase: Topic.PURCHASES,
    Return: Topic.RETURNS,
}


def feedback(first: int, count: int) -> list[Recommendation | Feedback]:
    """Return slates of a shopper each and what became of them: a click on every second, a purchase on every fourth.

    What is bought of every eighth comes back.
    """
    messages: list[Recommendation | Feedback] = []
    for n in range(first, first + count):
        at, rec_id = START_MS + n, f"r{n}"
        of_one: list[Recommendation | Feedback] = [
            recommendation(rec_id, ["a", "b", "c"], at),
            impression(rec_id, ["a", "b"], at + 1),
        ]
        if n % 2 == 0:
            of_one += [click(f"c{n}", "b", at + 2, rec_id=rec_id)] * (1 + n % 3)  # now and then it comes again
        if n % 4 == 0:
            of_one.append(purchase(f"p{n}", "b", at + 3, price=2.0, rec_id=rec_id))
        if n % 8 == 0:
            fields = {"event_id": f"b{n}", "shopper_id": "s", "item_id": "b", "order_id": f"order-p{n}"}
            of_one.append(msgspec.convert({**fields, "event_time_ms": at + 4}, Return))
        messages += [msgspec.structs.replace(message, shopper_id=f"s{n}") for message in of_one]
    return messages


def orders(first: int, count: int) -> list[Recommendation | Feedback]:
    """Return orders of two items that nobody was shown, each of another shopper."""
    lines = list[Recommendation | Feedback]()
    for n in range(first, first + count):
        for item in ("with-1", "with-2"):
            line = purchase(f"order-{n}-{item}", item, START_MS)
            lines.append(msgspec.structs.replace(line, shopper_id=f"o{n}", order_id=f"o{n}"))
    return lines


def send(feed: Feed, messages: list[Recommendation | Feedback]) -> None:
    for message in messages:
        feed.raw(TOPICS.get(type(message), Topic.CLICKS), key_of(message), encode(message))  # type: ignore[arg-type, call-overload]
    feed.flush()


def facts(outcome: Outcome) -> tuple[OutcomeItem, ...]:
    """Return the items, but for what depends on the order in which impression and click arrive."""
    return tuple(msgspec.structs.replace(item, weight=1.0) for item in outcome.items)


def buy_rate(slates: int) -> float:
    clicks, buys = (slates + 1) // 2, (slates + 3) // 4 - (slates + 7) // 8
    return (PRIOR_ALL_CLICKS * PRIOR_BUY_RATE + buys) / (PRIOR_ALL_CLICKS + clicks)


class Learning:
    """A broker, and what the job has written to it so far."""

    def __init__(self, home: Path, cluster: Cluster, feed: Feed, flink: FlinkCluster | None) -> None:
        self.home, self.cluster, self.feed, self.flink = home, cluster, feed, flink
        self.outcomes: dict[str, Outcome] = {}
        self.estimates: Estimates | None = None
        self._outcomes = Subscriber(cluster, Topic.OUTCOMES, Outcome)
        self._estimates = Subscriber(cluster, Topic.ESTIMATES, Estimates)

    def job(self, *options: str):  # type: ignore[no-untyped-def]
        always = ("--checkpoint-interval-ms", "8000", "--batch-ms", "200")
        return local_job("learn", self.home, self.cluster, *always, *options, flink=self.flink)

    def read(self, job: Job, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not until():
            outcome = self._outcomes.poll(0.02)
            if outcome is not None and outcome.revision >= self.revision(outcome.rec_id):
                self.outcomes[outcome.rec_id] = outcome
            self.estimates = self._estimates.poll(0.02) or self.estimates
            job.assert_running()
            assert time.monotonic() < deadline, f"{len(self.outcomes)} outcomes, {self.estimates}; {job.log_tail()}"

    def revision(self, rec_id: str) -> int:
        return self.outcomes[rec_id].revision if rec_id in self.outcomes else 0

    def has_learnt_from(self, slates: int) -> bool:
        # The half-life is hours, and all of this is of one second.
        return self.estimates is not None and abs(self.estimates.buy_rate - buy_rate(slates)) < 1e-5


@pytest.fixture
def learning(new_topics: Callable[[], Broker], flink: FlinkCluster | None, tmp_path: Path) -> Iterator[Learning]:
    cluster = new_topics().cluster
    with Feed(cluster) as feed:
        yield Learning(tmp_path, cluster, feed, flink)


@pytest.mark.nightly  # tests/e2e/test_chaos.py ends it by day
def test_killed_job_goes_on_and_learns_from_every_outcome_once(learning: Learning) -> None:
    with learning.job() as job:
        send(learning.feed, [*feedback(0, 100), *orders(0, 20)])
        learning.feed.raw(Topic.IMPRESSIONS, "s0", b'{"rec_id": 5}')
        learning.read(job, until=lambda: learning.has_learnt_from(100))
        before = complete_checkpoints(job.checkpoints)
        learning.read(job, until=lambda: complete_checkpoints(job.checkpoints) != before)
        restored_from = newest_checkpoint(job.checkpoints)  # just made: there is time until the next one
        send(learning.feed, [*feedback(100, 100), *orders(20, 20)])
        learning.read(job, until=lambda: not learning.has_learnt_from(100))
        job.kill()
    assert newest_checkpoint(job.checkpoints) == restored_from, "the kill came too late to lose anything"
    learning.estimates = None
    loop = FeedbackLoop()
    expected = dict[str, tuple[OutcomeItem, ...]]()
    for message in feedback(0, 300):
        outcomes = loop.shown(message) if isinstance(message, Recommendation) else loop.feedback(message)
        expected |= {outcome.rec_id: facts(outcome) for outcome in outcomes}

    def outcomes_are_whole() -> bool:  # a click may be joined after its slate was learnt from
        return {rec_id: facts(outcome) for rec_id, outcome in learning.outcomes.items()} == expected

    def is_forgotten(name: str) -> bool:
        newest = {key: raw for _, key, raw in read_topic(learning.cluster, Topic.ESTIMATES)}
        return newest.get(name.encode(), b"") is None

    def every_order_has_counted_once() -> bool:
        newest = {key: raw for _, key, raw in read_topic(learning.cluster, Topic.COMPLEMENTS)}
        said = {key: msgspec.json.decode(raw or b"", type=Complements) for key, raw in newest.items()}
        return {key: (of.orders, of.together) for key, of in said.items()} == {
            b"with-1": (60.0, {"with-2": 60.0}),
            b"with-2": (60.0, {"with-1": 60.0}),
        }

    with learning.job("--restore", NEWEST) as job:
        send(learning.feed, [*feedback(200, 100), *orders(40, 20)])
        learning.read(job, until=every_order_has_counted_once)
        learning.read(job, until=lambda: learning.has_learnt_from(300) and outcomes_are_whole())
        assert learning.estimates is not None
        assert learning.estimates.items.keys() == {"a", "b"}
        assert learning.estimates.items["b"].lift > learning.estimates.items["a"].lift
        for n in range(MODELS_AT_MOST):  # newer models, by which the first one is forgotten
            slate = recommendation(f"newer-{n}", ["a"], START_MS + 1_000 + n)
            send(learning.feed, [msgspec.structs.replace(slate, model_version=f"newer-{n}")])
            send(learning.feed, [impression(slate.rec_id, ["a"], slate.event_time_ms)])
        learning.read(job, until=lambda: is_forgotten("outcomes:model-1"))
    letters = [
        msgspec.json.decode(raw or b"", type=DeadLetter)
        for _, _, raw in read_topic(learning.cluster, Topic.DEAD_LETTERS)
    ]
    assert [(letter.origin.topic, letter.reason) for letter in letters] == [(Topic.IMPRESSIONS, Reason.INVALID)]
