"""A raw interaction and the shopper's held state in, the new state and records for Kafka out. No Flink.

This is the slate's whole way: decode, session, model, weighing, encoding. One pure function a step; here they meet.
"""

import hashlib
from dataclasses import dataclass
from itertools import cycle, islice

import msgspec

from features.interaction import Interaction, Kind
from features.session import SessionState, is_repeat, row, update
from features.spec import SPEC_VERSION
from streaming.schemas import (
    Click,
    ClickKind,
    DeadLetter,
    FeatureRecord,
    Origin,
    Outgoing,
    Purchase,
    Recommendation,
    Topic,
    dead_letter_record,
    decode,
    encode,
    now_ms,
)
from streaming.scoring.live_shop import LiveShop
from streaming.scoring.model import SessionModel
from streaming.scoring.slate import make_slate

WARM_UP_COUNT = 500

_TOPICS = Topic.RECOMMENDATIONS.value, Topic.FEATURE_LOG.value
_PROBE_TOPICS = Topic.PROBE_SLATES.value, Topic.PROBE_LOG.value  # what is made up never meets what is real
_STATE_ENCODER = msgspec.msgpack.Encoder()
_STATE_DECODER = msgspec.msgpack.Decoder(SessionState)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an interaction leads to. `state` is what to keep of the shopper; None keeps what is held."""

    records: list[Outgoing]
    state: bytes | None = None


class Recommender:
    """Answers interactions one at a time; holds nothing of any shopper."""

    def __init__(self, model: SessionModel, shop: LiveShop, surface: str) -> None:
        self._model = model
        self._shop = shop
        self._surface = surface

    def answer(self, key: str, raw: bytes | None, origin: Origin, held: bytes | None) -> Answer:
        """Return the slate, the feature row and the state after the interaction, or its dead letter.

        A repeated interaction changes no state and is answered again, with the same rec_id. Without consent the slate
        is made as for a shopper of whom nothing is known, and nothing is kept.
        """
        message = decode(key, raw, origin)
        if isinstance(message, DeadLetter):
            return Answer([dead_letter_record(message)])
        assert isinstance(message, Click | Purchase), origin  # the topics of interactions hold nothing else
        state, kept, logged = SessionState(), None, list[Outgoing]()
        slate_id = rec_id(message.event_id, self._surface)
        to_slates, to_log = _PROBE_TOPICS if origin.topic == Topic.PROBES else _TOPICS
        if message.consent:
            state = state if held is None else _STATE_DECODER.decode(held)
            if not is_repeat(state, message.event_id):
                state = update(state, interaction(message, self._shop.catalogue.category(message.item_id)))
                kept = _STATE_ENCODER.encode(state)
                features = FeatureRecord(
                    rec_id=slate_id,
                    event_id=message.event_id,
                    spec_version=SPEC_VERSION,
                    row=row(message.shopper_id, state, state.last_event_time_ms),
                )
                logged.append((to_log, message.shopper_id, encode(features)))
        policy = self._shop.policy
        slate, fallback = make_slate(state, self._model, self._shop.catalogue, policy)
        recommendation = Recommendation(
            rec_id=slate_id,
            surface=self._surface,
            shopper_id=message.shopper_id,
            event_id=message.event_id,
            origin=origin,
            event_time_ms=message.event_time_ms,
            emitted_time_ms=now_ms(),
            slate=slate,
            fallback=fallback,
            policy_version=policy.version,
            model_version=self._model.manifest.model_version,
        )
        return Answer([(to_slates, message.shopper_id, encode(recommendation)), *logged], kept)

    def warm_up(self) -> None:
        """Answer made-up clicks of every session length, so that the first shopper does not pay for first times."""
        held: bytes | None = None
        items = islice(cycle(self._model.items.ids[1:]), WARM_UP_COUNT)
        for n, item in enumerate(items):
            click = Click(
                event_id=f"warm-up-{n}",
                shopper_id="warm-up",
                session_id=f"warm-up-{n // 50}",
                item_id=item,
                event_time_ms=n,
                kind=ClickKind.VIEW,
            )
            held = self.answer("warm-up", encode(click), Origin(Topic.CLICKS, 0, n), held).state


def interaction(message: Click | Purchase, category: str) -> Interaction:
    return Interaction(
        event_id=message.event_id,
        shopper_id=message.shopper_id,
        session_id=message.session_id,
        item_id=message.item_id,
        kind=Kind.PURCHASE if isinstance(message, Purchase) else Kind(message.kind),
        event_time_ms=message.event_time_ms,
        category=category,
    )


def rec_id(event_id: str, surface: str) -> str:
    """Return the slate's id: a hash of what caused it and where it is shown, and of nothing a recovery can change."""
    return hashlib.blake2b(f"{event_id}|{surface}".encode(), digest_size=16).hexdigest()
