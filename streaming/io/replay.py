"""Replays a log onto the topics and accounts for every event: what became of it, by count.

Clicks and purchases are two topics, which a job may read at different speeds, so a shopper's purchase could overtake
the clicks before it. Here a shopper's event waits until those before it on the other topic have been answered; other
shoppers go on. At the pace at which people act nothing ever waits.
"""

import contextlib
import dataclasses
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import KafkaException, Message

from features.interaction import Interaction, Kind
from streaming.config import Cluster
from streaming.io.feed import Feed
from streaming.io.tail import at_the_end
from streaming.records import UNDECODABLE
from streaming.schemas import DeadLetterView, EventView, Fallback, SlateView, Topic

IN_FLIGHT = 500  # unanswered events at most where no pace is given: as fast as the job answers
POLL_S = 0.01
Pace = Callable[[int, int], float]  # an event's number and its ms after the first -> s after which it is due


_SLATE = msgspec.json.Decoder(SlateView)
_LETTER = msgspec.json.Decoder(DeadLetterView)
_EVENT = msgspec.json.Decoder(EventView)


@dataclass
class Account:
    """What became of the events that were sent; every one is in exactly one count, but for `popular`."""

    sent: int = 0
    scored: int = 0  # a slate in time
    late: int = 0  # a slate, but the event came after the allowed lateness
    dead_letters: Counter[str] = field(default_factory=Counter)  # by reason
    unanswered: int = 0
    popular: int = 0  # of the slates, those of popular items because the model knows nothing of the session
    seconds: float = 0.0

    @property
    def is_whole(self) -> bool:
        answered = self.scored + self.late + self.dead_letters.total()
        return self.unanswered == 0 and answered == self.sent


def as_fast_as_answered(number: int, elapsed_ms: int) -> float:
    return 0.0


def at_rate(per_second: float) -> Pace:
    return lambda number, elapsed_ms: number / per_second


def at_speed(factor: float) -> Pace:
    return lambda number, elapsed_ms: elapsed_ms / 1000 / factor


def moved(interactions: Iterable[Interaction], by_ms: int) -> Iterator[Interaction]:
    """Yield them `by_ms` later. What happens at another time is another event, so its id says by how much."""
    for interaction in interactions:
        yield dataclasses.replace(
            interaction, event_id=f"{interaction.event_id}+{by_ms}", event_time_ms=interaction.event_time_ms + by_ms
        )


class Replay:
    """Sends interactions in order and counts their answers."""

    def __init__(self, cluster: Cluster, pace: Pace, patience_s: float) -> None:
        self.account = Account()
        self._pace, self._patience_s = pace, patience_s
        self._at_most = IN_FLIGHT if pace is as_fast_as_answered else None
        self._cluster = cluster
        self._unanswered: dict[str, str] = {}  # event id -> shopper
        self._under_way: dict[str, tuple[bool, int]] = {}  # shopper -> are they purchases, how many
        self._held: dict[str, deque[Interaction]] = {}  # by shopper: events after those that are under way
        self._held_count = 0

    def run(self, interactions: Iterable[Interaction], progress: Callable[[Account], None]) -> Account:
        """Send all `interactions`, wait for their answers, and return what became of them.

        Waiting ends when nothing has been answered for the patience; what is left is `unanswered`.

        Raises:
            KafkaException: the broker is gone.
            DeliveryError: the broker did not take the records; the message says why.
        """
        began = heard = time.monotonic()
        first_ms: int | None = None
        with (
            Feed(self._cluster) as feed,
            contextlib.closing(at_the_end(self._cluster, Topic.RECOMMENDATIONS, Topic.DEAD_LETTERS)) as answers,
        ):
            due: tuple[float, Interaction] | None = None
            coming, number, is_over = iter(interactions), 0, False
            while True:
                now = time.monotonic()
                while not is_over and self._has_room():
                    if due is None:
                        if (interaction := next(coming, None)) is None:
                            is_over = True
                            break
                        first_ms = interaction.event_time_ms if first_ms is None else first_ms
                        due = began + self._pace(number, interaction.event_time_ms - first_ms), interaction
                        number += 1
                    if due[0] > now:
                        break
                    self._send_or_hold(feed, due[1])
                    due = None
                answered = 0
                for record in answers.consume(IN_FLIGHT, POLL_S):
                    answered += self._take(feed, record)
                heard = now if answered or not self._unanswered else heard
                self.account.seconds = now - began
                progress(self.account)
                if is_over and not self._unanswered:
                    break
                if now - heard > self._patience_s:
                    self.account.unanswered = len(self._unanswered) + self._held_count
                    self.account.sent += self._held_count  # they were to be sent, and count as what has no answer
                    break
        return self.account

    def _has_room(self) -> bool:
        return self._at_most is None or len(self._unanswered) + self._held_count < self._at_most

    def _send_or_hold(self, feed: Feed, interaction: Interaction) -> None:
        waiting = self._held.get(interaction.shopper_id)
        if waiting is not None or not self._may_go(interaction):
            self._held.setdefault(interaction.shopper_id, deque()).append(interaction)
            self._held_count += 1
        else:
            self._send(feed, interaction)

    def _may_go(self, interaction: Interaction) -> bool:
        under_way = self._under_way.get(interaction.shopper_id)
        return under_way is None or under_way[0] == (interaction.kind is Kind.PURCHASE)

    def _send(self, feed: Feed, interaction: Interaction) -> None:
        is_purchase = interaction.kind is Kind.PURCHASE
        _, count = self._under_way.get(interaction.shopper_id, (is_purchase, 0))
        self._under_way[interaction.shopper_id] = is_purchase, count + 1
        self._unanswered[interaction.event_id] = interaction.shopper_id
        self.account.sent += 1
        feed.interaction(interaction)

    def _take(self, feed: Feed, record: Message) -> bool:
        if record.error():
            raise KafkaException(record.error())
        value = record.value() or b""
        if record.topic() == self._cluster.topic(Topic.RECOMMENDATIONS):
            slate = _SLATE.decode(value)
            shopper = self._unanswered.pop(slate.event_id, None)
            if shopper is None:  # another's, or a slate that was made again
                return False
            self.account.late += slate.late
            self.account.scored += not slate.late
            self.account.popular += slate.fallback is not Fallback.NONE
        else:
            letter = _LETTER.decode(value)
            try:
                shopper = self._unanswered.pop(_EVENT.decode(letter.raw).event_id, None)
            except UNDECODABLE:  # not one of ours: those are well-formed
                return False
            if shopper is None:
                return False
            self.account.dead_letters[letter.reason] += 1
        self._go_on(feed, shopper)
        return True

    def _go_on(self, feed: Feed, shopper: str) -> None:
        is_purchase, count = self._under_way.pop(shopper)
        if count > 1:
            self._under_way[shopper] = is_purchase, count - 1
        waiting = self._held.get(shopper)
        while waiting and self._may_go(waiting[0]):
            self._send(feed, waiting.popleft())
            self._held_count -= 1
        if waiting is not None and not waiting:
            del self._held[shopper]
