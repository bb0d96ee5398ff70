"""Shoppers' raw records and stored states in, new states and records for Kafka out. No Flink.

A slate has two causes: an interaction, which changes what is known of the shopper, and a request, which does not.

This is the slate's whole way: decode, features, model, weighing, encoding. One pure function a step; here they meet.
The records of a bundle share the model's call, and nothing else.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import NamedTuple

import msgspec

from features import looks, profile, shopper
from features.errors import ExpressionError
from features.extraction import extract_row
from features.looks import Look
from features.profile import Profile
from features.row import FeatureRow
from features.shopper import ShopperState, ShopperView
from features.spec import OLDEST_MS, SPEC_VERSION
from streaming.control.state import ControlState
from streaming.policy import rules
from streaming.policy.surfaces import SURFACES
from streaming.records import (
    SYSTEM_FAULTS,
    Record,
    check_sizes,
    dead_letter_record,
    decode,
    encode,
    expired,
    failed,
    invalid,
    now_ms,
)
from streaming.schemas import (
    Click,
    ClickKind,
    DeadLetter,
    Fallback,
    FeatureRecord,
    Impression,
    Origin,
    Outgoing,
    ProfileRequest,
    Purchase,
    Reason,
    Recommendation,
    Request,
    RequestRecord,
    StoredProfile,
    Topic,
)
from streaming.scoring.advance import Advanced, advance, at_request
from streaming.scoring.answers import ModelAsk, clicked_at_request, clicked_items, model_answers
from streaming.scoring.considered import pack
from streaming.scoring.explain import trace
from streaming.scoring.model import ModelOutput, SessionModel
from streaming.scoring.selection import ExtraCandidates, Selection, excluded, extra_candidates, selection
from streaming.scoring.slate import Slate, SlateRequest, make_slate

WARM_UP_COUNT = 500
EXPLAINED_CLICKS = 10  # of a session, the newest, where a request asks
PATIENCE_MS = 300  # for what Feast has of a shopper, but not more than half of the time that a request has left
AHEAD_AT_MOST_MS = 300_000  # of this clock; one event from next year would make all others of its shopper late

_TOPICS = Topic.RECOMMENDATIONS.value, Topic.FEATURE_LOG.value
_ASKED_TOPICS = Topic.RECOMMENDATIONS.value, Topic.REQUEST_LOG.value
_PROBE_TOPICS = Topic.PROBE_SLATES.value, Topic.PROBE_LOG.value  # what is made up never meets what is real
REC_ID_VERSION = 2  # of what a slate's id is made of
_JSON = msgspec.json.Encoder()  # no text in it can be mistaken for two
_ENCODER = msgspec.msgpack.Encoder()
_STATE_DECODER = msgspec.msgpack.Decoder(ShopperState)
_PROFILE_DECODER = msgspec.msgpack.Decoder(Profile)
_ProfileRecord = tuple[StoredProfile, Origin]  # a profile, and where it lies
_NOBODY = shopper.view(shopper.new())


@dataclass(frozen=True, slots=True)
class Response:
    """What a record leads to. `state` is what to keep of the shopper; None keeps what is stored."""

    records: list[Outgoing]
    state: bytes | None = None
    late: bool = False  # the interaction came after the allowed lateness
    is_repeat: bool = False  # it has come before
    slate: Slate | None = None  # that is among the records
    model_ns: int = 0  # in the model, for all slates of the bundle
    letter: Reason | None = None  # of the dead letter that is among the records
    until_ms: int | None = None  # until when the record is put off, and comes again with what came meanwhile
    degraded: bool = False  # the slate was made without what Feast has
    looks: int = 0  # that an impression adds to what frequency caps count
    event_time_ms: int = 0  # of what the slate answers


class _Interaction(NamedTuple):
    """What is answered by a slate."""

    message: Click | Purchase
    origin: Origin
    shopper_view: ShopperView
    features: FeatureRow
    slates_before: int
    advanced: Advanced | None  # None: without consent, nothing is kept
    state: bytes | None  # to be kept
    is_first: bool  # nothing is known of the shopper yet
    looks: tuple[Look, ...] = ()


class _Asked(NamedTuple):
    """A request, for the shopper as of now."""

    message: Request
    origin: Origin
    shopper_view: ShopperView
    features: FeatureRow
    clicked: list[str]  # items that the model is asked with, oldest first
    since_ms: int  # the newest interaction
    selection: Selection | None  # of which alone the slate is made
    extra: ExtraCandidates | None  # items that are bid for, or go with the cart
    sequence: int  # of that interaction; 0 without any
    items_offset: int  # up to which the catalogue was known
    profile: str = ""  # that was adopted
    degraded: bool = False  # without what Feast has, which was waited for
    looks: tuple[Look, ...] = ()


class Recommender:
    """Answers records in bundles; holds nothing of any shopper."""

    def __init__(self, model: SessionModel, control: ControlState, surface: str) -> None:
        self._model = model
        self._control = control
        self._surface = surface

    def answer_many(self, records: Sequence[Record], states: Mapping[str, bytes]) -> list[Response]:
        """Return what each of the records leads to, in their order, as if they had come one by one.

        An interaction leads to a slate and, unless it has come before, a feature row and a new state; the first one of
        a shopper also to the question what Feast has. A request leads to a slate and a record of what it was made from.
        Without consent the slate is made as for a shopper of whom nothing is known, and nothing is kept. A profile that
        answers the question leads to a new state alone. A request of a shopper of whom nothing is stored asks the same,
        and is put off; it comes again, in one bundle with the profile if that comes in time, which is part of its slate
        alone. An impression leads to a new state alone, where a frequency cap is about what was seen; of a bad one the
        job `learn` tells. Any other record that cannot be used, and one at which anything raises or that would lead to
        one that no broker takes, leads to its dead letter.

        Args:
            records: of the topics SHOPPERS, each shopper's in their order.
            states: what is stored of the records' keys before the first of them.

        Raises:
            SYSTEM_FAULTS: which are not about a record.
        """
        return self._answer_apart(records, states, {})

    def _answer_apart(
        self, records: Sequence[Record], states: Mapping[str, bytes], profiles: dict[str, _ProfileRecord]
    ) -> list[Response]:
        try:
            responses = self._answer_many(records, states, profiles)
            for response in responses:
                check_sizes(response.records)
        except SYSTEM_FAULTS:
            raise
        except Exception as error:
            if len(records) == 1:
                return [_refuse(failed(records[0].origin, error, records[0].raw or b""))]
            half = len(records) // 2  # what raises is a dead letter alone, and the others are answered without it
            first = self._answer_apart(records[:half], states, profiles)
            after = {**states, **new_states(records[:half], first)}
            return first + self._answer_apart(records[half:], after, profiles)
        return responses

    def _answer_many(
        self, records: Sequence[Record], states: Mapping[str, bytes], profiles: dict[str, _ProfileRecord]
    ) -> list[Response]:
        """Answer them, or raise; to `profiles` is added what has come of shoppers of whom nothing is stored."""
        state_of: dict[str, _StoredState] = {}  # of the shoppers so far
        steps: list[Response | _Interaction | _Asked] = []
        with self._control.catalogue.unchanged():  # so that rows and slates are of the same items
            for record in records:
                stored = state_of.get(record.key) or _StoredState(states.get(record.key))
                step, state_of[record.key] = self._advance(record, stored, profiles)
                steps.append(step)
            asks = [ask for step in steps if not isinstance(step, Response) for ask in _asks(step)]
            answers, model_ns = model_answers(asks, self._model, self._control.catalogue)
            answer = iter(answers)
            return [step if isinstance(step, Response) else self._respond(step, answer, model_ns) for step in steps]

    def _advance(
        self, record: Record, stored: "_StoredState", profiles: dict[str, _ProfileRecord]
    ) -> tuple["Response | _Interaction | _Asked", "_StoredState"]:
        """Return what is to be answered by a slate, or the whole response, and what is stored of the shopper then."""
        key, raw, origin, was_deferred = record
        if origin.topic == Topic.IMPRESSIONS:
            return self._look(record, stored)
        message = decode(key, raw, origin)
        if isinstance(message, DeadLetter):
            return _refuse(message), stored
        if isinstance(message, StoredProfile):
            profiles[key] = message, origin
            return _adopt_profile(message, raw or b"", origin, stored)
        assert isinstance(message, Click | Purchase | Request), origin  # the topics hold nothing else
        ahead_ms = message.event_time_ms - now_ms()
        if ahead_ms > AHEAD_AT_MOST_MS:
            error = f"event_time_ms is {ahead_ms} ms ahead of the job's clock, allowed are {AHEAD_AT_MOST_MS}"
            return _refuse(invalid(origin, error, raw or b"")), stored
        if isinstance(message, Request):
            letter = self._objection(message, origin, raw or b"")
            if letter is not None:
                return _refuse(letter), stored
            is_unknown = message.consent and stored.state().is_new
            if is_unknown and not was_deferred:
                return _defer(message), stored
            brought = profiles.get(key) if is_unknown else None
            known = stored if brought is None else _StoredState(stored.encoded, adopt(stored.state(), *brought)[0])
            try:
                asked = self._asked(message, origin, known)
                return asked._replace(degraded=is_unknown and brought is None), stored
            except ExpressionError as error:
                return _refuse(invalid(origin, f"filter: {error}", raw or b"")), stored
        if not message.consent:
            features = extract_row("", _NOBODY, self._control.catalogue)
            return _Interaction(message, origin, _NOBODY, features, 0, None, None, is_first=False), stored
        before = stored.state()
        if before.looks:
            before = before._replace(looks=self._in_force(before.looks, message.event_time_ms))
        advanced = advance(before, message, self._control.catalogue)
        slates_before = max(advanced.state.sequence - 1, 0)
        state = None if advanced.is_repeat else _encode_state(advanced.state)
        interaction = _Interaction(
            message,
            origin,
            advanced.shopper_view,
            advanced.row,
            slates_before,
            advanced,
            state,
            is_first=before.is_new,
            looks=advanced.state.looks,
        )
        return interaction, stored if state is None else _StoredState(state, advanced.state)

    def _look(self, record: Record, stored: "_StoredState") -> tuple[Response, "_StoredState"]:
        """Return that an impression was counted, as far as frequency caps are about it; most lead to nothing."""
        caps = self._control.table.caps
        if not caps:
            return Response([]), stored
        message, catalogue = decode(record.key, record.raw, record.origin), self._control.catalogue
        if not isinstance(message, Impression) or not message.consent:
            return Response([]), stored
        seen = rules.counted(caps, message.items, catalogue.index_of, catalogue.column)
        if not seen or message.event_time_ms - now_ms() > AHEAD_AT_MOST_MS:
            return Response([]), stored
        state = stored.state()
        after = looks.add(state.looks, seen, shopper.event_hash(message.rec_id), message.event_time_ms)
        added = len({*after} - {*state.looks})
        if not added:
            return Response([]), stored
        state = state._replace(looks=self._in_force(after, message.event_time_ms))
        encoded = _encode_state(state)
        return Response([], encoded, looks=added), _StoredState(encoded, state)

    def _in_force(self, of_shopper: tuple[Look, ...], time_ms: int) -> tuple[Look, ...]:
        """Return the looks that a frequency cap may still count at `time_ms`."""
        kept_ms = self._control.table.looks_kept_ms
        return looks.since(of_shopper, time_ms - kept_ms) if kept_ms else ()

    def _objection(self, message: Request, origin: Origin, raw: bytes) -> DeadLetter | None:
        """Return why the request gets no slate, if it gets none."""
        surfaces = SURFACES | {self._surface} | self._control.table.surfaces
        if message.surface not in surfaces:
            error = (
                f"surface {message.surface!r} is none of {', '.join(sorted(surfaces))}: give it a policy, "
                f"scope surface:{message.surface}"
            )
            return invalid(origin, error, raw)
        late_ms = 0 if message.deadline_time_ms is None else now_ms() - message.deadline_time_ms
        return expired(origin, f"its deadline passed {late_ms} ms ago", raw) if late_ms > 0 else None

    def _asked(self, message: Request, origin: Origin, stored: "_StoredState") -> _Asked:
        catalogue = self._control.catalogue
        selected = selection(message, catalogue)
        if not message.consent:
            features, page = extract_row("", _NOBODY, catalogue), clicked_at_request(_NOBODY.session, message)
            others = extra_candidates(message, selected, (), catalogue, self._control.complements)
            return _Asked(message, origin, _NOBODY, features, page, 0, selected, others, 0, catalogue.offset)
        state = stored.state()
        shopper_view, features, since_ms = at_request(state, message, catalogue)
        others = extra_candidates(message, selected, shopper_view.bought, catalogue, self._control.complements)
        return _Asked(
            message,
            origin,
            shopper_view,
            features,
            clicked_at_request(shopper_view.session, message),
            since_ms,
            selected,
            others,
            state.sequence,
            catalogue.offset,
            state.adopted,
            looks=self._in_force(state.looks, message.event_time_ms) if state.looks else (),
        )

    def _respond(
        self, step: _Interaction | _Asked, answers: Iterator[ModelOutput | Fallback], model_ns: int
    ) -> Response:
        """Return the slate of a step, whose `_asks` are answered by the next of the answers."""
        answer = next(answers)
        if isinstance(answer, Fallback):
            model_ns = 0
        if isinstance(step, _Asked):
            asked_twice = step.extra is not None and step.extra.selection is not None
            return self._answer(step, answer, next(answers) if asked_twice else None, model_ns)
        return self._react(step, answer, model_ns)

    def _answer(
        self, asked: _Asked, answer: ModelOutput | Fallback, of_extra: ModelOutput | Fallback | None, model_ns: int
    ) -> Response:
        """Return the slate of a request; `of_extra` is what the model says of the items that it names, if any."""
        message, origin = asked.message, asked.origin
        to_slates, to_log = _ASKED_TOPICS
        key, drawn_by = message.shopper_id, rec_id(message, message.surface)
        request = SlateRequest(
            asked.features,
            turn_of(drawn_by),
            message.surface,
            asked.since_ms,
            message.size,
            excluded(message),
            asked.selection,
            asked.extra,
            message.event_time_ms,
            asked.looks,
        )
        slate = make_slate(asked.shopper_view, request, drawn_by, answer, self._model, self._control, of_extra)
        if message.explain:
            slate = self._explained(slate, asked.clicked)
        slate_record = self._recommendation(message, origin, slate, drawn_by, degraded=asked.degraded)
        records = [(to_slates, key, slate_record)]
        if message.consent:
            records.append((to_log, key, self._request_record(asked, slate, drawn_by)))
        return Response(
            records, slate=slate, model_ns=model_ns, degraded=asked.degraded, event_time_ms=message.event_time_ms
        )

    def _explained(self, slate: Slate, clicked: list[str]) -> Slate:
        """Return the slate with the clicks that its items are found by; none of what the model has not found."""
        found = [] if slate.fallback is not Fallback.NONE else clicked
        traced = trace([item.item_id for item in slate.items], found, self._model, EXPLAINED_CLICKS)
        pairs = zip(slate.items, traced, strict=True)
        return slate._replace(
            items=tuple([msgspec.structs.replace(item, clicks=tuple(of_item.clicks)) for item, of_item in pairs])
        )

    def _react(self, interaction: _Interaction, answer: ModelOutput | Fallback, model_ns: int) -> Response:
        """Return the slate of an interaction, and what is kept of it."""
        message, origin, advanced = interaction.message, interaction.origin, interaction.advanced
        to_slates, to_log = _PROBE_TOPICS if origin.topic == Topic.PROBES else _TOPICS
        key, drawn_by = message.shopper_id, rec_id(message, self._surface)
        request = SlateRequest(
            interaction.features,
            interaction.slates_before,
            self._surface,
            time_ms=message.event_time_ms,
            looks=interaction.looks,
        )
        slate = make_slate(interaction.shopper_view, request, drawn_by, answer, self._model, self._control)
        late = advanced is not None and advanced.late
        records = [(to_slates, key, self._recommendation(message, origin, slate, drawn_by, late=late))]
        if advanced is None:
            return Response(records, slate=slate, model_ns=model_ns, event_time_ms=message.event_time_ms)
        if advanced.is_repeat:
            return Response(
                records, slate=slate, is_repeat=True, model_ns=model_ns, event_time_ms=message.event_time_ms
            )
        records.append((to_log, key, self._features(message, origin, slate, drawn_by, advanced)))
        if interaction.is_first and origin.topic != Topic.PROBES:
            records.append((Topic.PROFILE_REQUESTS.value, key, encode(ProfileRequest(shopper_id=key))))
        return Response(
            records, interaction.state, late, slate=slate, model_ns=model_ns, event_time_ms=message.event_time_ms
        )

    def _recommendation(
        self,
        message: Click | Purchase | Request,
        origin: Origin,
        slate: Slate,
        drawn_by: str,
        *,
        late: bool = False,
        degraded: bool = False,
    ) -> bytes:
        request = message if isinstance(message, Request) else None
        return encode(
            Recommendation(
                rec_id=drawn_by,
                surface=request.surface if request else self._surface,
                shopper_id=message.shopper_id,
                event_id=_cause_id(message),
                request_id=request.request_id if request else None,
                origin=origin,
                event_time_ms=message.event_time_ms,
                emitted_time_ms=now_ms(),
                slate=slate.items,
                fallback=slate.fallback,
                late=late,
                degraded=degraded,
                consent=message.consent,
                policy_version=slate.policy_version,
                policy_scope=slate.policy_scope,
                estimates_version=slate.estimates_version,
                propensity=slate.propensity,
                capped=slate.capped,
                exploration_rate=slate.exploration_rate,
                uncertainty=slate.uncertainty,
                model_version=self._model.manifest.model_version,
                device=slate.candidates.device,
            )
        )

    def _features(
        self, message: Click | Purchase, origin: Origin, slate: Slate, drawn_by: str, advanced: Advanced
    ) -> bytes:
        return encode(
            FeatureRecord(
                rec_id=drawn_by,
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
                considered=pack(slate.candidates, slate.estimates, self._control.catalogue, advanced.state.looks),
                model_version=self._model.manifest.model_version,
                device=slate.candidates.device,
            )
        )

    def _request_record(self, asked: _Asked, slate: Slate, drawn_by: str) -> bytes:
        return encode(
            RequestRecord(
                rec_id=drawn_by,
                request=asked.message,
                origin=asked.origin,
                clicked=tuple(asked.clicked),
                sequence=asked.sequence,
                created_time_us=time.time_ns() // 1000,
                items_offset=asked.items_offset,
                profile=asked.profile,
                spec_version=SPEC_VERSION,
                row=asked.features,
                session_vector=slate.candidates.session_vector,
                considered=pack(slate.candidates, slate.estimates, self._control.catalogue, asked.looks),
                model_version=self._model.manifest.model_version,
                device=slate.candidates.device,
            )
        )

    def warm_up(self) -> None:
        """Answer made-up clicks of every session length, so that the first shopper does not pay for first times.

        Whatever is raised is raised here: a job that cannot answer does not start.
        """
        states: dict[str, bytes] = {}
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
            bundle = [Record("warm-up", encode(click), Origin(Topic.CLICKS, 0, n))]
            states |= new_states(bundle, self._answer_many(bundle, states, {}))


def _asks(step: _Interaction | _Asked) -> list[ModelAsk]:
    """Return what the model is asked for a slate: once more for items that it names and that may be no candidates."""
    if isinstance(step, _Interaction):
        return [ModelAsk(clicked_items(step.shopper_view.session))]
    asks = [ModelAsk(step.clicked, step.selection)]
    if step.extra is not None and step.extra.selection is not None:
        asks.append(ModelAsk(step.clicked, step.extra.selection))
    return asks


def new_states(records: Sequence[Record], responses: Sequence[Response]) -> dict[str, bytes]:
    """Return what is to be kept of each shopper after the records, by key, where it has changed."""
    return {
        record.key: response.state
        for record, response in zip(records, responses, strict=True)
        if response.state is not None
    }


class _StoredState:
    """What is stored of a shopper, decoded when it is asked for."""

    def __init__(self, encoded: bytes | None, state: ShopperState | None = None) -> None:
        self.encoded, self._state = encoded, state

    def state(self) -> ShopperState:
        if self._state is None:
            self._state = shopper.new() if self.encoded is None else _decode_state(self.encoded)
        return self._state


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


def _adopt_profile(
    message: StoredProfile, raw: bytes, origin: Origin, stored: _StoredState
) -> tuple[Response, _StoredState]:
    if stored.state().is_new:  # a request has asked, and is answered with it; or forgotten meanwhile
        return Response([]), stored
    state, error = adopt(stored.state(), message, origin)
    encoded = _encode_state(state)
    if error is None:
        return Response([], encoded), _StoredState(encoded, state)
    letter = dead_letter_record(invalid(origin, error, raw))
    return Response([letter], encoded, letter=Reason.INVALID), _StoredState(encoded, state)


def _defer(request: Request) -> Response:
    """Return the question what Feast has of a shopper, and until when its answer is waited for."""
    key, now = request.shopper_id, now_ms()
    left_ms = 2 * PATIENCE_MS if request.deadline_time_ms is None else request.deadline_time_ms - now
    question = (Topic.PROFILE_REQUESTS.value, key, encode(ProfileRequest(shopper_id=key)))
    return Response([question], until_ms=now + min(left_ms // 2, PATIENCE_MS))


def turn_of(rec_id: str) -> int:
    """Return as after how many slates of the same shopper the slate of a request explores.

    Requests are not counted: the turn is drawn, so that the budget holds on average.
    """
    return int(rec_id[:8], 16)


def _refuse(letter: DeadLetter) -> Response:
    return Response([dead_letter_record(letter)], letter=letter.reason)


def _cause_id(message: Click | Purchase | Request) -> str:
    return message.request_id if isinstance(message, Request) else message.event_id


def rec_id(message: Click | Purchase | Request, surface: str) -> str:
    """Return the slate's id: a hash of its cause, its shopper and its surface, and of nothing a recovery can change.

    Ids of events are a shopper's own, and the lines of an order may share one: the item tells them apart. So may an
    event and a request: the latter's id is of one part more.
    """
    line = message.item_id if isinstance(message, Purchase) else ""
    parts = (REC_ID_VERSION, message.shopper_id, _cause_id(message), line, surface)
    cause = _JSON.encode((*parts, Topic.REQUESTS.value) if isinstance(message, Request) else parts)
    return hashlib.blake2b(cause, digest_size=16).hexdigest()
