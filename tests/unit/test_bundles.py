"""A bundle is answered as its records are one by one: states, rows, slates and dead letters, to the bit."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.records import estimates

from features import profile
from features.errors import ModelAnswerError, UnavailableError
from features.interaction import Interaction, Kind
from features.sources.simulator import shop
from features.spec import SPEC_VERSION
from infra.bench.slate import POLICIES
from onnx_models.runner import Answer, Sessions
from streaming import records
from streaming.control.state import ControlState
from streaming.io.feed import to_message
from streaming.records import Record, encode
from streaming.schemas import DeadLetter, Fallback, ItemEstimate, Origin, Purchase, Reason, StoredProfile, Topic
from streaming.scoring import recommender
from streaming.scoring.model import ModelOutput, SessionModel, lasting_model
from streaming.scoring.recommender import Recommender, Response, new_states
from streaming.testing import control_state

ARTIFACT = Path(__file__).parents[2] / "onnx_models" / "artifacts" / "generator"
NOW_MS = 1_700_000_000_000
SHOPPERS, EVENTS = ("ann", "bob", "cy"), 40
RAISES, UNANSWERED = "raises", "i007"  # items: what raises where a slate is named, and what the model fails at
_LETTER = msgspec.json.Decoder(DeadLetter)


@pytest.fixture(scope="module")
def control() -> ControlState:
    model = lasting_model(ARTIFACT)
    control = control_state(model, shop.items())
    for n, policy in enumerate(POLICIES["everything"]):
        assert control.apply(policy.scope, encode(policy), Origin(Topic.POLICIES, 0, n)) is None
    learnt = estimates(
        model_version=model.manifest.model_version,
        items={f"i{n:03}": ItemEstimate(1.0 + n / 100, 0.3, 1.0) for n in range(0, 200, 3)},
    )
    assert control.apply(learnt.name, encode(learnt), Origin(Topic.ESTIMATES, 0, 0)) is None
    assert control.estimates.version == learnt.version
    return control


@pytest.fixture
def answers(control: ControlState, monkeypatch: pytest.MonkeyPatch) -> Recommender:
    """A recommender whose clock stands still, at which some items raise."""
    monkeypatch.setattr(recommender, "now_ms", lambda: NOW_MS)
    monkeypatch.setattr(records, "now_ms", lambda: NOW_MS)
    monkeypatch.setattr(recommender.time, "time_ns", lambda: NOW_MS * 1_000_000)
    by_hash, run = recommender.rec_id, SessionModel._run

    def rec_id(message: recommender.Click | Purchase, surface: str) -> str:
        if message.item_id == RAISES:
            msg = "as it was told"
            raise ArithmeticError(msg)
        return by_hash(message, surface)

    def fails(self: SessionModel, sessions: Sequence[list[int]], *of: object) -> list[ModelOutput]:
        if any(self.index_of[UNANSWERED] in session for session in sessions):
            msg = "as it was told"
            raise ModelAnswerError(msg)
        return run(self, sessions, *of)  # type: ignore[arg-type]

    monkeypatch.setattr(recommender, "rec_id", rec_id)
    monkeypatch.setattr(SessionModel, "_run", fails)
    return Recommender(lasting_model(ARTIFACT), control, "home")


def interactions() -> st.SearchStrategy[Record]:
    def record(
        n: int, shopper: str, item: str, kind: Kind, minutes: int, *, consent: bool, probe: bool, ahead: bool
    ) -> Record:
        at = NOW_MS + 600_000 if ahead else NOW_MS - 3_600_000 + minutes * 60_000
        did = Interaction(f"e{n}", shopper, f"s{minutes // 20}", item, kind, at, "tea", price=9.5)
        message = msgspec.structs.replace(to_message(did), consent=consent)
        topic = Topic.PROBES if probe else Topic.PURCHASES if isinstance(message, Purchase) else Topic.CLICKS
        if probe and isinstance(message, Purchase):
            topic = Topic.PURCHASES
        return Record(shopper, encode(message), Origin(topic, 0, n))

    items = st.sampled_from([*(f"i{n:03}" for n in range(0, 60, 4)), UNANSWERED, RAISES, "unheard-of"])
    rarely = st.integers(0, 7).map(lambda n: n == 0)
    return st.builds(
        record,
        st.integers(0, EVENTS),  # some come twice
        st.sampled_from(SHOPPERS),
        items,
        st.sampled_from(list(Kind)),
        st.integers(0, 59),
        consent=rarely.map(lambda no: not no),
        probe=rarely,
        ahead=rarely,
    )


def others() -> st.SearchStrategy[Record]:
    stored = [b"", msgspec.msgpack.encode(profile.empty()), b"\xc1"]
    profiles = st.builds(
        lambda n, shopper, version, state: Record(
            shopper,
            encode(StoredProfile(shopper_id=shopper, spec_version=version, profile_state=state)),
            Origin(Topic.PROFILES, 0, n),
        ),
        st.integers(0, EVENTS),
        st.sampled_from(SHOPPERS),
        st.sampled_from([SPEC_VERSION, 1]),
        st.sampled_from(stored),
    )
    broken = st.sampled_from([b"", b"{", b'{"event_id": 1}', None])
    letters = st.builds(
        lambda n, shopper, raw: Record(shopper, raw, Origin(Topic.CLICKS, 0, n)),
        st.integers(0, EVENTS),
        st.sampled_from(SHOPPERS),
        broken,
    )
    return profiles | letters


STREAMS = st.lists(st.one_of(interactions(), interactions(), interactions(), others()), min_size=1, max_size=EVENTS)


def in_bundles(
    answers: Recommender, stream: list[Record], sizes: Iterator[int]
) -> tuple[list[Response], dict[str, bytes]]:
    responses: list[Response] = []
    states: dict[str, bytes] = {}
    left = iter(stream)
    while bundle := list(islice(left, next(sizes))):
        of_bundle = answers.answer_many(bundle, states)
        responses += of_bundle
        states |= new_states(bundle, of_bundle)
    return responses, states


def ones() -> Iterator[int]:
    while True:
        yield 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stream=STREAMS, sizes=st.lists(st.integers(1, 16), min_size=EVENTS, max_size=EVENTS))
def test_any_cut_of_a_stream_is_answered_as_one_by_one(
    answers: Recommender, stream: list[Record], sizes: list[int]
) -> None:
    alone, states_alone = in_bundles(answers, stream, ones())
    together, states = in_bundles(answers, stream, iter([*sizes, EVENTS]))
    for record, one, many in zip(stream, alone, together, strict=True):
        assert many.records == one.records, record
        assert (many.state, many.late, many.is_repeat, many.letter) == (one.state, one.late, one.is_repeat, one.letter)
    assert states == states_alone


def click(n: int, item: str, shopper: str) -> Record:
    did = Interaction(f"e{n}", shopper, "x", item, Kind.VIEW, NOW_MS - 60_000 + n, "tea")
    return Record(shopper, encode(to_message(did)), Origin(Topic.CLICKS, 0, n))


def test_what_raises_is_a_dead_letter_alone_and_leaves_no_trace(answers: Recommender) -> None:
    stream = [click(0, "i004", "ann"), click(1, RAISES, "ann"), click(2, "i008", "bob"), click(3, "i012", "ann")]
    responses = answers.answer_many(stream, {})
    assert [response.letter for response in responses] == [None, Reason.FAILED, None, None]
    assert "as it was told" in _LETTER.decode(responses[1].records[0][2]).error
    assert responses[3].slate is not None
    without = answers.answer_many([stream[0], stream[2], stream[3]], {})
    assert responses[3].state == without[2].state


def test_model_that_fails_at_one_session_answers_the_others(answers: Recommender) -> None:
    responses = answers.answer_many([click(0, "i004", "ann"), click(1, UNANSWERED, "bob"), click(2, "i008", "cy")], {})
    slates = [response.slate for response in responses if response.slate is not None]
    assert [slate.fallback for slate in slates] == [Fallback.NONE, Fallback.MODEL_FAILED, Fallback.NONE]
    assert [response.model_ns > 0 for response in responses] == [True, False, True]


def test_fault_of_the_system_is_no_records(answers: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(*of: object) -> None:
        msg = "the disk is gone"
        raise UnavailableError(msg)

    monkeypatch.setattr(recommender, "make_slate", unavailable)
    with pytest.raises(UnavailableError, match="the disk is gone"):
        answers.answer_many([click(0, "i004", "ann"), click(1, "i008", "bob")], {})


@pytest.mark.parametrize("size", [2, 3, 16, 64])
def test_model_answers_many_sessions_as_each_alone(size: int) -> None:
    model = lasting_model(ARTIFACT)
    sessions = [list(range(1 + n, 2 + n + n % 25)) for n in range(size)]
    asked_items = [list(range(5, 5 + 7 * n % 60)) for n in range(size)]  # of some none
    for n, together in enumerate(model.next_items_many(sessions, None, asked_items)):
        (alone,) = model.next_items_many([sessions[n]], None, [asked_items[n]])
        assert alone is not None
        assert together is not None
        assert together.asked_logits is not None
        assert alone.asked_logits is not None
        assert together.asked_logits.shape == (len(asked_items[n]),)
        assert together.asked_logits.tobytes() == alone.asked_logits.tobytes()
        assert together.items.tobytes() == alone.items.tobytes()
        assert together.logits.tobytes() == alone.logits.tobytes()
        assert together.vector.tobytes() == alone.vector.tobytes()


def test_what_fails_together_is_asked_apart_with_the_items_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SessionModel(ARTIFACT)
    sessions, asked_items = [[1], [2, 3], [4]], [[7, 8], [9], []]
    expected = model.next_items_many(sessions, None, asked_items)
    run = model._runner.run

    def fails_for_many(asked: Sessions) -> Answer:
        if len(asked.seq_len) > 1:
            msg = "out of memory"
            raise RuntimeError(msg)
        return run(asked)

    monkeypatch.setattr(model._runner, "run", fails_for_many)
    for output, of_expected in zip(model.next_items_many(sessions, None, asked_items), expected, strict=True):
        assert output is not None
        assert of_expected is not None
        assert output.asked_logits is not None
        assert of_expected.asked_logits is not None
        assert output.asked_logits.tolist() == of_expected.asked_logits.tolist()
