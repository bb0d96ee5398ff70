"""A shopper's raw record and held state in, the new state and records for Kafka out. No Flink.

This is the slate's whole way: decode, features, model, weighing, encoding. One pure function a step; here they meet.
"""

import hashlib
import time
from dataclasses import dataclass
from itertools import cycle, islice

import msgspec

from features import profile, shopper
from features.profile import Profile
from features.row import FeatureRow, row
from features.shopper import ShopperState, ShopperView
from features.spec import OLDEST_MS, SPEC_VERSION
from streaming.control.state import ControlState
from streaming.records import SYSTEM_FAULTS, check_sizes, dead_letter_record, decode, encode, failed, invalid, now_ms
from streaming.schemas import (
    Click,
    ClickKind,
    DeadLetter,
    FeatureRecord,
    Origin,
    Outgoing,
    ProfileRequest,
    Purchase,
    Reason,
    Recommendation,
    StoredProfile,
    Topic,
)
from streaming.scoring.advance import Advanced, advance
from streaming.scoring.considered import pack
from streaming.scoring.model import SessionModel
from streaming.scoring.slate import Slate, SlateRequest, make_slate

WARM_UP_COUNT = 500
AHEAD_AT_MOST_MS = 300_000  # of this clock; one event from next year would make all others of its shopper late

_TOPICS = Topic.RECOMMENDATIONS.value, Topic.FEATURE_LOG.value
_PROBE_TOPICS = Topic.PROBE_SLATES.value, Topic.PROBE_LOG.value  # what is made up never meets what is real
REC_ID_VERSION = 2  # of what a slate's id is made of
_JSON = msgspec.json.Encoder()  # no text in it can be mistaken for two
_ENCODER = msgspec.msgpack.Encoder()
_STATE_DECODER = msgspec.msgpack.Decoder(ShopperState)
_PROFILE_DECODER = msgspec.msgpack.Decoder(Profile)
_NOBODY = shopper.view(shopper.new())


@dataclass(frozen=True, slots=True)
class Response:
    """What a record leads to. `state` is what to keep of the shopper; None keeps what is held."""

    records: list[Outgoing]
    state: bytes | None = None
    late: bool = False  # the interaction came after the allowed lateness
    is_repeat: bool = False  # it has come before
    slate: Slate | None = None  # that is among the records
    letter: Reason | None = None  # of the dead letter that is among the records


