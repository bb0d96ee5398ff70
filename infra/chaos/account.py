"""What a run has come to, and how it differs from another."""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from confluent_kafka import KafkaException

from features.row import FeatureRow
from infra.chaos.load import Place, is_sale
from infra.local.subscriber import Subscriber
from streaming.config import Cluster
from streaming.schemas import DeadLetter, FeatureRecord, Outcome, Recommendation, Topic

SHOWN, EXAMPLE_AT_MOST = 3, 600


@dataclass
class Account:
    """Of a run."""

    rec_ids: set[str] = field(default_factory=set)
    slates: int = 0  # records of them; those above the number of rec_ids are repeats
    rows: dict[str, FeatureRow] = field(default_factory=dict)  # newest by shopper, before anybody reacted
    stale: set[str] = field(default_factory=set)  # shoppers of whom Feast has not that row
    letters: set[tuple[str, str]] = field(default_factory=set)  # topic and sha256 of what could not be used
    outcomes: dict[str, tuple[Place, ...]] = field(default_factory=dict)  # newest by rec_id
    longest_silence_s: float = 0.0  # without a slate, while records were sent

    def differences(self, other: "Account") -> dict[str, int]:
        """Return how much is otherwise than it is to be."""
        return {
            "rec_ids_lost": len(other.rec_ids - self.rec_ids),
            "rec_ids_too_many": len(self.rec_ids - other.rec_ids),
            "rows_different": _different(self.rows, other.rows),
            "feast_rows_different": len(self.stale),
            "dead_letters_lost": len(other.letters - self.letters),
            "dead_letters_too_many": len(self.letters - other.letters),
            "outcomes_different": _different(self.outcomes, other.outcomes),
        }

    def examples(self, other: "Account") -> Iterator[str]:
        """Yield what is otherwise than it is to be, of each kind some."""
        for what, of, others in (
            ("row", self.rows, other.rows),
            ("outcome", self.outcomes, other.outcomes),
        ):
            for key in [key for key in sorted(of.keys() | others.keys()) if of.get(key) != others.get(key)][:SHOWN]:
                said = [
                    f"{name} {one!r}, expected {another!r}"
                    for name, one, another in _fields(of.get(key), others.get(key))
                    if one != another
                ]
                yield f"{what} of {key}: {'; '.join(said)}"[:EXAMPLE_AT_MOST]
        for rec_id in sorted(self.rec_ids ^ other.rec_ids)[:SHOWN]:
            yield f"rec_id {rec_id} is {'too many' if rec_id in self.rec_ids else 'lost'}"

    @property
    def repeats(self) -> int:
        """Slates that came once more, with the rec_id that they had."""
        return self.slates - len(self.rec_ids)


def _different(of: dict[str, Any], other: dict[str, Any]) -> int:
    return sum(of.get(key) != other.get(key) for key in of.keys() | other.keys())


def _fields(one: Any, another: Any) -> list[tuple[str, Any, Any]]:
    """Return the parts of two values beside each other."""
    of, others = ({} if value is None else _by_name(value) for value in (one, another))
    return [(name, of.get(name), others.get(name)) for name in sorted(of.keys() | others.keys())]


def _by_name(value: Any) -> dict[str, Any]:
    if isinstance(value, tuple):
        return {f"place {n}": part for n, part in enumerate(value, 1)}
    return {part.name: getattr(value, part.name) for part in fields(value)}


class Reader:
    """Keeps the account of a deployment as its topics grow."""

    def __init__(self, cluster: Cluster) -> None:
        self._slates = Subscriber(cluster, Topic.RECOMMENDATIONS, Recommendation)
        self._rows = Subscriber(cluster, Topic.FEATURE_LOG, FeatureRecord)
        self._letters = Subscriber(cluster, Topic.DEAD_LETTERS, DeadLetter)
        self._outcomes = Subscriber(cluster, Topic.OUTCOMES, Outcome)
        self._revisions: dict[str, int] = {}
        self.account = Account()
        self.newest: dict[str, FeatureRecord] = {}  # by shopper
        self.slate_of: dict[str, Recommendation] = {}  # by what was clicked, bought or asked

    def read(self) -> int:
        """Take in what has come; return how many records that were."""
        subscribers: tuple[Subscriber[Any], ...] = (self._slates, self._rows, self._letters, self._outcomes)
        return sum([self._read(subscriber) for subscriber in subscribers])

    def _read(self, subscriber: "Subscriber[Any]") -> int:
        count = 0
        with contextlib.suppress(KafkaException):  # the broker is away
            while (message := subscriber.poll(0.0)) is not None:
                self._take(message)
                count += 1
        return count

    def _take(self, message: Any) -> None:
        account = self.account
        match message:
            case Recommendation():
                account.slates += 1
                # Of a sale it has the item, which is another where the slate is that it came of.
                account.rec_ids.add(message.event_id if is_sale(message.event_id) else message.rec_id)
                self.slate_of.setdefault(message.event_id or "", message)
            case FeatureRecord():
                account.rows[message.row.shopper_id] = message.row
                self.newest[message.row.shopper_id] = message
            case DeadLetter():
                account.letters.add((message.origin.topic, hashlib.sha256(message.raw).hexdigest()))
            case Outcome() if message.revision >= self._revisions.get(message.rec_id, 0):
                self._revisions[message.rec_id] = message.revision
                account.outcomes[message.rec_id] = tuple(
                    [Place(item.shown, item.clicked_after_ms is not None, item.bought) for item in message.items]
                )
