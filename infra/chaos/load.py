"""What shoppers do: the same in every run, whenever it is sent and whatever happens meanwhile.

First come clicks and purchases, some of them twice and some records that nobody can read; then what became of the
slates: they were looked at, clicked, bought from, by the place and never by the item, so that two runs whose slates
differ have the same outcomes.
"""

import json
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import msgspec

from features.interaction import Interaction, Kind
from features.sources.simulator import shop
from streaming.io.feed import to_message
from streaming.records import encode, key_of
from streaming.schemas import Click, ClickKind, Impression, Purchase, Recommendation, Topic
from streaming.scoring.recommender import rec_id

PER_SECOND = 200  # by event time: so dense that no record of one topic is late for one of the other
BROKEN_EVERY, REPEATED_EVERY = 40, 25
REACTED_EVERY, CLICKED_EVERY, BOUGHT_EVERY = 2, 4, 8


class Sent(NamedTuple):
    """A record as it is sent."""

    topic: Topic
    key: str
    value: bytes
    is_broken: bool = False  # nobody can read it


class Place(NamedTuple):
    """What became of a place of a slate."""

    shown: bool
    clicked: bool
    bought: int


def interactions(count: int, start_ms: int) -> list[Interaction]:
    """Return what shoppers click and buy, from `start_ms` on."""
    parameters = shop.Parameters(shopper_count=max(count // 2, 10), visitor_count=max(count // 2, 10))
    return list(islice(shop.interactions(9, start_ms, PER_SECOND, parameters=parameters), count))


def records(of: list[Interaction]) -> list[list[Sent]]:
    """Return what is sent with each interaction: itself, and now and then it again, or what nobody can read."""
    sent = []
    for n, interaction in enumerate(of):
        message = to_message(interaction)
        topic = Topic.PURCHASES if interaction.kind is Kind.PURCHASE else Topic.CLICKS
        its = [Sent(topic, key_of(message), encode(message))]
        if n % REPEATED_EVERY == 0:
            its.append(its[0])
        if n % BROKEN_EVERY == 0:
            its.append(Sent(topic, key_of(message), json.dumps({"broken": n}).encode(), is_broken=True))
        sent.append(its)
    return sent


def reactions(slates: list[Recommendation]) -> list[list[Sent]]:
    """Return what is sent of each slate that is reacted to."""
    return [list(_reaction(slate, n)) for n, slate in enumerate(slates) if n % REACTED_EVERY == 0 and slate.slate]


def _reaction(slate: Recommendation, number: int) -> Iterator[Sent]:
    at, items = slate.event_time_ms, [item.item_id for item in slate.slate]
    shown = Impression(rec_id=slate.rec_id, shopper_id=slate.shopper_id, items=tuple(items), event_time_ms=at + 1_500)
    yield Sent(Topic.IMPRESSIONS, slate.shopper_id, encode(shown))
    its = {"shopper_id": slate.shopper_id, "session_id": "after", "item_id": items[_place(number, len(items))]}
    if number % CLICKED_EVERY == 0:
        of_click = {**its, "event_id": f"click-{slate.rec_id}", "event_time_ms": at + 4_000, "rec_id": slate.rec_id}
        yield Sent(Topic.CLICKS, slate.shopper_id, encode(msgspec.convert({**of_click, "kind": ClickKind.VIEW}, Click)))
    if number % BOUGHT_EVERY == 0:
        of_sale = {**its, "event_id": f"sale-{slate.rec_id}", "event_time_ms": at + 60_000, "rec_id": slate.rec_id}
        of_sale |= {"order_id": f"order-{slate.rec_id}", "price": 10.0, "quantity": 2}
        yield Sent(Topic.PURCHASES, slate.shopper_id, encode(msgspec.convert(of_sale, Purchase)))


def clicked(slates: list[Recommendation]) -> set[str]:
    """Return the ids of the events among the reactions, each of which is answered by a slate."""
    kinds = (("click", CLICKED_EVERY), ("sale", BOUGHT_EVERY))
    return {
        f"{kind}-{slate.rec_id}"
        for n, slate in enumerate(slates)
        for kind, every in kinds
        if n % every == 0 and slate.slate
    }


def is_sale(event_id: str | None) -> bool:
    """Return whether an event is what somebody bought from a slate."""
    return event_id is not None and event_id.startswith("sale-")


def answers(slates: list[Recommendation], surface: str) -> set[str]:
    """Return by what the slates are known that answer them: a sale's rec_id has the item, which may be another."""
    sent = [message for its in reactions(slates) for message in its if message.topic == Topic.CLICKS]
    return {rec_id(msgspec.json.decode(click.value, type=Click), surface) for click in sent} | {
        event_id for event_id in clicked(slates) if is_sale(event_id)
    }


def outcomes(slates: list[Recommendation]) -> dict[str, tuple[Place, ...]]:
    """Return what the job `learn` is to find of each slate, by rec_id."""
    expected = {}
    for n, slate in enumerate(slates):
        if n % REACTED_EVERY or not slate.slate:
            continue
        at = _place(n, len(slate.slate))
        clicked, bought = n % CLICKED_EVERY == 0, 2 * (n % BOUGHT_EVERY == 0)
        places = [Place(True, clicked and place == at, bought * (place == at)) for place in range(len(slate.slate))]
        expected[slate.rec_id] = tuple(places)
    return expected


def _place(number: int, size: int) -> int:
    return (number // REACTED_EVERY) % size