class Recommender:
    """Answers records one at a time; holds nothing of any shopper."""

    def __init__(self, model: SessionModel, control: ControlState, surface: str) -> None:
        self._model = model
        self._control = control
        self._surface = surface

    def answer(self, key: str, raw: bytes | None, origin: Origin, stored: bytes | None) -> Response:
        """Return what a record of one of the topics SHOPPERS leads to.

        An interaction leads to a slate and, unless it has come before, a feature row and a new state; the first one of
        a shopper also to the question what Feast has. Without consent the slate is made as for a shopper of whom
        nothing is known, and nothing is kept. A profile that answers the question leads to a new state alone. A record
        that cannot be used, at which anything raises, or that would lead to one that no broker takes, leads to its dead
        letter.

        Raises:
            SYSTEM_FAULTS: which are not about the record.
        """
        try:
            response = self._answer(key, raw, origin, stored)
            check_sizes(response.records)
        except SYSTEM_FAULTS:
            raise
        except Exception as error:
            letter = failed(origin, error, raw or b"")
            return Response([dead_letter_record(letter)], letter=letter.reason)
        return response

    def _answer(self, key: str, raw: bytes | None, origin: Origin, stored: bytes | None) -> Response:
        message = decode(key, raw, origin)
        if isinstance(message, DeadLetter):
            return Response([dead_letter_record(message)], letter=message.reason)
        if isinstance(message, StoredProfile):
            return _answer_profile(message, raw or b"", origin, stored)
        assert isinstance(message, Click | Purchase), origin  # the topics hold nothing else
        ahead_ms = message.event_time_ms - now_ms()
        if ahead_ms > AHEAD_AT_MOST_MS:
            error = f"event_time_ms is {ahead_ms} ms ahead of the job's clock, allowed are {AHEAD_AT_MOST_MS}"
            return Response([dead_letter_record(invalid(origin, error, raw or b""))], letter=Reason.INVALID)
        to_slates, to_log = _PROBE_TOPICS if origin.topic == Topic.PROBES else _TOPICS
        key = message.shopper_id
        if not message.consent:
            slate = self._slate(message, _NOBODY, row("", _NOBODY, self._control.catalogue), 0)
            return Response([(to_slates, key, self._recommendation(message, origin, slate, late=False))], slate=slate)
        state = shopper.new() if stored is None else _decode_state(stored)
        advanced = advance(state, message, self._control.catalogue)
        slates_before = max(advanced.state.sequence - 1, 0)
        slate = self._slate(message, advanced.shopper_view, advanced.row, slates_before)
        records = [(to_slates, key, self._recommendation(message, origin, slate, advanced.late))]
        if advanced.is_repeat:
            return Response(records, slate=slate, is_repeat=True)
        records.append((to_log, key, self._features(message, origin, slate, advanced)))
        if stored is None and origin.topic != Topic.PROBES:
            records.append((Topic.PROFILE_REQUESTS.value, key, encode(ProfileRequest(shopper_id=key))))
        return Response(records, _encode_state(advanced.state), advanced.late, slate=slate)

    def _slate(
        self, message: Click | Purchase, shopper_view: ShopperView, features: FeatureRow, slates_before: int
    ) -> Slate:
        drawn_by = rec_id(message, self._surface)
        request = SlateRequest(features, slates_before, self._surface)
        return make_slate(shopper_view, request, drawn_by, self._model, self._control)

    def _recommendation(self, message: Click | Purchase, origin: Origin, slate: Slate, late: bool) -> bytes:
        return encode(
            Recommendation(
                rec_id=rec_id(message, self._surface),
                surface=self._surface,
                shopper_id=message.shopper_id,
                event_id=message.event_id,
                origin=origin,
                event_time_ms=message.event_time_ms,
                emitted_time_ms=now_ms(),
                slate=slate.items,
                fallback=slate.fallback,
                late=late,
                consent=message.consent,
                policy_version=slate.policy_version,
                policy_scope=slate.policy_scope,
                estimates_version=slate.estimates_version,
                propensity=slate.propensity,
                exploration_rate=slate.exploration_rate,
                uncertainty=slate.uncertainty,
                model_version=self._model.manifest.model_version,
            )
        )

    def _features(self, message: Click | Purchase, origin: Origin, slate: Slate, advanced: Advanced) -> bytes:
        return encode(
            FeatureRecord(
                rec_id=rec_id(message, self._surface),
                event_id=message.event_id,
                origin=origin,
                item_id=message.item_id,
                kind=advanced.interaction.kind,
                interaction_time_ms=message.event_time_ms,
                value=advanced.interaction.value,
                quantity=advanced.interaction.quantity,
                sequence=advanced.state.sequence,
                created_time_us=time.time_ns() // 1000,
                items_offset=advanced.items_offset,
                profile=advanced.state.adopted,
                spec_version=SPEC_VERSION,
                row=advanced.row,
                profile_state=_ENCODER.encode(advanced.shopper_view.profile),
                session_vector=slate.candidates.session_vector,
                considered=pack(slate.candidates, slate.estimates, self._control.catalogue),
                model_version=self._model.manifest.model_version,
            )
        )

    def warm_up(self) -> None:
        """Answer made-up clicks of every session length, so that the first shopper does not pay for first times.

        Whatever is raised is raised here: a job that cannot answer does not start.
        """
        state: bytes | None = None
        items = islice(cycle(self._model.items.ids[1:]), WARM_UP_COUNT)
        for n, item in enumerate(items):
            click = Click(
                event_id=f"warm-up-{n}",
                shopper_id="warm-up",
                session_id=f"warm-up-{n // 50}",
                item_id=item,
                event_time_ms=OLDEST_MS + (n + 1) * 2_000,
                kind=ClickKind.VIEW,
            )
            state = self._answer("warm-up", encode(click), Origin(Topic.CLICKS, 0, n), state).state


def adopt(state: ShopperState, message: StoredProfile, origin: Origin) -> tuple[ShopperState, str | None]:
    """Return the state with the profile that lies at `origin`, and why it could not be used, if it could not.

    Then the state goes on without it, and the question is answered all the same.
    """
    nothing, where = profile.empty(), str(origin)
    if message.spec_version != SPEC_VERSION:
        error = f"profile of feature spec {message.spec_version}, this job computes {SPEC_VERSION}"
        return shopper.adopt(state, nothing, where), error
    if not message.profile_state:
        return shopper.adopt(state, nothing, where), None
    try:
        brought = _PROFILE_DECODER.decode(message.profile_state)
        profile.check(brought)
        return shopper.adopt(state, brought, where), None
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        return shopper.adopt(state, nothing, where), f"profile_state: {error}"


def _decode_state(stored: bytes) -> ShopperState:
    return _STATE_DECODER.decode(stored)


def _encode_state(state: ShopperState) -> bytes:
    return _ENCODER.encode(state)


def _answer_profile(message: StoredProfile, raw: bytes, origin: Origin, stored: bytes | None) -> Response:
    if stored is None:  # forgotten meanwhile; the next interaction asks again
        return Response([])
    state, error = adopt(_decode_state(stored), message, origin)
    if error is None:
        return Response([], _encode_state(state))
    letter = dead_letter_record(invalid(origin, error, raw))
    return Response([letter], _encode_state(state), letter=Reason.INVALID)


def rec_id(message: Click | Purchase, surface: str) -> str:
    """Return the slate's id: a hash of its cause, its shopper and its surface, and of nothing a recovery can change.

    Ids of events are a shopper's own, and the lines of an order may share one: the item tells them apart.
    """
    line = message.item_id if isinstance(message, Purchase) else ""
    cause = _JSON.encode((REC_ID_VERSION, message.shopper_id, message.event_id, line, surface))
    return hashlib.blake2b(cause, digest_size=16).hexdigest()
